"""Failures, retries, suspending, deadlines and times to live before a real Job controller."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.api.operator_cluster import RESULT, Cluster, a_manifest
from tests.api.operator_process import Process, eventually


def told(reason: str, remedy: str = "Do it.") -> dict[str, Any]:
    """A termination message of a failure."""
    failure = {"reason": reason, "message": f"{reason} it is", "remedy": remedy}
    return {"schema": 1, "action": "train", "failure": failure}


def test_retried_until_it_succeeds(cluster: Cluster) -> None:
    cluster.dinojobs.create(a_manifest("retried"))
    cluster.finish(cluster.run("retried-train-1"), 69, told("StorageUnavailable"))
    waiting = cluster.reason("retried", "Retrying")
    assert waiting["status"]["failure"]["exitCode"] == 69
    cluster.finish(cluster.run("retried-train-2"), message=RESULT)
    done = cluster.phase("retried", "Complete")
    assert done["status"]["attempts"] == 2
    assert "failure" not in done["status"]
    assert cluster.events("retried") == ["AttemptFailed", "Completed"]


def test_retries_used_up(cluster: Cluster, operator: Process) -> None:
    cluster.dinojobs.create(a_manifest("used", runPolicy={"maxRetries": 1}))
    cluster.finish(cluster.run("used-train-1"), 69)
    cluster.finish(cluster.run("used-train-2"), 69)
    failed = cluster.phase("used", "Failed")
    assert cluster.condition("used", "Failed")["reason"] == "BackoffLimitExceeded"
    assert failed["status"]["failure"]["reason"] == "StorageUnavailable"
    assert failed["status"]["failure"]["exitCode"] == 69
    operator.settled()
    assert len(cluster.jobs_of("used")) == 1 + 2, "a preflight and two attempts"


@pytest.mark.parametrize(
    "code, reason", [(64, "InvalidSpec"), (65, "InvalidDataset"), (76, "Diverged")]
)
def test_what_no_retry_can_mend(cluster: Cluster, code: int, reason: str) -> None:
    name = f"never-{code}"
    cluster.dinojobs.create(a_manifest(name))
    cluster.finish(cluster.run(f"{name}-train-1"), code, told(reason))
    failed = cluster.phase(name, "Failed")
    assert cluster.condition(name, "Failed")["reason"] == reason
    expected = {
        "reason": reason,
        "message": f"{reason} it is",
        "remedy": "Do it.",
        "exitCode": code,
    }
    assert failed["status"]["failure"] == expected
    assert cluster.events(name) == ["Failed"]


def test_the_kernels_memory_limit_is_told_from_other_kills(cluster: Cluster) -> None:
    policy = {"maxRetries": 0}
    cluster.dinojobs.create(a_manifest("oom", runPolicy=policy))
    cluster.finish(cluster.run("oom-train-1"), 137, reason="OOMKilled")
    assert cluster.phase("oom", "Failed")["status"]["failure"]["reason"] == "OutOfMemory"
    cluster.dinojobs.create(a_manifest("kill", runPolicy=policy))
    cluster.finish(cluster.run("kill-train-1"), 137)
    assert cluster.phase("kill", "Failed")["status"]["failure"]["reason"] == "Crashed"


def test_a_preempted_pod_is_replaced_within_the_attempt(cluster: Cluster) -> None:
    cluster.dinojobs.create(a_manifest("moved"))
    first = cluster.run("moved-train-1")
    cluster.phase("moved", "Running")
    cluster.finish(first, 143)
    second = cluster.pod_of("moved-train-1", other_than=first)
    cluster.set_pod(second, "Running", running={"startedAt": "2026-01-01T00:00:00Z"})
    cluster.eventually_status("moved", "reporter", second)
    cluster.finish(second, message=RESULT)
    done = cluster.phase("moved", "Complete")
    assert done["status"]["attempts"] == 1
    assert cluster.events("moved") == ["Completed"]


def test_a_deleted_pod_is_replaced(cluster: Cluster, operator: Process) -> None:
    cluster.dinojobs.create(a_manifest("evicted"))
    first = cluster.run("evicted-train-1")
    cluster.phase("evicted", "Running")
    cluster.bind(first)
    cluster.core.delete_namespaced_pod(first, cluster.namespace)
    operator.settled()
    cluster.finish(first, 143)
    second = cluster.pod_of("evicted-train-1", other_than=first)
    cluster.set_pod(second, "Running", running={"startedAt": "2026-01-01T00:00:00Z"})
    cluster.finish(second, message=RESULT)
    assert cluster.phase("evicted", "Complete")["status"]["attempts"] == 1


def test_a_vanished_pod_is_retried(cluster: Cluster) -> None:
    cluster.dinojobs.create(a_manifest("vanished"))
    pod = cluster.run("vanished-train-1")
    cluster.phase("vanished", "Running")
    cluster.kubectl("patch", "pod", pod, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    cluster.kubectl("delete", "pod", pod, "--force", "--grace-period=0")
    pod = cluster.pod_of_any("vanished", other_than=pod)
    cluster.set_pod(pod, "Running", running={"startedAt": "2026-01-01T00:00:00Z"})
    cluster.finish(pod, message=RESULT)
    cluster.phase("vanished", "Complete")


def test_suspended_and_resumed(cluster: Cluster) -> None:
    cluster.dinojobs.create(a_manifest("held"))
    first = cluster.run("held-train-1")
    cluster.phase("held", "Running")
    cluster.bind(first)
    cluster.dinojobs.patch("held", {"spec": {"runPolicy": {"suspend": True}}})
    stopping = cluster.reason("held", "Suspending")
    assert stopping["status"]["reporter"] == first, "it may report until it ends"
    cluster.finish(first, 143)
    held = cluster.phase("held", "Suspended")
    assert held["status"]["observedGeneration"] == 2
    assert cluster.condition("held", "Suspended")["status"] == "True"
    assert cluster.job("held-train-1")["spec"]["suspend"] is True
    cluster.dinojobs.patch("held", {"spec": {"runPolicy": {"suspend": False}}})
    cluster.finish(cluster.run("held-train-1"), message=RESULT)
    done = cluster.phase("held", "Complete")
    assert done["status"]["attempts"] == 1
    assert cluster.events("held") == ["Suspended", "Resumed", "Completed"]


def test_created_suspended(cluster: Cluster, operator: Process) -> None:
    cluster.dinojobs.create(a_manifest("waits", runPolicy={"suspend": True}))
    cluster.phase("waits", "Suspended")
    operator.settled()
    assert not cluster.jobs_of("waits")
    cluster.dinojobs.patch("waits", {"spec": {"runPolicy": {"suspend": False}}})
    cluster.finish(cluster.run("waits-train-1"), message=RESULT)
    cluster.phase("waits", "Complete")


def test_the_deadline_ends_it(cluster: Cluster, operator: Process) -> None:
    cluster.dinojobs.create(a_manifest("late", runPolicy={"activeDeadlineSeconds": 600}))
    cluster.run("late-train-1")
    cluster.phase("late", "Running")
    cluster.dinojobs.patch("late", {"spec": {"runPolicy": {"activeDeadlineSeconds": 1}}})
    failed = cluster.phase("late", "Failed")
    assert cluster.condition("late", "Failed")["reason"] == "DeadlineExceeded"
    assert failed["status"]["failure"]["remedy"]
    operator.settled()
    assert len(cluster.jobs_of("late")) == 1 + 1, "the preflight and one attempt"


def test_an_edited_deadline_reaches_the_running_job(cluster: Cluster) -> None:
    began = time.monotonic()
    cluster.dinojobs.create(a_manifest("longer", runPolicy={"activeDeadlineSeconds": 5000}))
    cluster.run("longer-train-1")
    cluster.phase("longer", "Running")

    def has(wanted: int | None) -> bool:
        """Less the seconds that the check of the data took."""
        found = cluster.job("longer-train-1")["spec"].get("activeDeadlineSeconds")
        spent = time.monotonic() - began + 1
        return found is None if wanted is None else wanted - spent <= (found or 0) <= wanted

    for seconds in (9000, None):
        cluster.dinojobs.patch(
            "longer", {"spec": {"runPolicy": {"activeDeadlineSeconds": seconds}}}
        )
        eventually(lambda wanted=seconds: has(wanted), f"a deadline of {seconds}")


def test_its_time_to_live_is_the_jobs_alone(cluster: Cluster, operator: Process) -> None:
    cluster.dinojobs.create(a_manifest("ttl", runPolicy={"ttlSecondsAfterFinished": 0}))
    cluster.finish(cluster.run("ttl-train-1"), message=RESULT)
    cluster.phase("ttl", "Complete")
    eventually(lambda: not cluster.jobs_of("ttl"), "the Job deleted")
    operator.settled()
    assert not cluster.jobs_of("ttl"), "nothing is run again"
    assert cluster.phase("ttl", "Complete")["status"]["metrics"]["mAP50"] == 0.75


def test_an_edit_after_the_end_is_noticed_and_runs_nothing(cluster: Cluster) -> None:
    cluster.dinojobs.create(a_manifest("over"))
    cluster.finish(cluster.run("over-train-1"), 65, told("InvalidDataset"))
    cluster.phase("over", "Failed")
    cluster.dinojobs.patch("over", {"spec": {"runPolicy": {"maxRetries": 9}}})
    cluster.eventually_status("over", "observedGeneration", 2)
    waited = cluster.kubectl("wait", "--for=condition=Failed", "dinojob/over", "--timeout=300s")
    assert waited.returncode == 0, waited.stderr
    assert len(cluster.jobs_of("over")) == 1 + 1, "the preflight and one attempt"


def test_an_unschedulable_pod_says_what_is_missing(cluster: Cluster) -> None:
    cluster.dinojobs.create(a_manifest("queued", resources={"gpus": 2}))
    pod = cluster.pod_of("queued-train-1")
    message = "0/4 nodes are available: 4 Insufficient nvidia.com/gpu. preemption: no."
    placed = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
        "lastTransitionTime": "2020-01-01T00:00:00Z",
    }
    body = {"status": {"conditions": [placed]}}
    said = "0/4 nodes have 2 free nvidia.com/gpu: Insufficient nvidia.com/gpu. Remedy: "

    def is_told() -> bool:
        """The real scheduler, which has no node at all, says its own words again and again."""
        cluster.core.patch_namespaced_pod_status(pod, cluster.namespace, body)
        told = cluster.condition("queued", "Running")
        return told.get("reason") == "PodsUnschedulable" and told["message"].startswith(said)

    eventually(is_told, "told in the words of the pod's condition")
    assert cluster.status("queued")["phase"] == "Queued"


def test_the_pod_follows_the_contract(cluster: Cluster) -> None:
    storage = {"endpoint": "http://s3:7070", "pathStyle": True, "secretName": "keys"}
    resources = {"gpus": 1, "cpu": "2500m", "memory": "4Gi"}
    template = {"nodeSelector": {"gpu": "yes"}, "env": [{"name": "MINE", "value": "1"}]}
    cluster.dinojobs.create(
        a_manifest("pod", storage=storage, resources=resources, podTemplate=template)
    )
    cluster.pod_of("pod-train-1")
    job = cluster.job("pod-train-1")
    assert job["spec"]["backoffLimit"] == 0
    pod = job["spec"]["template"]["spec"]
    container = pod["containers"][0]
    env = {each["name"]: each.get("value") for each in container["env"]}
    assert container["command"] == ["dino", "train", "-e", "/etc/dino/spec.yaml"]
    assert env["AWS_ENDPOINT_URL_S3"] == "http://s3:7070"
    assert env["DINO_S3_PATH_STYLE"] == "true"
    assert env["OMP_NUM_THREADS"] == "2"
    assert env["MINE"] == "1"
    assert container["resources"]["limits"] == {
        "cpu": "2500m",
        "memory": "4Gi",
        "nvidia.com/gpu": "1",
    }
    assert pod["nodeSelector"] == {"gpu": "yes"}
    assert pod["serviceAccountName"] == "dino-trainer"
