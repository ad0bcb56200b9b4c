"""Suspending and resuming: whole plans."""

from __future__ import annotations

import pytest

from dino_operator.plan.annotations import Annotation
from dino_operator.plan.model import Delete, Event, Patch, Plan
from dino_operator.plan.rendered import pods
from tests.builders import (
    a_child,
    a_job,
    a_pod,
    at,
)
from tests.statuses import (
    ATTEMPT,
    RAN,
    RUNNING,
    STOPPING,
    changed_at,
    told,
    told_at,
)
from tests.unit.plan_cases import (
    FAILURE_69,
    HOLD,
    PlanCase,
    attempt_of,
    check,
    created,
    queued,
    resumes,
    suspends,
)


def _suspend() -> dict[str, PlanCase]:
    job = a_job()
    child = a_child(job)
    held = changed_at(
        told(
            "Suspended",
            running=("Suspended", ""),
            suspended=("Suspended", HOLD, True),
            startTime=at(5),
            **RAN,
            **ATTEMPT,
        ),
        Running=60,
        Suspended=60,
    )
    resumed = told(
        "Queued",
        running=("Resumed", "the attempt goes on from its checkpoint"),
        startTime=at(5),
        **RAN,
        **ATTEMPT,
    )
    resumed = changed_at(resumed, Running=60, Suspended=90)
    gone = Delete("x-train-1", "job-of-uid-x")
    other = (
        "SuspendedByOther",
        "someone else than the operator suspended Job x-train-1, which waits until it is resumed. "
        'Remedy: kubectl patch job x-train-1 --type=merge -p \'{"spec":{"suspend":false}}\', '
        "unless a queue holds it.",
    )
    saves = (other[0], other[1].rstrip(".") + "; pod x-train-1-aaaaa saves a checkpoint")
    foreign = changed_at(
        told("Queued", running=other, startTime=at(5), **RAN, **ATTEMPT), Running=60
    )
    return {
        "suspending patches the Job": PlanCase(
            a_job().suspended().status(RUNNING),
            Plan(patches=(suspends(),), status=STOPPING),
            jobs=[child],
            pods=[a_pod(child).running()],
        ),
        "and waits for the pod to save": PlanCase(
            a_job().suspended().status(STOPPING),
            Plan(requeue_after=120),
            jobs=[a_child(job).held()],
            pods=[a_pod(child).running().deleting()],
        ),
        "it is suspended when no pod is left": PlanCase(
            a_job().suspended().status(STOPPING),
            Plan(status=held, events=(Event("Suspended", HOLD, "1"),)),
            jobs=[a_child(job).held()],
        ),
        "a suspended job needs nothing": PlanCase(
            a_job().suspended().status(held), Plan(), jobs=[a_child(job).held()]
        ),
        "resuming patches the Job": PlanCase(
            a_job().status(held),
            Plan(
                patches=(resumes(),),
                status=resumed,
                events=(Event("Resumed", "the job goes on", "1"),),
                requeue_after=60,
            ),
            jobs=[a_child(job).held()],
            now=90,
        ),
        "so does resuming one that an operator before the mark suspended": PlanCase(
            a_job().status({**STOPPING, "phase": "Running"}),
            Plan(
                patches=(resumes(),),
                status={**changed_at(resumed, Running=60, Suspended=0)},
                requeue_after=60,
            ),
            jobs=[a_child(job).suspended()],
            now=90,
        ),
        "a Job that was made since then and is suspended is someone else's": PlanCase(
            a_job().status(held),
            Plan(
                status=changed_at(foreign, Suspended=90),
                events=(Event("Resumed", "the job goes on", "1"),),
                requeue_after=30,
            ),
            jobs=[a_child(job).born(61).suspended()],
            now=90,
        ),
        "what someone else suspended is waited for, and told": PlanCase(
            a_job().status(RUNNING),
            Plan(
                status=changed_at(
                    told(
                        "Queued",
                        running=saves,
                        reporter="x-train-1-aaaaa",
                        startTime=at(5),
                        **RAN,
                        **ATTEMPT,
                    ),
                    Running=60,
                ),
                requeue_after=30,
            ),
            jobs=[a_child(job).suspended()],
            pods=[a_pod(child).running().deleting()],
        ),
        "for as long as it takes, without a write": PlanCase(
            a_job().status(foreign),
            Plan(requeue_after=30),
            jobs=[a_child(job).suspended()],
            now=9000,
        ),
        "the user's suspend holds it as well: the Job goes, so that nobody resumes it": PlanCase(
            a_job().suspended().status(foreign),
            Plan(
                status={**held, "conditions": held["conditions"]},
                deletes=(gone,),
                events=(Event("Suspended", HOLD, "1"),),
                requeue_after=1,
            ),
            jobs=[a_child(job).suspended()],
        ),
        "so it does where someone resumes what the operator suspended": PlanCase(
            a_job().suspended().status(STOPPING),
            Plan(deletes=(gone,), requeue_after=1),
            jobs=[a_child(job).held().suspended(False)],
            pods=[a_pod(child).running().deleting()],
        ),
        "a mark that is over is taken away": PlanCase(
            a_job().status(RUNNING),
            Plan(patches=(_unmarks(),), requeue_after=1),
            jobs=[a_child(job).held().suspended(False)],
            pods=[a_pod(child).running()],
        ),
        "a resumed job without a pod yet stays resumed": PlanCase(
            a_job().status(resumed), Plan(requeue_after=5), jobs=[a_child(job).ran(95)], now=95
        ),
        "a job resumed before it ever ran starts": PlanCase(
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
        "a failed attempt is not retried while suspended": PlanCase(
            a_job().suspended().status(RUNNING),
            Plan(
                status=changed_at({**held, "failure": FAILURE_69}, Running=60),
                events=(Event("Suspended", HOLD, "1"),),
            ),
            **attempt_of(job, 1),
        ),
    }


def _unmarks() -> Patch:
    body = {"metadata": {"annotations": {Annotation.HELD.value: None}}}
    return Patch("x-train-1", "job-of-uid-x", body)


CASES = _suspend()


@pytest.mark.parametrize("sentence", CASES)
def test_plan(sentence: str) -> None:
    check(CASES[sentence])
