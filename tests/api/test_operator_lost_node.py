"""A node that falls silent with a job's pod on it: what the DinoJob says, and both ways out.

The Node is real for the API server, the node controller and the pod garbage collector: it was
ready once, and nothing reports for it any more.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from dino_operator.plan.job.lost_pods import OUT_OF_SERVICE, PATIENCE
from tests.api.operator_cluster import RESULT, Cluster, Object, a_manifest
from tests.api.operator_process import eventually
from tests.builders import stamp

pytestmark = pytest.mark.usefixtures("operator")
SILENT = PATIENCE.total_seconds() + 120
"""Seconds in which a pod that does not end is surely told of."""


@pytest.fixture
def node(cluster: Cluster) -> Iterator[str]:
    """A node that was ready once and has no kubelet; no scheduler may choose it."""
    name = f"silent-{uuid.uuid4().hex[:8]}"
    cluster.core.create_node({"metadata": {"name": name}, "spec": {"unschedulable": True}})
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "lastHeartbeatTime": stamp(),
        "lastTransitionTime": stamp(),
    }
    cluster.core.patch_node_status(name, {"status": {"conditions": [ready]}})
    yield name
    cluster.core.delete_node(name)


def running_on(cluster: Cluster, name: str, node: str) -> str:
    """The pod of a new DinoJob, which runs on that node."""
    cluster.dinojobs.create(a_manifest(name))
    pod = cluster.pod_of(f"{name}-train-1")
    cluster.bind(pod, node)
    cluster.run(f"{name}-train-1")
    cluster.phase(name, "Running")
    return pod


def is_unknown(cluster: Cluster, node: str) -> bool:
    """Whether the node controller has noticed that nobody reports for the node."""
    conditions = cluster.core.read_node(node).status.conditions
    return any(each.type == "Ready" and each.status == "Unknown" for each in conditions)


def told(cluster: Cluster, name: str, pod: str, node: str) -> Object:
    """The DinoJob's status once it says that the pod's node is lost; no other pod was made."""

    def lost() -> Object | None:
        status = cluster.status(name)
        running = next(each for each in status["conditions"] if each["type"] == "Running")
        return status if running["reason"] == "NodeLost" else None

    status = eventually(lost, f"NodeLost of {name}", SILENT)
    running = next(each for each in status["conditions"] if each["type"] == "Running")
    message = str(running["message"])
    assert running["status"] == "False"
    assert message.startswith(f"pod {pod} was to end by ")
    assert f" and has not: node {node} does not answer, or cannot end it. " in message
    assert f"kubectl taint node {node} {OUT_OF_SERVICE}" in message
    assert f"kubectl delete pod {pod} -n {cluster.namespace} --force" in message
    assert "saves a checkpoint" not in str(status)
    assert cluster.said(name, "PodProblem") == [message]
    assert "NodeLost" in cluster.kubectl("get", "dinojob", name).stdout.splitlines()[1].split()
    others = [each["metadata"]["name"] for each in cluster.pods()]
    assert [each for each in others if each.startswith(f"{name}-train-")] == [pod]
    return status


def test_a_lost_node_is_named_and_both_ways_out_are_honoured(cluster: Cluster, node: str) -> None:
    evicted = running_on(cluster, "stranded", node)
    halted = running_on(cluster, "adrift", node)
    cluster.dinojobs.patch("adrift", {"spec": {"runPolicy": {"suspend": True}}})
    eventually(lambda: cluster.is_asked_to_go(halted), "the suspended job's pod asked to go")
    # What the node controller does to pods of an unreachable node; its grace of minutes shortened.
    for pod in (evicted, halted):
        cluster.core.delete_namespaced_pod(pod, cluster.namespace, grace_period_seconds=1)
    told(cluster, "stranded", evicted, node)
    held = told(cluster, "adrift", halted, node)
    suspended = next(each for each in held["conditions"] if each["type"] == "Suspended")
    assert suspended["status"] == "False", "it is not while its pod may still train"
    assert f"node {node} does not answer" in suspended["message"]

    eventually(lambda: is_unknown(cluster, node), "the node unknown to the node controller", SILENT)
    assert cluster.kubectl("delete", "pod", halted, "--force").returncode == 0
    cluster.phase("adrift", "Suspended")

    tainted = cluster.kubectl("taint", "node", node, OUT_OF_SERVICE)
    assert tainted.returncode == 0, tainted.stderr
    second = cluster.pod_of("stranded-train-1", other_than=evicted)
    cluster.set_pod(second, "Running", running={"startedAt": stamp()})
    cluster.finish(second, message=RESULT)
    assert cluster.phase("stranded", "Complete")["status"]["attempts"] == 1
    cluster.dinojobs.patch("adrift", {"spec": {"runPolicy": {"suspend": False}}})
    cluster.finish(cluster.run("adrift-train-1"), message=RESULT)
    assert cluster.phase("adrift", "Complete")["status"]["attempts"] == 1
