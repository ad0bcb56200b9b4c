"""Where everything lies: one state folder outside the checkout."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCES = CHECKOUT / "devcluster" / "go"
MANIFESTS = CHECKOUT / "devcluster" / "manifests"


def home() -> Path:
    """The state folder: $DINO_DEVCLUSTER_HOME, else ~/.cache/dino-devcluster."""
    given = os.environ.get("DINO_DEVCLUSTER_HOME")
    return Path(given).resolve() if given else Path.home() / ".cache" / "dino-devcluster"


@dataclass(frozen=True)
class Ports:
    """The loopback ports of one instance, kept below Linux's ephemeral range (32768 and up)."""

    base: int

    @property
    def api(self) -> int:
        return self.base + 443

    @property
    def etcd(self) -> int:
        return self.base + 379

    @property
    def etcd_peer(self) -> int:
        return self.base + 380

    @property
    def etcd_metrics(self) -> int:
        return self.base + 381

    @property
    def controllers(self) -> int:
        return self.base + 257

    @property
    def scheduler(self) -> int:
        return self.base + 259

    @property
    def kubelet(self) -> int:
        return self.base + 250

    @property
    def kubelet_health(self) -> int:
        return self.base + 248

    @property
    def proxy_health(self) -> int:
        return self.base + 256

    @property
    def proxy_metrics(self) -> int:
        return self.base + 249

    @property
    def dns_health(self) -> int:
        return self.base + 253

    def of_programs(self, *, node: bool) -> list[tuple[str, int]]:
        """Which program needs which port."""
        control_plane = [
            ("etcd", self.etcd),
            ("etcd", self.etcd_peer),
            ("etcd", self.etcd_metrics),
            ("kube-apiserver", self.api),
            ("kube-controller-manager", self.controllers),
            ("kube-scheduler", self.scheduler),
        ]
        of_node = [
            ("kubelet", self.kubelet),
            ("kubelet", self.kubelet_health),
            ("kube-proxy", self.proxy_health),
            ("kube-proxy", self.proxy_metrics),
            ("coredns", self.dns_health),
        ]
        return control_plane + (of_node if node else [])


@dataclass(frozen=True)
class Instance:
    """One control plane with its own state: alone ("api"), alone and with Jobs that somebody plays
    ("played"), or with a node ("node")."""

    name: str
    ports: Ports
    address: str
    """Where the API server listens and how clients reach it."""

    @property
    def root(self) -> Path:
        return home() / self.name

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Process ids and what must be undone at the end."""
        return self.root / "run"

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def server(self) -> str:
        return f"https://{self.address}:{self.ports.api}"

    @property
    def has_node(self) -> bool:
        return self.name == "node"

    @property
    def works_on_jobs(self) -> bool:
        """Whether the Job controller runs; elsewhere a bench makes pods and says how Jobs end."""
        return self.name != "played"


# The bridge's address is where pods reach the API server and CoreDNS, and the node's own address.
BRIDGE = "dino-br0"
BRIDGE_ADDRESS = "10.177.0.1"
POD_CIDR = "10.177.0.0/16"
SERVICE_CIDR = "10.178.0.0/16"
FIRST_SERVICE_ADDRESS = "10.178.0.1"
NODE_NAME = "dino-node"
CLUSTER_DOMAIN = "cluster.local"

API_ONLY = Instance("api", Ports(17000), "127.0.0.1")
FULL = Instance("node", Ports(16000), BRIDGE_ADDRESS)
PLAYED = Instance("played", Ports(18000), "127.0.0.1")


def program(name: str) -> Path:
    """The path by which a program is called (kubectl, helm, kubelet, ...)."""
    return home() / "bin" / name
