"""What a platform team does with the chart, from a bare cluster to a bare one, while teams train.

Two replicas, a namespace whose user has Kubernetes' role `edit` and no other, the leader killed,
an upgrade from the chart before, a rollback, a removal. The release of the other tests is there
again afterwards.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from demo.cluster import CHART, PATIENCE, RELEASE, SYSTEM_NAMESPACE, prepare_namespace
from demo.errors import DemoError
from dino_api.names import GROUP
from tests.api.older_crds import older
from tests.e2e.fixtures import start_lab
from tests.e2e.jobs import Lab, Object, census, ended, small_job
from tests.e2e.release import Release
from tests.patience import Patience

pytestmark = [pytest.mark.cluster, pytest.mark.level0]

USER = "ann"
CRDS = {
    f"customresourcedefinition.apiextensions.k8s.io/{kind}.{GROUP}"
    for kind in ("dinojobs", "dinoautomls")
}
EVERYTHING = (
    "replicas=2",
    "metrics.service.enabled=true",
    "metrics.dashboard.enabled=true",
    "networkPolicy.enabled=true",
    "networkPolicy.trainer.namespaces={dino-test}",
    "podDisruptionBudget.enabled=true",
)
METRIC = re.compile(r"\bdino_\w+(?::\w+)*")
WITHOUT = {"dino_job_gpu_seconds_total", "dino_automl_best_map50"}
"""What is asked for and not served: nothing here has a GPU, nor is searched."""


@pytest.fixture
def release(lab: Lab, tmp_path: Path) -> Iterator[Release]:
    """The release, which is made anew at the end as the other tests have it."""
    yield Release(lab)
    start_lab(tmp_path)


def before(folder: Path) -> Path:
    """The chart as a release before this one had it: with CRDs that ask for less."""
    chart = folder / RELEASE
    shutil.copytree(CHART, chart)
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    (chart / "Chart.yaml").write_text(yaml.safe_dump({**about, "version": "0.0.9"}))
    for each in (crds := older()):
        each["metadata"].setdefault("annotations", {})["helm.sh/resource-policy"] = "keep"
    (chart / "templates" / "crds.yaml").write_text(escaped(yaml.safe_dump_all(crds)))
    return chart


def escaped(text: str) -> str:
    """As a template of Helm that renders to the text."""
    return text.replace("{{", '{{ "{{" }}')


def asks_for_validation(release: Release) -> bool:
    """Whether the CRDs in force are those of this release."""
    crd = release.lab.kubectl("get", "crd", f"dinojobs.{GROUP}", "-o", "json")
    return "validation must be given" in crd


@pytest.mark.alone
def test_a_release_from_a_bare_cluster_to_a_bare_cluster(release: Release, tmp_path: Path) -> None:
    lab, values = release.lab, tmp_path / "values.json"
    values.write_text(json.dumps(release.values()))
    release.uninstall()
    leaves_nothing_but_crds(release)

    release.upgrade(before(tmp_path), values, *EVERYTHING)
    assert not asks_for_validation(release)
    assert "Phase:          Succeeded" in release.helm("test", RELEASE)
    first = release.another_leads(than="")
    assert len(release.pods()) == 2

    give(lab, USER)
    with census(lab, "team") as pods:
        apply(lab, small_job("team", 8))
        lab.training("team")
        lab.kubectl("-n", SYSTEM_NAMESPACE, "delete", "pod", first, "--force", "--grace-period=0")
        second = release.another_leads(than=first)
        release.upgrade(CHART, values, *EVERYTHING)
        assert asks_for_validation(release)
        third = release.another_leads(than=second)
        assert lab.complete("team", 400)["attempts"] == 1
    assert pods.most == 1
    assert len(pods.seen) == 1

    served = of_a_reader(release, third)
    assert served['dino_jobs{phase="Complete"}'] >= 1
    assert served["dino_operator_leader"] == 1
    assert asked() - {series.partition("{")[0] for series in served} == WITHOUT

    release.helm("rollback", RELEASE, "1", "--wait", "--timeout", PATIENCE)
    assert not asks_for_validation(release)
    release.another_leads(than=third)
    apply(lab, small_job("unseen", 20))
    lab.running("unseen")
    release.uninstall()
    nobody_sees_the_end(lab, "unseen")
    leaves_nothing_but_crds(release)

    release.upgrade(CHART, values)
    status = lab.complete("unseen", seconds=300)
    assert status["attempts"] == 1
    assert status["checkpoint"]["uri"].startswith("s3://dino/test-results/unseen/train/")
    assert asks_for_validation(release)


def leaves_nothing_but_crds(release: Release) -> None:
    """Once what is collected after its owner is gone, too: pods, the Lease."""
    patience = Patience(120)
    while patience.lasts() and release.remains() != CRDS:
        time.sleep(1)
    assert release.remains() == CRDS


def give(lab: Lab, user: str) -> None:
    """A team's namespace to a user: Kubernetes' own role `edit`, and no other right."""
    prepare_namespace(lab.cluster, lab.storage)
    role = ("create", "rolebinding", user, "--clusterrole=edit", f"--user={user}")
    lab.kubectl("apply", "-f", "-", given=lab.kubectl(*role, "--dry-run=client", "-o", "yaml"))
    patience = Patience(120)
    while patience.lasts() and not may(lab, user, "create"):
        time.sleep(1)  # the controller manager adds the chart's rules to `edit`
    assert may(lab, user, "create")
    assert not may(lab, user, "patch", "--subresource=status")


def apply(lab: Lab, manifest: Object) -> None:
    """`kubectl apply` by the team's user."""
    lab.kubectl("apply", "--as", USER, "-f", "-", given=yaml.safe_dump(manifest))


def may(lab: Lab, user: str, verb: str, *words: str) -> bool:
    """Whether the user may do that to DinoJobs of the tests' namespace."""
    try:
        lab.kubectl("auth", "can-i", verb, f"dinojobs.{GROUP}", *words, "--as", user)
    except DemoError:  # it answers `no` by its exit status
        return False
    return True


def of_a_reader(release: Release, pod: str) -> dict[str, float]:
    """What is served by the pod that leads, once it knows a job that has ended: it leads before it
    has read anything.
    """
    patience = Patience(120)
    served = samples(release.metrics(pod))
    while patience.lasts() and not served['dino_jobs{phase="Complete"}']:
        time.sleep(1)
        served = samples(release.metrics(pod))
    return served


def samples(text: str) -> dict[str, float]:
    """Series and values of what Prometheus reads."""
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {series: float(value) for series, _, value in lines}


def asked() -> set[str]:
    """The metrics that dashboard, alerts and recording rules ask for."""
    dashboard = (CHART / "files" / "dashboard.json").read_text()
    rules = (CHART / "templates" / "prometheusrule.yaml").read_text()
    return {name for name in METRIC.findall(dashboard + rules) if ":" not in name}


def nobody_sees_the_end(lab: Lab, name: str) -> None:
    """Its pod ends while there is no operator: nothing says so in the status."""
    assert lab.live_pods(name), "the training had ended before the operator was gone"
    patience = Patience(400)
    while lab.live_pods(name) and patience.lasts():
        time.sleep(1)
    assert not lab.live_pods(name)
    assert not ended(lab.status(name)), "nobody is there to say so"
