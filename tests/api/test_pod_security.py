"""Every pod that the operator makes is admitted where only restricted pods are.

The API server itself judges: in a namespace that warns of more it names whatever is against Pod
Security's restricted profile, also in the templates of Jobs. The chart's own pods are judged so in
`test_chart_install.py`.
"""

from __future__ import annotations

import copy
from typing import Any

import yaml

from dino_api.names import Action
from dino_operator.plan.model import Settings
from dino_operator.preview import preview
from tests.api.clients import ROOT, Kubectl
from tests.api.operator_process import eventually

LABEL = "pod-security.kubernetes.io/warn=restricted"
SETTINGS = Settings(
    trainer_image="trainer:1", tensorrt_image="trainer:2", s3_secret="keys", cache_claim="data",
    ca_config_map="ca", pull_secrets=("pull",),
)  # fmt: skip

EMBEDDED_ALONE = ("algorithm", "pruning", "warmStartFrom", "then")


def jobs() -> list[dict[str, Any]]:
    """The Jobs of every example, also those that Katib makes of its template."""
    made: list[dict[str, Any]] = []
    for path in sorted((ROOT / "examples").rglob("*.yaml")):
        for manifest in yaml.safe_load_all(path.read_text()):
            if not manifest or manifest.get("kind") not in ("DinoJob", "DinoAutoML"):
                continue
            made += preview(manifest, SETTINGS).objects
            if manifest["kind"] == "DinoAutoML":
                made += preview(on_katib(manifest), SETTINGS, "Katib").objects
    found = [each for each in made if each["kind"] == "Job"]
    templates = (each["spec"]["trialTemplate"] for each in made if each["kind"] == "Experiment")
    found += [each["trialSpec"] for each in templates]
    return [_named(each, f"job-{place}") for place, each in enumerate(found)]


def on_katib(search: dict[str, Any]) -> dict[str, Any]:
    """The search without what Katib does not know."""
    spec = {key: each for key, each in search["spec"].items() if key not in EMBEDDED_ALONE}
    return {**search, "spec": spec}


def _named(job: dict[str, Any], name: str) -> dict[str, Any]:
    """The Job alone: in a dry run its owners are not there."""
    labels = job.get("metadata", {}).get("labels", {})
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": job["spec"],
    }


def test_jobs_are_within_the_restricted_profile(kubectl: Kubectl) -> None:
    cluster = Kubectl(kubectl.program, kubectl.kubeconfig)
    assert cluster("label", "namespace", kubectl.namespace, LABEL).returncode == 0
    wanted = jobs()
    loose = copy.deepcopy(wanted[0])
    loose["spec"]["template"]["spec"]["hostNetwork"] = True
    # The label is seen a moment after it was written; until then it would warn of nothing.
    said = eventually(lambda: warnings_of(kubectl, loose), "warned of what is not restricted")
    assert 'would violate PodSecurity "restricted:latest"' in said
    assert "hostNetwork=true" in said
    assert {each["metadata"]["labels"].get("dino-operator.io/action") for each in wanted} >= {
        *(action.value for action in Action),
        "preflight",
    }
    done = kubectl("create", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump_all(wanted))
    assert done.returncode == 0, done.stderr
    assert "PodSecurity" not in done.stderr


def warnings_of(kubectl: Kubectl, job: dict[str, Any]) -> str:
    """What the API server warns of, where it would create it."""
    return kubectl("create", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(job)).stderr
