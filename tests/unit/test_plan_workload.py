"""What Kueue says of a Job that waits, in its own words, as a running Kueue v0.19 wrote them."""

from __future__ import annotations

from typing import Any

import pytest

from dino_operator.plan.job.decide import plan
from dino_operator.plan.model import Object
from dino_operator.plan.observed import workload
from dino_operator.plan.observed.children import Children
from dino_operator.plan.observed.resource import DinoJob
from dino_operator.plan.rendered import children, spec_file
from dino_operator.plan.rendered.pods import Attempt
from tests.builders import a_job, later
from tests.unit.plan_cases import SETTINGS

QUEUE, PRIORITY = "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class"
MAX_TIME = "kueue.x-k8s.io/max-exec-time-seconds"
UNUSED = "couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor f"
PREEMPTED = "Preempted to accommodate a workload (UID: 1-2, JobUID: 3-4) due to prioritization in "
PREEMPTED += "the ClusterQueue; preemptor path: /team; preemptee path: /team"
TOO_MUCH = "couldn't assign flavors to pod set main: insufficient quota for cpu in flavor f, "
TOO_MUCH += "previously considered podsets requests (0) + current podset request (2) > maximum "
TOO_MUCH += "capacity (500m)"


def a_workload(active: bool = True, **conditions: tuple[bool, str, str]) -> Object:
    """A Workload with conditions by their type: whether, reason, message."""
    told = [
        {"type": kind, "status": str(true), "reason": reason, "message": message}
        for kind, (true, reason, message) in conditions.items()
    ]
    meta = {"name": "job-x-1", "namespace": "team"}
    spec = {"active": active, "queueName": "lab"}
    return {"metadata": meta, "spec": spec, "status": {"conditions": told}}


def pending(message: str, reason: str = "Pending", **more: Any) -> Object:
    return a_workload(QuotaReserved=(False, reason, message), **more)


AGAIN = 'kubectl patch workload job-x-1 --type=merge -p \'{"spec":{"active":true}}\' puts it into '
AGAIN += "the queue again."
CASES = {
    "nothing is decided yet": (
        a_workload(),
        "WaitingForQueue",
        "the Job waits in queue lab until Kueue admits it",
    ),
    "its turn has not come; how much is missing changes by itself, and is left out": (
        pending(f"{UNUSED}, 500m more needed"),
        "WaitingForQueue",
        f"the Job waits in queue lab until Kueue admits it: {UNUSED}",
    ),
    "it never fits": (
        pending(TOO_MUCH),
        "QueueTooSmall",
        f"queue lab never has room for the Job: {TOO_MUCH}. Remedy: ask for less by spec.resources "
        "in a new job, or have the quota of its ClusterQueue raised.",
    ),
    "one of two flavors could hold it": (
        pending(f"{UNUSED}, 1 more needed, {TOO_MUCH}"),
        "WaitingForQueue",
        f"the Job waits in queue lab until Kueue admits it: {UNUSED}, {TOO_MUCH}",
    ),
    "no flavor's nodes are those of the pod": (
        pending("couldn't assign flavors to pod set main: flavor f doesn't match node affinity"),
        "QueueTooSmall",
        "queue lab: couldn't assign flavors to pod set main: flavor f doesn't match node affinity. "
        "Remedy: compare spec.podTemplate (nodeSelector, affinity, tolerations) with the flavors.",
    ),
    "the LocalQueue is missing": (
        pending("LocalQueue lab doesn't exist", "Inadmissible"),
        "QueueUnavailable",
        "LocalQueue lab doesn't exist. Remedy: create LocalQueue lab in namespace team, or name "
        "one that exists by spec.queueName in a new job.",
    ),
    "the ClusterQueue is missing": (
        pending("ClusterQueue big doesn't exist", "Inadmissible"),
        "QueueUnavailable",
        "ClusterQueue big doesn't exist. Remedy: create it, or have LocalQueue lab name one that "
        "exists.",
    ),
    "the ClusterQueue is stopped": (
        pending("ClusterQueue big is inactive", "Inadmissible"),
        "QueueUnavailable",
        "ClusterQueue big is inactive. Remedy: kubectl describe clusterqueue and localqueue say "
        "whether a stopPolicy holds it, or which flavor or check is missing.",
    ),
    "the LocalQueue is being deleted": (
        pending("LocalQueue lab is terminating or missing", "Inadmissible"),
        "QueueUnavailable",
        "LocalQueue lab is terminating or missing. Remedy: create LocalQueue lab in namespace "
        "team, or name one that exists by spec.queueName in a new job.",
    ),
    "the LocalQueue is stopped": (
        pending("LocalQueue lab is stopped", "Inadmissible"),
        "QueueUnavailable",
        "LocalQueue lab is stopped. Remedy: kubectl describe clusterqueue and localqueue say "
        "whether a stopPolicy holds it, or which flavor or check is missing.",
    ),
    "the ClusterQueue vanished": (
        pending("ClusterQueue big not found", "Inadmissible"),
        "QueueUnavailable",
        "ClusterQueue big not found. Remedy: create it, or have LocalQueue lab name one that "
        "exists.",
    ),
    "the ClusterQueue is for other namespaces": (
        pending("workload namespace doesn't match ClusterQueue selector", "Pending"),
        "QueueUnavailable",
        "queue lab: workload namespace doesn't match ClusterQueue selector. Remedy: label "
        "namespace team as spec.namespaceSelector of the ClusterQueue asks (kubectl get "
        "clusterqueue -o yaml), or name another queue in a new job.",
    ),
    "the ClusterQueue does not cover a resource": (
        pending(
            "couldn't assign flavors to pod set main: resource ephemeral-storage unavailable in "
            "ClusterQueue"
        ),
        "QueueTooSmall",
        "queue lab: couldn't assign flavors to pod set main: resource ephemeral-storage "
        "unavailable in ClusterQueue. Remedy: have ephemeral-storage added to the resources of "
        "its ClusterQueue, which admits only what it covers.",
    ),
    "evicted for a more important one": (
        pending(f"{UNUSED}, 2 more needed", Evicted=(True, "Preempted", PREEMPTED)),
        "EvictedFromQueue",
        "Kueue took the place in queue lab back (Preempted: Preempted to accommodate a workload "
        "due to prioritization in the ClusterQueue); the Job waits there again: " + UNUSED,
    ),
    "evicted, and its pods still leave": (
        a_workload(
            QuotaReserved=(True, "QuotaReserved", "Quota reserved in ClusterQueue lab"),
            Evicted=(True, "ClusterQueueStopped", "The ClusterQueue is stopped"),
        ),
        "EvictedFromQueue",
        "Kueue took the place in queue lab back (ClusterQueueStopped: The ClusterQueue is "
        "stopped); the Job waits there again. Remedy: it goes on once the stopPolicy of the "
        "ClusterQueue is None.",
    ),
    "evicted because its pods were not ready": (
        a_workload(Evicted=(True, "PodsReadyTimeout", "Exceeded the PodsReady timeout team/x")),
        "EvictedFromQueue",
        "Kueue took the place in queue lab back (PodsReadyTimeout: Exceeded the PodsReady timeout "
        "team/x); the Job waits there again. Remedy: see why its pods were not ready in time (a "
        "container image, a node), or have Kueue's waitForPodsReady.timeout raised.",
    ),
    "deactivated by a person": (
        pending("The workload is deactivated", active=False),
        "WorkloadDeactivated",
        f"Kueue does not start the Job again: The workload is deactivated. Remedy: {AGAIN}",
    ),
    "deactivated for its time": (
        a_workload(
            active=False,
            Evicted=(
                True,
                "DeactivatedDueToMaximumExecutionTimeExceeded",
                "The workload is deactivated due to exceeding the maximum execution time",
            ),
        ),
        "WorkloadDeactivated",
        "Kueue does not start the Job again: The workload is deactivated due to exceeding the "
        "maximum execution time. Remedy: create the job again with a larger label "
        f"kueue.x-k8s.io/max-exec-time-seconds; {AGAIN}",
    ),
    "deactivated after too many evictions": (
        a_workload(
            active=False,
            Evicted=(
                True,
                "DeactivatedDueToRequeuingLimitExceeded",
                "The workload is deactivated due to exceeding the maximum number of re-queuing "
                "retries",
            ),
        ),
        "WorkloadDeactivated",
        "Kueue does not start the Job again: The workload is deactivated due to exceeding the "
        "maximum number of re-queuing retries. Remedy: see why its pods were not ready in time (a "
        f"container image, a node); {AGAIN}",
    ),
    "it was admitted, and Kueue has not started it yet": (
        a_workload(
            QuotaReserved=(True, "QuotaReserved", "Quota reserved in ClusterQueue b"),
            Admitted=(True, "Admitted", "The workload is admitted"),
        ),
        "WaitingForQueue",
        "queue lab has room for the Job, which Kueue is about to start",
    ),
    "an admission check is open": (
        {
            **a_workload(QuotaReserved=(True, "QuotaReserved", "Quota reserved in ClusterQueue b")),
            "status": {
                "conditions": [{"type": "QuotaReserved", "status": "True", "message": "reserved"}],
                "admissionChecks": [{"name": "nodes", "state": "Pending", "message": "no answer"}],
            },
        },
        "WaitingForQueue",
        "queue lab has room for the Job, which waits for admission checks: nodes no answer",
    ),
}


@pytest.mark.parametrize("sentence", CASES)
def test_what_is_said(sentence: str) -> None:
    seen, reason, message = CASES[sentence]
    said = workload.hold(workload.Workload(seen), "lab")
    assert (said.reason, said.message) == (reason, message)


def labels_of(job: Any, preflight: bool = False) -> Object:
    resource = DinoJob(job.obj())
    attempt = Attempt(1, preflight=preflight)
    made = children.job(resource, spec_file.read_spec(resource), attempt, SETTINGS)
    return {key: text for key, text in made["metadata"]["labels"].items() if "kueue" in key}


def test_labels_of_kueues_reach_the_job_which_alone_kueue_reads() -> None:
    job = a_job().spec(queueName="lab", podTemplate={"labels": {PRIORITY: "low", MAX_TIME: "60"}})
    job.meta["labels"] = {PRIORITY: "high", "kueue.x-k8s.io/podset": "main"}
    assert labels_of(job) == {QUEUE: "lab", PRIORITY: "high", MAX_TIME: "60"}
    assert labels_of(job, preflight=True) == {PRIORITY: "high"}, "a check is short, in no queue"


@pytest.mark.parametrize("where", ["metadata", "podTemplate"])
def test_a_queue_may_be_named_by_its_label(where: str) -> None:
    job = a_job()
    if where == "metadata":
        job.meta["labels"] = {QUEUE: "lab"}
    else:
        job.spec(podTemplate={"labels": {QUEUE: "lab"}})
    resource = DinoJob(job.obj())
    made = children.job(resource, spec_file.read_spec(resource), Attempt(1), SETTINGS)
    assert made["metadata"]["labels"][QUEUE] == "lab"
    assert made["spec"]["suspend"] is True


def test_two_queues_are_refused_and_both_named() -> None:
    job = a_job().spec(queueName="lab")
    job.meta["labels"] = {QUEUE: "gpus"}
    told = plan(job.obj(), Children(), later(0), SETTINGS).status
    assert told is not None
    assert told["failure"]["reason"] == "InvalidSpec"
    assert told["failure"]["message"] == (
        "spec.queueName names queue lab, and metadata.labels[kueue.x-k8s.io/queue-name] names "
        "queue gpus. Leave one of them out, or give both the same name."
    )
    job.meta["labels"] = {QUEUE: "lab"}
    assert labels_of(job) == {QUEUE: "lab"}
