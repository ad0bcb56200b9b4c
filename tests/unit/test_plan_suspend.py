"""Suspending and resuming: whole plans."""

from __future__ import annotations

import pytest

from dino_operator.plan import pods
from dino_operator.plan.model import Event, Patch, Plan
from tests.builders import (
    a_child,
    a_job,
    a_pod,
    at,
)
from tests.statuses import (
    ATTEMPT,
    RUNNING,
    STOPPING,
    changed_at,
    told,
    told_at,
)
from tests.unit.plan_cases import (
    FAILURE_69,
    HOLD,
    Case,
    attempt_of,
    check,
    created,
    queued,
)


def _suspend() -> dict[str, Case]:
    job = a_job()
    child = a_child(job)
    held = changed_at(
        told(
            "Suspended",
            running=("Suspended", ""),
            suspended=("Suspended", HOLD, True),
            startTime=at(5),
            **ATTEMPT,
        ),
        Running=60,
        Suspended=60,
    )
    resumed = told(
        "Queued",
        running=("Resumed", "the attempt goes on from its checkpoint"),
        startTime=at(5),
        **ATTEMPT,
    )
    resumed = changed_at(resumed, Running=60, Suspended=90)
    off = Patch("x-train-1", "job-of-uid-x", {"spec": {"suspend": True}})
    on = Patch("x-train-1", "job-of-uid-x", {"spec": {"suspend": False}})
    return {
        "suspending patches the Job": Case(
            a_job().suspended().status(RUNNING),
            Plan(patches=(off,), status=STOPPING),
            jobs=[child],
            pods=[a_pod(child).running()],
        ),
        "and waits for the pod to save": Case(
            a_job().suspended().status(STOPPING),
            Plan(requeue_after=120),
            jobs=[a_child(job).suspended()],
            pods=[a_pod(child).running().deleting()],
        ),
        "it is suspended when no pod is left": Case(
            a_job().suspended().status(STOPPING),
            Plan(status=held, events=(Event("Suspended", HOLD, "1"),)),
            jobs=[a_child(job).suspended()],
        ),
        "a suspended job needs nothing": Case(
            a_job().suspended().status(held), Plan(), jobs=[a_child(job).suspended()]
        ),
        "resuming patches the Job": Case(
            a_job().status(held),
            Plan(
                patches=(on,),
                status=resumed,
                events=(Event("Resumed", "the job goes on", "1"),),
                requeue_after=60,
            ),
            jobs=[a_child(job).suspended()],
            now=90,
        ),
        "a resumed job without a pod yet stays resumed": Case(
            a_job().status(resumed), Plan(requeue_after=5), jobs=[a_child(job).ran(95)], now=95
        ),
        "a job resumed before it ever ran starts": Case(
            a_job().status(
                told_at(
                    told(
                        "Suspended", running=("Suspended", ""), suspended=("Suspended", HOLD, True)
                    ),
                    0,
                )
            ),
            Plan(
                creates=created(job, pods.Attempt(1)),
                status=changed_at(queued(job, 1), Suspended=60),
                events=(Event("Resumed", "the job goes on", "1"),),
                requeue_after=60,
            ),
        ),
        "a failed attempt is not retried while suspended": Case(
            a_job().suspended().status(RUNNING),
            Plan(
                status=changed_at({**held, "failure": FAILURE_69}, Running=60),
                events=(Event("Suspended", HOLD, "1"),),
            ),
            **attempt_of(job, 1),
        ),
    }


CASES = _suspend()


@pytest.mark.parametrize("sentence", CASES)
def test_plan(sentence: str) -> None:
    check(CASES[sentence])
