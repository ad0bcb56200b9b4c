"""A Job in a queue: Kueue decides when it runs, and nobody fights it. Whole plans."""

from __future__ import annotations

import pytest

from dino_operator.plan import pods
from dino_operator.plan.job import plan
from dino_operator.plan.model import Children, Delete, Event, Patch, Plan
from dino_operator.plan.names import Annotation
from tests.builders import JobBuilder, a_child, a_job, a_pod, a_preflight, at, later
from tests.statuses import (
    ATTEMPT,
    CHECKED,
    CHECKING,
    RUNNING,
    STOPPING,
    UNCHECKED,
    changed_at,
    told,
)
from tests.unit.plan_cases import HOLD, SETTINGS, Case, attempt_of, check, created, queued, retrying

WAITS = (
    "WaitingForQueue",
    "the Job waits in queue gpus until Kueue admits it; kubectl get workloads says why it waits, "
    "and nothing starts it where Kueue or the queue is missing",
)
WAITING = told("Queued", running=WAITS, **ATTEMPT)


def a_queued() -> JobBuilder:
    """A job for the queue `gpus`, its data checked."""
    return a_job().spec(queueName="gpus").status(CHECKED)


def _cases() -> dict[str, Case]:
    job = a_queued()
    child = a_child(job)
    taken = "Kueue takes the place in queue gpus back; pod x-train-1-aaaaa saves a checkpoint"
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
        "the Job of an attempt is created into the queue": Case(
            a_queued(),
            Plan(
                creates=created(job, pods.Attempt(1)),
                status={**queued(job, 1), "conditions": WAITING["conditions"]},
                requeue_after=60,
            ),
        ),
        "its data is checked without waiting": Case(
            a_queued().status(CHECKING),
            Plan(patches=(_resume("x-preflight-1", "preflight-of-uid-x"),), **_resumed()),
            [a_preflight(job).suspended()],
        ),
        "it waits for its turn": Case(
            a_queued().status(WAITING), Plan(), [a_child(job).suspended()]
        ),
        "admitted, it is followed as any other": Case(
            a_queued().status(WAITING),
            Plan(status=RUNNING, requeue_after=300),
            [child],
            [a_pod(child).running()],
            now=5,
        ),
        "a deadline is carried over": Case(
            a_queued().policy(activeDeadlineSeconds=70).status(RUNNING),
            Plan(patches=(deadline,), requeue_after=1),
            [child],
            [a_pod(child).running()],
        ),
        "a place that Kueue takes back is given back": Case(
            a_queued().status(RUNNING),
            Plan(status=leaving, requeue_after=120),
            [a_child(job).suspended()],
            [a_pod(child).running().deleting()],
        ),
        "and the same attempt waits again": Case(
            a_queued().status(leaving),
            Plan(status=changed_at({**WAITING, "startTime": at(5)}, Running=60)),
            [a_child(job).suspended()],
        ),
        "a retry queues again": Case(
            a_queued().status(retrying(1, 70)),
            Plan(
                creates=created(job, pods.Attempt(2, retries=1, spent=60)),
                status=_again(job),
                requeue_after=60,
            ),
            now=70,
            **attempt_of(job, 1),
        ),
        "the user's suspend deletes the Job, which frees its place": Case(
            a_queued().suspended().status(RUNNING),
            Plan(status=STOPPING, deletes=(gone,), requeue_after=1),
            [child],
            [a_pod(child).running()],
        ),
        "also while it waits": Case(
            a_queued().suspended().status(WAITING),
            Plan(
                status=held,
                deletes=(gone,),
                events=(Event("Suspended", HOLD, "1"),),
                requeue_after=1,
            ),
            [a_child(job).suspended()],
        ),
        "but once": Case(
            a_queued().suspended().status(STOPPING),
            Plan(requeue_after=120),
            [a_child(job).deleting()],
            [a_pod(child).running().deleting()],
        ),
        "its pod may report until it has stopped": Case(
            a_queued().suspended().status(STOPPING),
            Plan(requeue_after=120),
            [],
            [a_pod(child).running().deleting()],
        ),
        "resuming makes it again under its number, and it waits": Case(
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
    children = Children((before["jobs"][0].obj(),), (before["pods"][0].obj(),))
    made = plan(job.obj(), children, later(600), SETTINGS).creates[-1]
    assert made["metadata"]["name"] == "x-train-2"
    assert made["metadata"]["annotations"][Annotation.RETRIES.value] == retries


def _resume(name: str, uid: str) -> Patch:
    return Patch(name, uid, {"spec": {"suspend": False}})


def _resumed() -> dict[str, object]:
    said = ("Resumed", "the check of the data starts again")
    left = {"specDigest": "digest", "image": "trainer:1"}
    status = told("Preparing", running=said, data=UNCHECKED, **left)
    return {"status": status, "requeue_after": 60}


def _again(job: JobBuilder) -> dict[str, object]:
    facts = {"failure": retrying(1, 70)["failure"], "startTime": at(5)}
    status = told("Queued", running=WAITS, attempts=2, **facts)
    status |= {"specDigest": queued(job, 2)["specDigest"], "image": "trainer:1"}
    return changed_at(status, Running=60)


CASES = _cases()


@pytest.mark.parametrize("sentence", CASES)
def test_plan(sentence: str) -> None:
    check(CASES[sentence])
