"""The chart before a real API server: every object is taken, and the notes teach."""

from __future__ import annotations

import subprocess

import pytest

from . import clients
from .clients import ROOT, Kubectl
from .clients import helm as run_helm

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
    # A manager of its own: as kubectl it would warn of the CRD, applied client-side elsewhere.
    how = ("--server-side", "--force-conflicts", "--field-manager=chart", "--dry-run=server")
    arguments = ("apply", *how, "-f", "-")
    done = Kubectl(kubectl.program, kubectl.kubeconfig)(*arguments, stdin=rendered.stdout)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr


def test_the_pod_is_admitted_where_only_restricted_pods_are(kubectl: Kubectl) -> None:
    label = "pod-security.kubernetes.io/warn=restricted"
    assert (
        Kubectl(kubectl.program, kubectl.kubeconfig)(
            "label", "namespace", kubectl.namespace, label
        ).returncode
        == 0
    )
    template = ("template", "x", CHART, "--kube-version", "1.34.0")
    rendered = helm(kubectl, *template, "--show-only", "templates/deployment.yaml")
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
