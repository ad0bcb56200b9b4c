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
from contextlib import AbstractContextManager
from pathlib import Path

import kubernetes
import pytest
import yaml

from tests.api import audit
from tests.api.clients import CRDS, HOME, ROOT, DinoJobs, Kubectl
from tests.api.older_crds import install
from tests.api.operator_cluster import Cluster, Operating, operated
from tests.api.operator_process import MODULE, Process


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What judges all the others comes after them."""
    items.sort(key=lambda item: item.path.name == "test_permissions.py")


@pytest.fixture(scope="session", autouse=True)
def audited_since() -> int:
    """Where the audit log of this session begins, or of the run that this session is the end of."""
    return int(os.environ.get(audit.SINCE) or audit.size())


@pytest.fixture(scope="session")
def kubeconfig() -> Path:
    """The API server's kubeconfig; starts the API server where it does not run."""
    if os.environ.get("CLUSTER") == "current":
        return Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")
    up = subprocess.run(
        [ROOT / "devcluster" / "cluster", "up", "--control-plane-only"],
        capture_output=True,
        text=True,
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
    install(kubectl, [yaml.safe_load(path.read_text()) for path in sorted(CRDS.glob("*.yaml"))])
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


@pytest.fixture(scope="session")
def operating(
    cluster_kubectl: Kubectl,
    api_client: kubernetes.client.ApiClient,
    tmp_path_factory: pytest.TempPathFactory,
) -> Operating:
    """Called with an operator's arguments: a namespace of its own and the operator."""

    def start(
        *arguments: str, program: tuple[str, ...] = MODULE
    ) -> AbstractContextManager[tuple[Cluster, Process]]:
        folder = tmp_path_factory.mktemp("operator")
        return operated(cluster_kubectl, api_client, folder, *arguments, program=program)

    return start


@pytest.fixture(scope="module")
def served(operating: Operating) -> Iterator[tuple[Cluster, Process]]:
    """A namespace with an operator that serves it, for all tests of a module."""
    with operating() as both:
        yield both


@pytest.fixture
def cluster(served: tuple[Cluster, Process]) -> Cluster:
    """That namespace. Data is good in it unless a test says otherwise."""
    served[0].by_hand.clear()
    return served[0]


@pytest.fixture
def operator(served: tuple[Cluster, Process]) -> Process:
    """The running operator; one that a test left dead is started again."""
    return served[1] if served[1].runs else served[1].start()
