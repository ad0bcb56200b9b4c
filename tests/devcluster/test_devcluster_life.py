"""The whole cluster's life on a real machine: up, killed, up again, down without a trace.

It restarts the dev cluster that other tests may have brought up, keeps its objects and images, and
leaves it up if it was.
"""

import os
import re
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lib import cleanup, network, up
from lib.containerd import RUNTIME
from lib.health import kubectl
from lib.paths import BRIDGE_ADDRESS, FULL
from lib.patience import wait_for
from lib.processes import is_running, recorded

CLUSTER = Path(__file__).parents[2] / "devcluster" / "cluster"
NAMESPACE = "devcluster-test"

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(os.environ.get("CLUSTER") == "current", reason="about the dev cluster"),
    pytest.mark.skipif(os.geteuid() != 0, reason="the dev cluster's node needs root"),
]

POD = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: {NAMESPACE}}}
---
apiVersion: v1
kind: Service
metadata: {{name: peers, namespace: {NAMESPACE}}}
spec: {{clusterIP: None, selector: {{app: peer}}, ports: [{{port: 80}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: peer, namespace: {NAMESPACE}, labels: {{app: peer}}}}
spec:
  hostname: peer
  subdomain: peers
  terminationGracePeriodSeconds: 0
  securityContext: {{runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
  - name: pause
    image: localhost/dino-pause:1
    imagePullPolicy: Never
    resources: {{limits: {{memory: 32Mi}}}}
    securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
  volumes: [{{name: memory, emptyDir: {{medium: Memory}}}}]
"""


def cluster(*arguments: str) -> None:
    """Run a command of the dev cluster."""
    done = subprocess.run([CLUSTER, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def kept() -> Iterator[None]:
    """Whatever happens, the cluster is up afterwards if it was up before."""
    was_up = up.runs(FULL)
    yield
    if was_up:
        cluster("up")
    else:
        down()


def down() -> None:
    """As `cluster down` does, but a control plane alone that others use stays."""
    up.down(FULL, purge=False)


def traces() -> dict[str, list[str]]:
    """All that a node leaves on a machine: empty lists when there is none."""
    rules = "\n".join(network.saved_rules(family) for family in network.families())
    names = (*up.CONTROL_PLANE, *up.NODE, "containerd")
    return {
        "processes": [str(pid) for pid in cleanup.shims()]
        + [name for name in names if is_running(FULL, name)]
        + [str(pid) for pid in cleanup.processes_in(cleanup.cgroup_folders())],
        "mounts": cleanup.mounts_under((RUNTIME, FULL.root)),
        "interfaces": re.findall(
            r"^\d+: (dino\S+|veth\S+):",
            subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout,
            re.M,
        ),
        "rules": re.findall(r".*(?:KUBE-|DINO-|CNI-HOSTPORT|10\.17[78]\.).*", rules),
        "groups": [str(folder) for folder in cleanup.cgroup_folders()],
        "files": [str(path) for path in (RUNTIME, network.BEFORE) if path.exists()],
    }


def addresses(name: str) -> list[str]:
    """The A records that the cluster's DNS server gives for a name."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    question = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(question, (BRIDGE_ADDRESS, 53))
        try:
            reply = client.recv(4096)
        except TimeoutError:  # a datagram that nobody takes is lost, and the server is just started
            return []
    found, at = [], len(question)
    for _ in range(struct.unpack("!H", reply[6:8])[0]):
        at = _after_name(reply, at)
        kind, length = struct.unpack("!H6xH", reply[at : at + 10])
        at += 10 + length
        found += [socket.inet_ntoa(reply[at - 4 : at])] if kind == 1 else []
    return found


def _after_name(reply: bytes, at: int) -> int:
    """Where a name that starts at `at` ends: after a zero byte, or after a pointer of two."""
    while reply[at] and reply[at] < 0xC0:
        at += reply[at] + 1
    return at + (2 if reply[at] else 1)


def pod_address() -> str:
    query = ("get", "pod", "peer", "-n", NAMESPACE, "-o", "jsonpath={.status.podIP}")
    return kubectl(FULL, *query)


def pod_runs() -> bool:
    query = "jsonpath={.status.containerStatuses[0].ready}"
    return kubectl(FULL, "get", "pod", "peer", "-n", NAMESPACE, "-o", query) == "true"


def kill_everything_but_the_shims() -> None:
    for name in (*up.CONTROL_PLANE, *up.NODE, "containerd"):
        found = recorded(FULL, name)
        if found and found.alive():
            os.kill(found.pid, signal.SIGKILL)


def test_up_survives_kills_and_down_leaves_nothing(kept: None) -> None:
    cluster("up")
    # An earlier run left it as it ended: asked to go, when nothing was left to see to that.
    kubectl(FULL, "delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=15m")
    kubectl(FULL, "apply", "-f", "-", given=POD)
    wait_for("the pod to run", pod_runs)
    name = f"peer.peers.{NAMESPACE}.svc.cluster.local"
    wait_for("the headless name", lambda: addresses(name) == [pod_address()])

    kill_everything_but_the_shims()
    left = traces()
    assert left["mounts"]
    assert left["interfaces"]
    assert left["rules"]
    cluster("up")
    wait_for("the pod to run again", pod_runs)
    wait_for("the headless name", lambda: addresses(name) == [pod_address()])

    kubectl(FULL, "delete", "namespace", NAMESPACE, "--wait=false")
    down()
    assert traces() == {kind: [] for kind in traces()}
    cluster("up")
