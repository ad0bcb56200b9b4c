"""Who suspends a Job resumes it, and what a deadline counts: a real API server and Job controller.

The test stands in Kueue's place: its webhook, what it does to Jobs, and what its Workload says.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.clients import Kubectl
from tests.api.job_webhook import QUEUE, taking_jobs
from tests.api.operator_cluster import (
    RESULT,
    Cluster,
    Object,
    Operating,
    a_manifest,
    condition_of,
)
from tests.api.operator_process import Process, eventually
from tests.api.test_operator_stages import set_suspend
from tests.builders import stamp

pytestmark = pytest.mark.alone
RECHECK = 1
HELD = "dino-operator.io/held"
GROUP = "kueue.x-k8s.io"


@pytest.fixture(scope="module")
def served(operating: Operating) -> Iterator[tuple[Cluster, Process]]:
    """An operator that looks at queues every second."""
    with operating("--recheck-seconds", str(RECHECK)) as both:
        yield both


@pytest.fixture(scope="module", autouse=True)
def workloads(cluster_kubectl: Kubectl) -> Iterator[None]:
    """The CRD of Kueue's Workloads, as far as they are read; without Kueue itself."""
    kind = {"plural": "workloads", "singular": "workload", "kind": "Workload"}
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": anything}}}
    version = {"name": "v1beta1", "served": True, "storage": True, "schema": schema}
    schema["openAPIV3Schema"]["properties"]["status"] = anything  # type: ignore[index]
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"workloads.{GROUP}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, a part of it for a test"},
        },
        "spec": {"group": GROUP, "names": kind, "scope": "Namespaced", "versions": [version]},
    }
    applied = cluster_kubectl("apply", "-f", "-", stdin=json.dumps(crd))
    assert applied.returncode == 0, applied.stderr
    waited = cluster_kubectl(
        "wait", "--for=condition=Established", f"crd/workloads.{GROUP}", "--timeout=300s"
    )
    assert waited.returncode == 0, waited.stderr
    try:
        yield
    finally:
        cluster_kubectl("delete", "crd", f"workloads.{GROUP}")


def quiet(cluster: Cluster, operator: Process, job: str, looks: int = 2) -> Object:
    """The Job, which nobody touches while the operator looks at it so often."""
    writes = operator.settled()
    before, pods = cluster.job(job), pods_of(cluster, job)
    time.sleep(looks * RECHECK + 1)
    now = cluster.job(job)
    assert operator.writes() == writes, "it writes while it waits"
    assert now["metadata"]["generation"] == before["metadata"]["generation"], "it is fought for"
    assert pods_of(cluster, job) <= pods, "a pod was made"
    return now


def pods_of(cluster: Cluster, job: str) -> set[str]:
    """The names of the Job's pods."""
    label = "batch.kubernetes.io/job-name"
    ours = [pod for pod in cluster.pods() if pod["metadata"]["labels"].get(label) == job]
    return {pod["metadata"]["name"] for pod in ours}


def said(cluster: Cluster, name: str) -> str:
    return str(cluster.condition(name, "Running").get("message", ""))


@pytest.mark.parametrize("queue", ["default", ""])
def test_a_job_that_kueue_takes_is_never_fought(
    cluster: Cluster, operator: Process, tmp_path: Path, queue: str
) -> None:
    """A LocalQueue named default, and manageJobsWithoutQueueName: the DinoJob names no queue."""
    name = f"taken-{queue or 'bare'}"
    cluster.by_hand.add(name)
    with taking_jobs(cluster.client, cluster.namespace, tmp_path, queue):
        cluster.dinojobs.create(a_manifest(name))
        reason = "WaitingForQueue" if queue else "SuspendedByOther"
        cluster.reason(name, reason)
        waits = quiet(cluster, operator, f"{name}-preflight-1")
        assert waits["spec"]["suspend"] is True
        assert waits["metadata"]["labels"].get(QUEUE, "") == queue
        set_suspend(cluster, f"{name}-preflight-1", False)
        cluster.by_hand.discard(name)
        cluster.job(f"{name}-train-1")
        cluster.reason(name, reason)
        assert quiet(cluster, operator, f"{name}-train-1")["spec"]["suspend"] is True
        # The user's suspend holds it: the Job goes, and comes back suspended by the webhook.
        cluster.dinojobs.patch(name, {"spec": {"runPolicy": {"suspend": True}}})
        cluster.phase(name, "Suspended")
        eventually(lambda: len(cluster.jobs_of(name)) == 1, "the Job gone")
        cluster.dinojobs.patch(name, {"spec": {"runPolicy": {"suspend": False}}})
        cluster.reason(name, reason)
        quiet(cluster, operator, f"{name}-train-1")
        set_suspend(cluster, f"{name}-train-1", False)
        cluster.finish(cluster.run(f"{name}-train-1"), message=RESULT)
        assert cluster.phase(name, "Complete")["status"]["attempts"] == 1


def test_what_a_person_suspended_is_left_to_them(cluster: Cluster, operator: Process) -> None:
    cluster.dinojobs.create(a_manifest("theirs"))
    cluster.run("theirs-train-1")
    cluster.phase("theirs", "Running")
    set_suspend(cluster, "theirs-train-1", True)
    told = condition_of(cluster.reason("theirs", "SuspendedByOther"), "Running")["message"]
    assert "someone else than the operator suspended Job theirs-train-1" in told
    quiet(cluster, operator, "theirs-train-1")
    set_suspend(cluster, "theirs-train-1", False)
    cluster.finish(cluster.run("theirs-train-1"), message=RESULT)
    cluster.phase("theirs", "Complete")


def test_suspended_past_its_deadline_it_goes_on_with_what_is_left(
    cluster: Cluster, operator: Process
) -> None:
    """The Job controller compares the old start before it sets the new one."""
    cluster.dinojobs.create(a_manifest("late", runPolicy={"activeDeadlineSeconds": 10_000}))
    first = cluster.run("late-train-1")
    cluster.phase("late", "Running")
    job = cluster.job("late-train-1")
    cluster.bind(first)
    cluster.dinojobs.patch("late", {"spec": {"runPolicy": {"suspend": True}}})
    eventually(lambda: cluster.is_asked_to_go(first), "its pod asked to go")
    cluster.finish(first, 143)
    cluster.phase("late", "Suspended")
    held = cluster.job("late-train-1")
    assert held["metadata"]["annotations"][HELD] == "true"
    assert "activeDeadlineSeconds" not in held["spec"]
    spent = int(held["metadata"]["annotations"]["dino-operator.io/spent-seconds"])
    limit = spent + LEFT
    cluster.dinojobs.patch("late", {"spec": {"runPolicy": {"activeDeadlineSeconds": limit}}})
    cluster.eventually_status("late", "observedGeneration", 3)
    time.sleep(LEFT + 2)
    resumed = time.monotonic()
    cluster.dinojobs.patch("late", {"spec": {"runPolicy": {"suspend": False}}})
    again = cluster.pod_of("late-train-1", other_than=first)
    cluster.bind(again)
    cluster.set_pod(again, "Running", running={"startedAt": stamp()})

    def left() -> int:
        return int(cluster.job("late-train-1")["spec"].get("activeDeadlineSeconds", 0))

    assert eventually(left, "what is left of the deadline") == LEFT
    now = cluster.job("late-train-1")
    assert now["metadata"]["uid"] == job["metadata"]["uid"]
    assert HELD not in now["metadata"]["annotations"]
    eventually(lambda: cluster.is_asked_to_go(again), "the deadline ends it")
    cluster.finish(again, 143)
    failed = cluster.phase("late", "Failed")["status"]
    assert failed["failure"]["reason"] == "DeadlineExceeded"
    assert limit <= failed["activeSeconds"] <= spent + time.monotonic() - resumed + 2
    assert "activeSince" not in failed


LEFT = 12
"""Seconds of a deadline that a suspended Job has left; its new pod is looked at within them."""


def test_an_eviction_does_not_begin_the_deadline_anew(cluster: Cluster, operator: Process) -> None:
    began = time.monotonic()
    limit = 10_000
    policy = {"activeDeadlineSeconds": limit}
    cluster.dinojobs.create(a_manifest("evicted", queueName="lab", runPolicy=policy))
    cluster.job("evicted-train-1")
    set_suspend(cluster, "evicted-train-1", False)
    first = cluster.run("evicted-train-1")
    cluster.phase("evicted", "Running")
    started = cluster.job("evicted-train-1")["status"]["startTime"]
    cluster.eventually_status("evicted", "activeSince", started)
    cluster.bind(first)
    time.sleep(3)
    operator.kill()  # Kueue evicts while no operator is there
    set_suspend(cluster, "evicted-train-1", True)
    eventually(lambda: cluster.is_asked_to_go(first), "its pod asked to go")
    cluster.finish(first, 143)
    clear_start(cluster, "evicted-train-1")
    operator.start()

    def counted() -> int:
        """The Job began with the second that the check of the data may have taken."""
        notes = cluster.job("evicted-train-1")["metadata"]["annotations"]
        over = "dino-operator.io/spent-until" in notes
        return int(notes["dino-operator.io/spent-seconds"]) if over else 0

    spent = eventually(counted, "the run is counted")
    assert 3 <= spent <= time.monotonic() - began + 1
    job = cluster.job("evicted-train-1")
    assert job["spec"]["activeDeadlineSeconds"] == limit - spent
    cluster.eventually_status("evicted", "activeSeconds", spent)
    quiet(cluster, operator, "evicted-train-1")
    # The user's suspend deletes the Job; what ran is not forgotten.
    cluster.dinojobs.patch("evicted", {"spec": {"runPolicy": {"suspend": True}}})
    cluster.phase("evicted", "Suspended")
    eventually(lambda: len(cluster.jobs_of("evicted")) == 1, "the Job gone")
    cluster.dinojobs.patch("evicted", {"spec": {"runPolicy": {"suspend": False}}})
    cluster.reason("evicted", "WaitingForQueue")
    again = cluster.job("evicted-train-1")
    assert again["metadata"]["uid"] != job["metadata"]["uid"]
    assert again["spec"]["activeDeadlineSeconds"] == limit - spent


def clear_start(cluster: Cluster, job: str) -> None:
    """As Kueue does when it stops a Job."""

    def cleared() -> bool:
        patch = json.dumps({"status": {"startTime": None}})
        words = ("patch", "job", job, "--subresource=status", "--type=merge", "-p", patch)
        cluster.kubectl(*words)
        return "startTime" not in cluster.job(job)["status"]

    eventually(cleared, "the start of the Job cleared")


def test_kueues_own_reason_stands_on_the_job(operating: Operating) -> None:
    """Also where waiting does not help, and the words of a deactivated Workload."""
    with operating("--recheck-seconds", str(RECHECK)) as (cluster, operator):
        cluster.dinojobs.create(a_manifest("told", queueName="lab"))
        uid = cluster.job("told-train-1")["metadata"]["uid"]
        cluster.reason("told", "WaitingForQueue")
        say(cluster, uid, "LocalQueue lab doesn't exist")
        cluster_says(cluster, "LocalQueue lab doesn't exist. Remedy: create LocalQueue lab in")
        say(cluster, uid, "workload namespace doesn't match ClusterQueue selector")
        cluster_says(cluster, f"Remedy: label namespace {cluster.namespace} as spec.namespace")
        cluster.reason("told", "QueueUnavailable")
        of_pods = "couldn't assign flavors to pod set main"
        say(cluster, uid, f"{of_pods}: resource memory unavailable in ClusterQueue")
        cluster_says(cluster, "Remedy: have memory added to the resources of its ClusterQueue")
        too_much = f"{of_pods}: insufficient quota for cpu in flavor f"
        say(cluster, uid, f"{too_much}, … (2) > maximum capacity (500m)")
        cluster.reason("told", "QueueTooSmall")
        say(cluster, uid, "The workload is deactivated", active=False)
        told = condition_of(cluster.reason("told", "WorkloadDeactivated"), "Running")["message"]
        assert "kubectl patch workload job-told --type=merge" in told
        quiet(cluster, operator, "told-train-1", 3)


def cluster_says(cluster: Cluster, words: str) -> None:
    eventually(lambda: words in said(cluster, "told"), lambda: f"{words}: {said(cluster, 'told')}")


def say(cluster: Cluster, uid: str, message: str, active: bool = True) -> None:
    """The Workload of that Job, as Kueue would write it."""
    told = {"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": message}
    thing = {
        "apiVersion": f"{GROUP}/v1beta1",
        "kind": "Workload",
        "metadata": {"name": "job-told", "labels": {f"{GROUP}/job-uid": uid}},
        "spec": {"active": active, "queueName": "lab"},
        "status": {"conditions": [told]},
    }
    applied = cluster.kubectl("apply", "-f", "-", stdin=json.dumps(thing))
    assert applied.returncode == 0, applied.stderr
