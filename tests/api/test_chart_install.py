"""The chart before a real API server: every object is taken, and the notes teach."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import yaml

from tests.api import clients
from tests.api.clients import ROOT, Kubectl
from tests.api.clients import helm as run_helm
from tests.api.operator_process import eventually
from tests.patience import LONG

CHART = str(clients.CHART)


def helm(kubectl: Kubectl, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_helm(kubectl.kubeconfig, kubectl.namespace, *arguments)


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("metrics.service.enabled=true", "s3.secretName=keys", "log.format=json"),
        ("watchNamespaces={default}", "crds.keep=false"),
        (
            "networkPolicy.enabled=true",
            "networkPolicy.trainer.namespaces={default}",
            "podDisruptionBudget.enabled=true",
            "metrics.dashboard.enabled=true",
            "argocd.healthConfigMap=true",
        ),
    ],
)
def test_the_server_takes_every_object(kubectl: Kubectl, values: tuple[str, ...]) -> None:
    sets = [word for value in values for word in ("--set", value)]
    rendered = helm(kubectl, "template", "x", CHART, "--kube-version", "1.34.0", *sets)
    assert rendered.returncode == 0, rendered.stderr
    # Of a dry run nothing is left, and the pod of `helm test` needs its account.
    assert kubectl("create", "serviceaccount", "x-dino-operator").returncode == 0
    # A manager of its own: as kubectl it would warn of the CRD, applied client-side elsewhere.
    how = ("--server-side", "--force-conflicts", "--field-manager=chart", "--dry-run=server")
    arguments = ("apply", *how, "-f", "-")
    done = Kubectl(kubectl.program, kubectl.kubeconfig)(*arguments, stdin=rendered.stdout)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr


def test_its_pods_are_admitted_where_only_restricted_pods_are(kubectl: Kubectl) -> None:
    label = "pod-security.kubernetes.io/warn=restricted"
    assert (
        Kubectl(kubectl.program, kubectl.kubeconfig)(
            "label", "namespace", kubectl.namespace, label
        ).returncode
        == 0
    )
    assert kubectl("create", "serviceaccount", "x-dino-operator").returncode == 0
    template = ("template", "x", CHART, "--kube-version", "1.34.0")
    shown = ("templates/deployment.yaml", "templates/tests/dinojobs.yaml")
    words = [word for one in shown for word in ("--show-only", one)]
    rendered = helm(kubectl, *template, *words)
    done = kubectl("apply", "--dry-run=server", "-f", "-", stdin=rendered.stdout)
    assert done.returncode == 0, done.stderr
    assert "PodSecurity" not in done.stderr


def test_the_notes_teach_the_next_command(kubectl: Kubectl) -> None:
    words = ("install", "x", CHART, "--dry-run=server", "--take-ownership")
    done = helm(kubectl, *words, "--set", "s3.secretName=keys")
    assert done.returncode == 0, done.stderr
    assert "kubectl create secret generic keys" in done.stdout
    assert "kubectl apply -f examples/" in done.stdout
    assert "kubectl explain dinojob" in done.stdout


def test_crds_that_another_release_left_are_taken_over_as_the_docs_say(kubectl: Kubectl) -> None:
    """The tests' CRDs are there already, and are no release's."""
    words = ("install", "x", CHART, "--dry-run=server")
    refused = helm(kubectl, *words)
    assert refused.returncode != 0
    assert "invalid ownership metadata" in refused.stderr
    for page in (ROOT / "docs" / "upgrading.md", ROOT / "README.md"):
        assert "`invalid ownership metadata`" in page.read_text(), page
        assert "--take-ownership" in page.read_text(), page
    assert helm(kubectl, *words, "--take-ownership").returncode == 0


def run_helm_test(kubectl: Kubectl) -> subprocess.CompletedProcess[str]:
    """What the pod of `helm test` runs, as its template has it."""
    words = ("template", "x", CHART, "--kube-version", "1.34.0", "--show-only")
    rendered = helm(kubectl, *words, "templates/tests/dinojobs.yaml")
    (container,) = yaml.safe_load(rendered.stdout)["spec"]["containers"]
    assert container["command"] == ["python", "-c"]
    env = {one["name"]: one["value"] for one in container["env"]}
    assert env == {"DINO_TEST_NAMESPACE": kubectl.namespace}
    command = [sys.executable, "-c", *container["args"]]
    env = {**os.environ, **env, "KUBECONFIG": str(kubectl.kubeconfig)}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=LONG)


def test_helm_test_passes_where_jobs_are_taken_and_leaves_none(kubectl: Kubectl) -> None:
    done = run_helm_test(kubectl)
    assert done.returncode == 0, done.stdout + done.stderr
    assert kubectl("get", "dinojobs", "-o", "name").stdout == ""


def test_helm_test_says_where_a_right_job_is_refused(kubectl: Kubectl) -> None:
    quota = ("--hard=count/dinojobs.dino-operator.io=0",)
    assert kubectl("create", "quota", "none", *quota).returncode == 0
    done = eventually(lambda: refusal(run_helm_test(kubectl)), "a quota that counts")
    assert "a DinoJob that is right is refused" in done.stdout
    assert "exceeded quota" in done.stdout
    assert "Traceback" not in done.stderr


def refusal(
    done: subprocess.CompletedProcess[str],
) -> subprocess.CompletedProcess[str] | None:
    return done if done.returncode else None
