"""A Job in a queue: Kueue decides when it runs, and nobody fights it. Whole plans."""

from __future__ import annotations

import pytest

from dino_operator.plan.annotations import Annotation
from dino_operator.plan.job.decide import plan
from dino_operator.plan.model import Delete, Event, Patch, Plan
from dino_operator.plan.rendered import pods
from tests.builders import (
    ChildBuilder,
    JobBuilder,
    Object,
    a_child,
    a_job,
    a_pod,
    a_preflight,
    around,
    at,
    later,
)
from tests.statuses import (
    ATTEMPT,
    CHECKED,
    CHECKING,
    QUEUED,
    RAN,
    RUNNING,
    STOPPING,
    UNCHECKED,
    changed_at,
    told,
)
from tests.unit.plan_cases import (
    HOLD,
    SETTINGS,
    PlanCase,
    attempt_of,
    check,
    created,
    queued,
    retrying,
)

WAITS = ("WaitingForQueue", "the Job waits in queue gpus until Kueue admits it")
WAITING = told("Queued", running=WAITS, **ATTEMPT)
CAPTURED = ("WaitingForQueue", "the Job waits in queue default until Kueue admits it")
NO_QUEUE = {
    "metadata": {"name": "job-x", "namespace": "team"},
    "spec": {"active": True},
    "status": {
        "conditions": [
            {
                "type": "QuotaReserved",
                "status": "False",
                "reason": "Inadmissible",
                "message": "LocalQueue  doesn't exist",
            }
        ]
    },
}
"""The Workload of a Job without a queue, under manageJobsWithoutQueueName."""


def a_queued() -> JobBuilder:
    """A job for the queue `gpus`, its data checked."""
    return a_job().spec(queueName="gpus").status(CHECKED)


def _cases() -> dict[str, PlanCase]:
    job = a_queued()
    child = a_child(job)
    taken = f"{WAITS[1]}; pod x-train-1-aaaaa saves a checkpoint"
    missing = (
        "QueueUnavailable",
        "the Job waits in queue gpus, and Kueue is not installed: nothing starts it. Remedy: "
        "install Kueue, or create a new job without a queue.",
    )
    unread = f"{WAITS[1]}; kubectl describe workload -l kueue.x-k8s.io/job-uid=job-of-uid-x says "
    unread += "why it waits (Helm value kueue.enabled shows it here)"
    no_queue = (
        "QueueUnavailable",
        "Kueue manages Jobs without a queue here, and the Job names none. Remedy: create "
        "LocalQueue default in namespace team, or name one that exists by spec.queueName in a new "
        "job.",
    )
    into = {"metadata": {"labels": {"kueue.x-k8s.io/queue-name": "gpus"}}}
    early = a_child(job).waiting("gpus").suspended(False)
    leaving = changed_at(
        told(
            "Queued",
            running=("WaitingForQueue", taken),
            reporter="x-train-1-aaaaa",
            startTime=at(5),
            **ATTEMPT,
        ),
        Running=60,
    )
    held = told("Suspended", running=("Suspended", ""), suspended=("Suspended", HOLD, True))
    held = changed_at({**held, **ATTEMPT}, Suspended=60)
    gone = Delete("x-train-1", "job-of-uid-x")
    deadline = Patch("x-train-1", "job-of-uid-x", {"spec": {"activeDeadlineSeconds": 70}})
    return {
        "the Job of an attempt is created into the queue": PlanCase(
            a_queued(),
            Plan(
                creates=created(job, pods.Attempt(1)),
                status={**queued(job, 1), "conditions": WAITING["conditions"]},
                requeue_after=60,
            ),
        ),
        "its data is checked without waiting": PlanCase(
            a_queued().status(CHECKING),
            Plan(requeue_after=240),
            [a_preflight(job)],
            [a_pod(a_preflight(job))],
        ),
        "unless Kueue takes the check for its default queue, which is never fought": PlanCase(
            a_queued().status(CHECKING),
            Plan(
                status={**CHECKING, "conditions": _checks(CAPTURED)},
                requeue_after=30,
            ),
            [a_preflight(job).waiting("default")],
        ),
        "or wants a queue of it": PlanCase(
            a_queued().status({**CHECKING, "conditions": _checks(no_queue)}),
            Plan(
                patches=(Patch("x-preflight-1", "preflight-of-uid-x", into),),
                requeue_after=30,
            ),
            [a_preflight(job).waiting()],
            workload=NO_QUEUE,
        ),
        "it waits for its turn": PlanCase(
            a_queued().status(WAITING), Plan(requeue_after=30), [a_child(job).waiting("gpus")]
        ),
        "without a write, whatever time it is": PlanCase(
            a_queued().status(WAITING),
            Plan(requeue_after=30),
            [a_child(job).waiting("gpus")],
            now=90000,
        ),
        "where Kueue is missing, that is said": PlanCase(
            a_queued().status(WAITING),
            Plan(status=told("Queued", running=missing, **ATTEMPT), requeue_after=30),
            [a_child(job).waiting("gpus")],
            kueue="missing",
        ),
        "where Kueue may not be read, who says why it waits": PlanCase(
            a_queued().status(WAITING),
            Plan(
                status=told("Queued", running=("WaitingForQueue", unread), **ATTEMPT),
                requeue_after=30,
            ),
            [a_child(job).waiting("gpus")],
            kueue="forbidden",
        ),
        "a job without a queue that Kueue takes for its default one is not fought": PlanCase(
            a_job().status(QUEUED),
            Plan(status=told("Queued", running=CAPTURED, **ATTEMPT), requeue_after=30),
            [a_child(a_job()).waiting("default")],
        ),
        "nor one that Kueue manages without a queue": PlanCase(
            a_job().status(QUEUED),
            Plan(status=told("Queued", running=no_queue, **ATTEMPT), requeue_after=30),
            [a_child(a_job()).waiting()],
            workload=NO_QUEUE,
        ),
        "the user's suspend holds such a job: the Job goes": PlanCase(
            a_job().suspended().status(QUEUED),
            Plan(
                status=held,
                deletes=(gone,),
                events=(Event("Suspended", HOLD, "1"),),
                requeue_after=1,
            ),
            [a_child(a_job()).waiting()],
            workload=NO_QUEUE,
        ),
        "just admitted after a long wait, nothing is said to be missing": PlanCase(
            a_queued().status(WAITING),
            Plan(status=QUEUED, requeue_after=5),
            [early],
            now=9000,
        ),
        "nor for the first minute after": PlanCase(
            a_queued().status(QUEUED),
            Plan(requeue_after=50),
            [
                a_child(job)
                .queued("gpus")
                .ran(8990)
                .condition("Suspended", False, lastTransitionTime=at(8990))
            ],
            now=9000,
        ),
        "admitted, it is followed as any other": PlanCase(
            a_queued().status(WAITING),
            Plan(status=RUNNING, requeue_after=300),
            [child.queued("gpus")],
            [a_pod(child).running()],
            now=5,
        ),
        "a deadline is carried over": PlanCase(
            a_queued().policy(activeDeadlineSeconds=70).status(RUNNING),
            Plan(patches=(deadline,), requeue_after=1),
            [child.queued("gpus")],
            [a_pod(child).running()],
        ),
        "a place that Kueue takes back is given back": PlanCase(
            a_queued().status(RUNNING),
            Plan(status={**leaving, **RAN}, requeue_after=30),
            [a_child(job).waiting("gpus")],
            [a_pod(child).running().deleting()],
        ),
        "and the same attempt waits again": PlanCase(
            a_queued().status(leaving),
            Plan(status=changed_at({**WAITING, "startTime": at(5)}, Running=60), requeue_after=30),
            [a_child(job).waiting("gpus")],
        ),
        "a retry queues again": PlanCase(
            a_queued().status(retrying(1, 70)),
            Plan(
                creates=created(job, pods.Attempt(2, retries=1, spent=60)),
                status=_again(job),
                requeue_after=60,
            ),
            now=70,
            **attempt_of(job, 1),
        ),
        "the user's suspend deletes the Job, which frees its place": PlanCase(
            a_queued().suspended().status(RUNNING),
            Plan(status=STOPPING, deletes=(gone,), requeue_after=1),
            [child.queued("gpus")],
            [a_pod(child).running()],
        ),
        "also while it waits": PlanCase(
            a_queued().suspended().status(WAITING),
            Plan(
                status=held,
                deletes=(gone,),
                events=(Event("Suspended", HOLD, "1"),),
                requeue_after=1,
            ),
            [a_child(job).waiting("gpus")],
        ),
        "but once": PlanCase(
            a_queued().suspended().status(STOPPING),
            Plan(requeue_after=120),
            [a_child(job).queued("gpus").deleting()],
            [a_pod(child).running().deleting()],
        ),
        "its pod may report until it has stopped": PlanCase(
            a_queued().suspended().status(STOPPING),
            Plan(requeue_after=120),
            [],
            [a_pod(child).running().deleting()],
        ),
        "resuming makes it again under its number, and it waits": PlanCase(
            a_queued().status(held),
            Plan(
                creates=created(job, pods.Attempt(1)),
                status=changed_at(
                    {**WAITING, "specDigest": queued(job, 1)["specDigest"]}, Suspended=60
                ),
                events=(Event("Resumed", "the job goes on", "1"),),
                requeue_after=60,
            ),
        ),
    }


@pytest.mark.parametrize("code, retries", [(69, "1"), (143, "0")])
def test_a_deleted_attempt_is_made_again_with_its_count_of_retries(code: int, retries: str) -> None:
    job = a_queued().status({**RUNNING, "attempts": 2})
    before = attempt_of(job, 1, code)
    children = around((before["jobs"][0].obj(),), (before["pods"][0].obj(),))
    made = plan(job.obj(), children, later(600), SETTINGS).creates[-1]
    assert made["metadata"]["name"] == "x-train-2"
    assert made["metadata"]["annotations"][Annotation.RETRIES.value] == retries


def _admitted(child: ChildBuilder, when: float) -> ChildBuilder:
    """Started so late, as the Job controller notes it."""
    return child.ran(when).condition("Suspended", False, lastTransitionTime=at(when))


def _checks(said: tuple[str, str]) -> list[Object]:
    """Conditions of a check of data that waits."""
    return list(told("Preparing", running=said, data=UNCHECKED)["conditions"])


def _again(job: JobBuilder) -> dict[str, object]:
    facts = {"failure": retrying(1, 70)["failure"], "startTime": at(5)}
    status = told("Queued", running=WAITS, attempts=2, **facts)
    status |= {"specDigest": queued(job, 2)["specDigest"], "image": "trainer:1"}
    return changed_at(status, Running=60)


CASES = _cases()


@pytest.mark.parametrize("sentence", CASES)
def test_plan(sentence: str) -> None:
    check(CASES[sentence])
