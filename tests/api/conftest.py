"""A real API server for the tests of this folder: no kubelet, so nothing ever runs.

`devcluster/cluster up --control-plane-only` brings it up where it is not; CLUSTER=current takes
the cluster of KUBECONFIG instead. Every test gets its own namespace.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kubernetes
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CRDS = ROOT / "crds"
HOME = Path(
    os.environ.get("DINO_DEVCLUSTER_HOME") or Path.home() / ".cache" / "dino-devcluster"
).expanduser()


@dataclass(frozen=True)
class Kubectl:
    """kubectl against the test's API server."""

    program: str
    kubeconfig: Path
    namespace: str = ""

    def __call__(
        self, *arguments: str, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs it; never raises for its exit status."""
        scope = [f"--namespace={self.namespace}"] if self.namespace else []
        command = [self.program, f"--kubeconfig={self.kubeconfig}", *scope, *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)

    def apply(self, manifest: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`kubectl apply` of one object, client-side as people do it."""
        text = manifest if isinstance(manifest, str) else yaml.safe_dump(manifest)
        return self("apply", "--server-side=false", "-f", "-", *arguments, stdin=text)


@pytest.fixture(scope="session")
def kubeconfig() -> Path:
    """The API server's kubeconfig; starts the API server where it does not run."""
    if os.environ.get("CLUSTER") == "current":
        return Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")
    up = subprocess.run(
        [ROOT / "devcluster" / "cluster", "up", "--control-plane-only"],
        capture_output=True,
        text=True,
        timeout=1800,
    )
    if up.returncode:
        pytest.fail(f"No API server for these tests: {(up.stderr or up.stdout).strip()}")
    return HOME / "api" / "kubeconfig"


@pytest.fixture(scope="session")
def cluster_kubectl(kubeconfig: Path) -> Kubectl:
    """kubectl without a namespace, with the CRDs installed."""
    own = HOME / "bin" / "kubectl"
    program = str(own) if own.exists() else shutil.which("kubectl")
    assert program, "kubectl is neither in the dev cluster's folder nor on the PATH"
    kubectl = Kubectl(program, kubeconfig)
    applied = kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
    assert applied.returncode == 0, applied.stderr
    waited = kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(CRDS))
    assert waited.returncode == 0, waited.stderr
    return kubectl


@pytest.fixture(scope="session")
def api_client(kubeconfig: Path) -> kubernetes.client.ApiClient:
    """The official client's synchronous half."""
    return kubernetes.config.new_client_from_config(config_file=str(kubeconfig))


@pytest.fixture
def namespace(cluster_kubectl: Kubectl, api_client: kubernetes.client.ApiClient) -> Iterator[str]:
    """A fresh namespace with the CRDs installed, deleted afterwards."""
    core = kubernetes.client.CoreV1Api(api_client)
    name = f"test-{uuid.uuid4().hex[:10]}"
    core.create_namespace({"metadata": {"name": name}})
    yield name
    core.delete_namespace(name)


@pytest.fixture
def kubectl(cluster_kubectl: Kubectl, namespace: str) -> Kubectl:
    """kubectl in the test's namespace."""
    return Kubectl(cluster_kubectl.program, cluster_kubectl.kubeconfig, namespace)


@pytest.fixture
def dinojobs(api_client: kubernetes.client.ApiClient, namespace: str) -> DinoJobs:
    """DinoJobs of the test's namespace through the Python client."""
    return DinoJobs(kubernetes.client.CustomObjectsApi(api_client), namespace)


@dataclass(frozen=True)
class DinoJobs:
    """The calls that tests make; a refusal raises kubernetes.client.ApiException."""

    api: kubernetes.client.CustomObjectsApi
    namespace: str

    @property
    def _where(self) -> dict[str, str]:
        return {
            "group": "dino-operator.io",
            "version": "v1alpha1",
            "plural": "dinojobs",
            "namespace": self.namespace,
        }

    def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Strict: unknown fields are refused and not dropped."""
        return self.api.create_namespaced_custom_object(
            **self._where, body=manifest, field_validation="Strict"
        )

    def get(self, name: str) -> dict[str, Any]:
        """The object as the API server has it."""
        return self.api.get_namespaced_custom_object(**self._where, name=name)

    def patch(self, name: str, changes: dict[str, Any]) -> dict[str, Any]:
        """A JSON merge patch: null removes."""
        return self.api.patch_namespaced_custom_object(
            **self._where,
            name=name,
            body=changes,
            field_validation="Strict",
            _content_type="application/merge-patch+json",
        )

    def patch_status(self, name: str, status: dict[str, Any]) -> dict[str, Any]:
        """A JSON merge patch of the status subresource."""
        return self.api.patch_namespaced_custom_object_status(
            **self._where,
            name=name,
            body={"status": status},
            _content_type="application/merge-patch+json",
        )
