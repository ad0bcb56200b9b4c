"""The node: containerd, the kubelet, kube-proxy and CoreDNS, all as processes of this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

from lib import images
from lib.build import PAUSE
from lib.containerd import RUNTIME, SOCKET
from lib.control_plane import command
from lib.health import answers, kubectl, listens
from lib.paths import (
    BRIDGE,
    BRIDGE_ADDRESS,
    CLUSTER_DOMAIN,
    MANIFESTS,
    NODE_NAME,
    POD_CIDR,
    Instance,
    home,
)
from lib.processes import Service

CGROUP = "dino-devcluster"
CNI_NETWORK = "dino-devcluster"
SHARES_OF_A_CORE = 1024
PAUSE_IMAGE = "localhost/dino-pause:1"


def containerd(instance: Instance) -> Service:
    """Debian's containerd with its own folders and socket, so that another one is not disturbed."""
    cni = write(instance.root / "cni" / "10-dino.conflist", json.dumps(cni_config(), indent=1))
    text = containerd_config(home() / "containerd", cni.parent)
    config = write(instance.root / "containerd.toml", text)
    return Service("containerd", ["containerd", "--config", str(config)], listens(SOCKET))


def containerd_config(root: Path, cni: Path) -> str:
    """containerd's settings. Files of pods' network namespaces lie under its state folder."""
    return f"""\
version = 2
root = "{root}"
state = "{RUNTIME}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.aufs"]
[grpc]
address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
# In a container or a small virtual machine the score cannot always be lowered.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{cni}"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""


def cni_config() -> dict[str, object]:
    """A bridge with addresses of its own, and ports of pods on the host."""
    bridge = {
        "type": "bridge",
        "bridge": BRIDGE,
        "isDefaultGateway": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": POD_CIDR, "gateway": BRIDGE_ADDRESS}]],
            "dataDir": str(RUNTIME / "addresses"),
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": CNI_NETWORK, "plugins": [bridge, portmap]}


def kubelet(instance: Instance) -> Service:
    """The kubelet, in a control group of its own so that all of its pods can be found."""
    make_cgroup()
    config = write(instance.root / "kubelet.json", json.dumps(kubelet_config(instance), indent=1))
    flags = {
        "config": config,
        "kubeconfig": instance.pki / "kubelet.kubeconfig",
        "root-dir": instance.root / "kubelet",
        "cert-dir": instance.pki,
        "hostname-override": NODE_NAME,
        "node-ip": BRIDGE_ADDRESS,
    }
    health = answers(f"http://127.0.0.1:{instance.ports.kubelet_health}/healthz")
    # containerd listens before its part for Kubernetes answers.
    return Service(
        "kubelet", command("kubelet", flags), health, too_soon="server is not initialized yet"
    )


def kubelet_config(instance: Instance) -> dict[str, object]:
    """The kubelet's settings. Images are never collected: they were put there on purpose."""
    pki = instance.pki
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": BRIDGE_ADDRESS,
        "port": instance.ports.kubelet,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": instance.ports.kubelet_health,
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "failSwapOn": False,
        "clusterDNS": [BRIDGE_ADDRESS],
        "clusterDomain": CLUSTER_DOMAIN,
        "resolvConf": "/etc/resolv.conf",
        "podLogsDir": str(instance.root / "pod-logs"),
        "tlsCertFile": str(pki / "kubelet.crt"),
        "tlsPrivateKeyFile": str(pki / "kubelet.key"),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "2%",
            "imagefs.available": "2%",
        },
        # A disk that was full while an image was built takes pods again soon, not after 5 minutes.
        "evictionPressureTransitionPeriod": "30s",
    }


def make_cgroup(top: Path = Path("/sys/fs/cgroup")) -> None:
    """Make the node's control group in every hierarchy, as the kubelet wants to find it.

    Version 1 gives a new group the weight of a single process, whatever runs in it: with that, all
    pods together would be one of many on a busy machine. It gets what Kubernetes gives its pods.
    """
    version2 = (top / "cgroup.controllers").exists()
    for place in [top] if version2 else [path for path in top.iterdir() if path.is_dir()]:
        (place / CGROUP).mkdir(exist_ok=True)
        weight = place / CGROUP / "cpu.shares"
        if weight.exists():
            weight.write_text(str(SHARES_OF_A_CORE * (os.cpu_count() or 1)))


def kube_proxy(instance: Instance) -> Service:
    """Services by iptables."""
    settings = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "hostnameOverride": NODE_NAME,
        "clusterCIDR": POD_CIDR,
        "clientConnection": {"kubeconfig": str(instance.pki / "kube-proxy.kubeconfig")},
        "healthzBindAddress": f"127.0.0.1:{instance.ports.proxy_health}",
        "metricsBindAddress": f"127.0.0.1:{instance.ports.proxy_metrics}",
        # 0 leaves the machine's own connection tracking limits alone.
        "conntrack": {"maxPerCore": 0, "min": 0},
        "iptables": {"minSyncPeriod": "200ms"},
    }
    config = write(instance.root / "kube-proxy.json", json.dumps(settings, indent=1))
    health = answers(f"http://127.0.0.1:{instance.ports.proxy_health}/healthz")
    return Service("kube-proxy", command("kube-proxy", {"config": config}), health)


def coredns(instance: Instance) -> Service:
    """CoreDNS on the bridge's address, so that names work before the first pod does."""
    config = write(instance.root / "Corefile", corefile(instance, Path("/etc/resolv.conf")))
    health = answers(f"http://127.0.0.1:{instance.ports.dns_health}/health")
    return Service("coredns", command("coredns", {"conf": config}), health)


def corefile(instance: Instance, resolv_conf: Path) -> str:
    """CoreDNS's settings. Names outside the cluster go where the machine's own questions go."""
    lines = resolv_conf.read_text().splitlines() if resolv_conf.exists() else []
    has_upstream = any(line.startswith("nameserver") for line in lines)
    return f"""\
.:53 {{
    bind {BRIDGE_ADDRESS}
    errors
    health 127.0.0.1:{instance.ports.dns_health} {{
        lameduck 0s
    }}
    kubernetes {CLUSTER_DOMAIN} in-addr.arpa ip6.arpa {{
        kubeconfig {instance.pki / "coredns.kubeconfig"}
        ttl 5
    }}
    {f"forward . {resolv_conf}" if has_upstream else ""}
}}
"""


def load_pause() -> None:
    """Give containerd the image that holds pods' namespaces."""
    images.load_program(PAUSE_IMAGE, PAUSE.binary, "/pause")


def apply_manifests(instance: Instance) -> None:
    """Apply the few objects that a node's services need."""
    kubectl(instance, "apply", "--server-side", "--force-conflicts", "-f", str(MANIFESTS / "node"))


def write(path: Path, text: str) -> Path:
    """Write a settings file, unless it says so already, and return its path.

    kube-proxy watches its own, and ends where it is written anew, with whatever text.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    return path
