"""A DinoJob's life before a real API server and Job controller, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.api import audit
from tests.api.operator_cluster import ACCOUNT, RESULT, Cluster, Operating, a_manifest
from tests.api.operator_process import Process, eventually
from tests.bench import operator_requests
from tests.bench.operator_scale import without_data

WRITE_BUDGET = 10
TO_THE_JOB = [
    "create configmaps",
    "create jobs",
    "get dinojobs",
    "list jobs",
    "list limitranges",
    "list pods",
]
"""All requests from a DinoJob's creation to its first Job: the Job rests on what is read."""
IDLE_SECONDS = 61


@dataclass(frozen=True)
class Rest:
    """An operator with nothing to do, since when, and its requests until then."""

    cluster: Cluster
    since: float
    writes: int
    reads: int


@pytest.fixture(scope="module")
def resting(operating: Operating) -> Iterator[Rest]:
    """Its minute passes while the other tests of this module run.

    However long those take: a training that is silent for long would be a reason to write.
    """
    with operating("--progress-old-seconds", "86400") as (cluster, operator):
        cluster.dinojobs.create(a_manifest("done"))
        cluster.finish(cluster.run("done-train-1"), message=RESULT)
        cluster.phase("done", "Complete")
        cluster.dinojobs.create(a_manifest("busy"))
        cluster.run("busy-train-1")
        cluster.phase("busy", "Running")
        cluster.count_requests()
        operator.settled()
        seen = cluster.counted("writes"), cluster.counted("reads")
        yield Rest(cluster, time.monotonic(), *seen)


@pytest.mark.usefixtures("resting")
def test_from_apply_to_complete(cluster: Cluster, operator: Process) -> None:
    cluster.count_requests()
    operator.settled()
    before = cluster.counted("writes")
    cluster.dinojobs.create(a_manifest())
    queued = cluster.phase("x", "Queued")
    assert queued["status"]["attempts"] == 1
    pod = cluster.run("x-train-1")
    running = cluster.phase("x", "Running")
    assert running["status"]["reporter"] == pod
    assert "startTime" in running["status"]
    cluster.dinojobs.patch_status("x", {"progress": {"epoch": 1, "percent": 10}})
    cluster.finish(pod, message=RESULT)
    done = cluster.phase("x", "Complete")
    waited = cluster.kubectl("wait", "--for=condition=Complete", "dinojob/x", "--timeout=300s")
    assert waited.returncode == 0, waited.stderr
    assert done["status"]["metrics"] == {"mAP": 0.5, "mAP50": 0.75}
    assert done["status"]["checkpoint"] == RESULT["checkpoint"]
    assert done["status"]["dataset"]["classNames"] == ["", "cell"]
    told = {"epoch": 1, "percent": 100, "display": "100%"}
    assert done["status"]["progress"] == told, "the pod's own field, all of it at the end"
    assert "reporter" not in done["status"]
    assert cluster.events("x") == ["Completed"]
    assert operator.settled() == WRITE_BUDGET, (
        "account, right, ConfigMap, 2 Jobs, event, 4 statuses"
    )
    assert cluster.counted("writes") - before == WRITE_BUDGET, "kopf writes nothing itself"


def test_the_second_job_of_a_namespace_costs_two_writes_less(
    cluster: Cluster, operator: Process
) -> None:
    before = operator.settled()
    cluster.dinojobs.create(a_manifest("second"))
    cluster.phase("second", "Queued")
    pod = cluster.run("second-train-1")
    cluster.phase("second", "Running")
    cluster.finish(pod, message=RESULT)
    cluster.phase("second", "Complete")
    assert operator.settled() - before == WRITE_BUDGET - 2


def test_what_is_asked_until_a_job_exists(cluster: Cluster, operator: Process) -> None:
    if not audit.log().exists():
        pytest.skip(
            f"no audit log in {audit.log()} ({audit.VARIABLE} names that of another cluster)"
        )
    cluster.dinojobs.create(without_data("warm"))  # the first one of a namespace makes an account
    cluster.job("warm-gen-trt-engine-1")
    operator.settled()
    since = audit.size()
    cluster.dinojobs.create(without_data("lean-1"))
    cluster.job("lean-1-gen-trt-engine-1")
    operator.settled()
    user = f"{audit.OURS}{cluster.namespace}:{ACCOUNT}"
    asked = operator_requests.by_job(operator_requests.read(audit.log(), since, user), "lean-")
    first = operator_requests.to_the_job(asked["lean-1"])
    bounds = [each for each in asked[""] if each.what == "limitranges"]
    for name in ("warm", "lean-1"):  # after a while their status says that no node takes their pods
        assert cluster.kubectl("delete", "dinojob", name).returncode == 0
    operator.settled()
    assert sorted(map(str, [*first, *bounds])) == TO_THE_JOB


def test_restarting_it_writes_nothing(cluster: Cluster, operator: Process) -> None:
    cluster.dinojobs.create(a_manifest("restarted"))
    cluster.run("restarted-train-1")
    cluster.phase("restarted", "Running")
    operator.settled()
    assert operator.stop() == 0
    operator.start()
    assert operator.settled() == 0


def test_what_happened_while_it_was_down_is_found(cluster: Cluster, operator: Process) -> None:
    cluster.dinojobs.create(a_manifest("early"))
    pod = cluster.run("early-train-1")
    cluster.phase("early", "Running")
    operator.kill()
    cluster.finish(pod, message=RESULT)
    cluster.dinojobs.create(a_manifest("late"))
    operator.start()
    cluster.phase("early", "Complete")
    cluster.job("late-train-1")


@pytest.mark.parametrize("moment", [0.0, 0.05, 0.15])
def test_killed_while_it_creates(cluster: Cluster, operator: Process, moment: float) -> None:
    name = f"killed-{int(moment * 100)}"
    cluster.dinojobs.create(a_manifest(name))
    time.sleep(moment)
    operator.kill()
    operator.start()
    cluster.finish(cluster.run(f"{name}-train-1"), message=RESULT)
    done = cluster.phase(name, "Complete")
    assert done["status"]["attempts"] == 1
    both = [f"{name}-preflight-1", f"{name}-train-1"]
    assert [each["metadata"]["name"] for each in cluster.jobs_of(name)] == both
    assert cluster.events(name) == ["Completed"]


def test_recreated_while_the_old_job_lives(cluster: Cluster, operator: Process) -> None:
    """The old pod is on a node and takes its time: the new Job has to wait for it."""
    cluster.dinojobs.create(a_manifest("again"))
    pod = cluster.pod_of("again-train-1")
    cluster.bind(pod)
    cluster.run("again-train-1")
    cluster.phase("again", "Running")
    old = _uids(cluster, "again")
    assert len(old) == 2, "of the check and of the training: either may be collected first"
    assert cluster.kubectl("delete", "dinojob", "again", "--wait=false").returncode == 0
    eventually(lambda: cluster.kubectl("get", "dinojob", "again").returncode, "deleted")
    cluster.dinojobs.create(a_manifest("again"))
    cluster.reason("again", "WaitingForChild")
    eventually(lambda: not old & _uids(cluster, "again"), "the old Jobs collected")
    operator.settled()
    assert not _uids(cluster, "again"), "no new Job beside a pod that may hold a GPU"
    cluster.finish(pod, 143)
    new = cluster.job("again-train-1")["metadata"]["uid"]
    assert new not in old
    cluster.finish(cluster.run("again-train-1"), message=RESULT)
    assert cluster.phase("again", "Complete")["status"]["attempts"] == 1


def _uids(cluster: Cluster, name: str) -> set[str]:
    return {each["metadata"]["uid"] for each in cluster.jobs_of(name)}


def test_deleting_it_deletes_its_children(cluster: Cluster, operator: Process) -> None:
    cluster.dinojobs.create(a_manifest("gone"))
    cluster.pod_of("gone-train-1")
    assert cluster.kubectl("delete", "dinojob", "gone").returncode == 0

    def left() -> str:
        chosen = ("pods,jobs,configmaps", "-l", "dino-operator.io/job=gone", "-o", "name")
        return cluster.kubectl("get", *chosen).stdout.strip()

    eventually(lambda: not left(), "all children gone")
    operator.settled()
    assert not left()


def test_a_deleted_job_is_made_again(cluster: Cluster, operator: Process) -> None:
    cluster.dinojobs.create(a_manifest("lost"))
    old = cluster.job("lost-train-1")["metadata"]["uid"]
    cluster.phase("lost", "Queued")
    assert cluster.kubectl("delete", "job", "lost-train-1").returncode == 0
    eventually(lambda: cluster.job("lost-train-1")["metadata"]["uid"] != old, "a new Job")
    cluster.finish(cluster.run("lost-train-1"), message=RESULT)
    assert cluster.phase("lost", "Complete")["status"]["attempts"] == 1


def test_a_stranger_under_the_childs_name(cluster: Cluster, operator: Process) -> None:
    pod = {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}
    stranger = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "taken-train-1"},
        "spec": {"suspend": True, "template": {"spec": pod}},
    }
    cluster.batch.create_namespaced_job(cluster.namespace, stranger)
    cluster.dinojobs.create(a_manifest("taken"))
    told = cluster.reason("taken", "ChildNameConflict")
    assert told["status"]["phase"] == "Pending"
    assert "taken-train-1" in cluster.condition("taken", "Running")["message"]


def test_at_rest_it_writes_nothing_and_hardly_reads(resting: Rest) -> None:
    """Last: it has rested since the first test of this module."""
    time.sleep(max(0.0, resting.since + IDLE_SECONDS - time.monotonic()))
    minutes = (time.monotonic() - resting.since) / 60
    assert resting.cluster.counted("writes") == resting.writes
    reads = resting.cluster.counted("reads") - resting.reads
    assert reads <= 2 * 4 * minutes, "two requests a minute for each of 4 kinds"
