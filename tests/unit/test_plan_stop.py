"""Ending a job for good: whole plans."""

from __future__ import annotations

from typing import Any

import pytest

from dino_api.failures import by_reason
from dino_operator.plan.model import Delete, Event, Plan
from tests.builders import (
    ChildBuilder,
    JobBuilder,
    Object,
    PodBuilder,
    a_child,
    a_job,
    a_pod,
    a_preflight,
    at,
)
from tests.statuses import (
    ATTEMPT,
    CHECKING,
    COMPLETE,
    DONE,
    RAN,
    RESULT,
    RUNNING,
    UNCHECKED,
    changed_at,
    told,
    told_at,
)
from tests.unit.plan_cases import PlanCase, attempt_of, check, ended, suspends

SAYS = "pod x-train-1-aaaaa saves a checkpoint and stops for good"
CURVE = [{"epoch": 1, "mAP50": 0.25}, {"epoch": 2, "mAP50": 0.5}, {"epoch": 3, "mAP50": 0.4}]
BEST = {"uri": "s3://results/x/train/dino_model_best.pth"}
LEFT = {"uri": BEST["uri"], "sha256": "abc", "latestUri": "s3://results/x/train/latest"}
WORDS = {
    "schema": 1,
    "action": "train",
    "checkpoint": LEFT,
    "curve": CURVE[:2],
    "failure": {"reason": "Preempted", "message": "asked to"},
}
REMEDY = by_reason("Stopped").remedy
OFF = suspends()


def a_stopped(**policy: Any) -> JobBuilder:
    return a_job().policy(stop=True, **policy)


def saving(**facts: Any) -> Object:
    facts = {"reporter": "x-train-1-aaaaa", "startTime": at(5), **ATTEMPT, **facts}
    return changed_at(told("Running", running=("Stopping", SAYS), **facts), Running=60)


def gone(**facts: Any) -> Object:
    facts = {"startTime": at(5), **ATTEMPT, **facts}
    return changed_at(told("Running", running=("Stopping", "the job stops"), **facts), Running=60)


def over(said: str, **facts: Any) -> Plan:
    """The last word."""
    status = told(
        "Failed",
        complete=("EndedWithoutSuccess", ""),
        failed=("Stopped", said, True),
        failure={"reason": "Stopped", "message": said, "remedy": REMEDY},
        completionTime=at(60),
        **facts,
    )
    event = Event("Failed", f"Stopped: {said} {REMEDY}", "end", warning=True)
    return Plan(status=changed_at(status, Running=60, Failed=60), events=(event,))


def suspended(job: JobBuilder) -> ChildBuilder:
    return a_child(job).suspended()


def leaving(job: JobBuilder) -> PodBuilder:
    return a_pod(a_child(job)).running().deleting()


def _ends() -> dict[str, PlanCase]:
    job = a_job()
    reached = {"metrics": {"mAP50": 0.5}, "checkpoint": BEST}
    progress = {"progress": {"epoch": 3, "curve": CURVE}}
    held = told(
        "Suspended", running=("Suspended", ""), suspended=("Suspended", "", True), **ATTEMPT
    )
    late = "spec.runPolicy.stop ended the job"
    return {
        "a job that never began ends at once": PlanCase(
            a_stopped(), _unchecked("spec.runPolicy.stop ended the job before it trained")
        ),
        "a running one is suspended, to save a checkpoint": PlanCase(
            a_stopped().status(RUNNING),
            Plan(patches=(OFF,), status=saving(**RAN), requeue_after=1),
            jobs=[a_child(job)],
            pods=[a_pod(a_child(job)).running()],
        ),
        "and waited for": PlanCase(
            a_stopped().status(saving()),
            Plan(requeue_after=120),
            jobs=[suspended(job)],
            pods=[leaving(job)],
        ),
        "what its pod said is written down before the end": PlanCase(
            a_stopped().status(saving()),
            Plan(
                status=gone(metrics={"mAP50": 0.5}, checkpoint=LEFT),
                requeue_after=1,
            ),
            jobs=[suspended(job)],
            pods=[a_pod(a_child(job)).exited(143, message=WORDS)],
        ),
        "a pod that left no words had its best weights where they always are": PlanCase(
            a_stopped().status({**saving(), **progress}),
            Plan(status=gone(**reached), requeue_after=1),
            jobs=[suspended(job)],
        ),
        "then the job has failed": PlanCase(
            a_stopped().status({**gone(**reached), **progress}),
            over(f"{late} after epoch 3", startTime=at(5), **reached, **ATTEMPT),
            jobs=[suspended(job)],
        ),
        "also without a Job": PlanCase(
            a_stopped().status(gone()), over(late, startTime=at(5), **ATTEMPT)
        ),
        "but not before its last pod is gone": PlanCase(
            a_stopped().status(saving()),
            Plan(requeue_after=120),
            pods=[leaving(job)],
        ),
        "a suspended job ends at once and is not resumed": PlanCase(
            a_stopped(suspend=True).status(held),
            _at(over(late, **ATTEMPT), Suspended=60, Running=0),
            jobs=[suspended(job)],
        ),
        "a failed attempt is not retried": PlanCase(
            a_stopped().status(RUNNING),
            over(late, startTime=at(5), **RAN, **ATTEMPT),
            **attempt_of(job, 1),
        ),
        "an end that no retry would change stays what it was": PlanCase(
            a_stopped().status(RUNNING),
            _diverged(),
            **attempt_of(job, 1, code=76),
        ),
        "a Job that was done first is a success": PlanCase(
            a_stopped().status(RUNNING),
            _done(),
            jobs=[a_child(job).complete()],
            pods=[a_pod(a_child(job)).succeeded(RESULT)],
        ),
        "a check of data is ended as well": PlanCase(
            a_stopped().status(CHECKING),
            Plan(
                patches=(suspends("x-preflight-1", "preflight-of-uid-x"),),
                status=changed_at(
                    told(
                        "Preparing",
                        running=("Stopping", "the job stops"),
                        data=UNCHECKED,
                        specDigest="digest",
                        image="trainer:1",
                    ),
                ),
                requeue_after=1,
            ),
            jobs=[a_preflight(job)],
        ),
        "a Job in a queue is deleted, which gives its place back": PlanCase(
            a_stopped().spec(queueName="gpus").status(RUNNING),
            Plan(
                deletes=(Delete("x-train-1", "job-of-uid-x"),),
                status=saving(**RAN),
                requeue_after=1,
            ),
            jobs=[a_child(job).queued("gpus")],
            pods=[a_pod(a_child(job)).running()],
        ),
        "nothing is left of it afterwards": PlanCase(
            a_stopped().status(over(late, startTime=at(5), **ATTEMPT).status),
            Plan(deletes=(Delete("x-train-1", "job-of-uid-x"),)),
            jobs=[suspended(job)],
        ),
    }


def _unchecked(said: str) -> Plan:
    """The end of a job whose data nobody looked at."""
    plan = over(said, data=("Stopped", said))
    assert plan.status is not None
    return Plan(status=told_at(plan.status, 60), events=plan.events)


def _at(plan: Plan, **seconds: float) -> Plan:
    assert plan.status is not None
    return Plan(status=changed_at(plan.status, **seconds), events=plan.events)


def _done() -> Plan:
    event = Event("Completed", DONE, "end")
    return Plan(status=COMPLETE, events=(event,))


def _diverged() -> Plan:
    rule = by_reason("Diverged")
    said = "the trainer ended with exit code 76"
    failure = {"reason": "Diverged", "message": said, "remedy": rule.remedy, "exitCode": 76}
    return ended("Diverged", said, failure, **RAN)


CASES = _ends()


@pytest.mark.parametrize("sentence", CASES)
def test_plan(sentence: str) -> None:
    check(CASES[sentence])
