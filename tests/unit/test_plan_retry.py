"""An attempt failed: whole plans."""

from __future__ import annotations

import pytest

from dino_api.failures import by_reason
from dino_operator.plan.model import Plan
from dino_operator.plan.observed import failure
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
    changed_at,
    told,
)
from tests.unit.plan_cases import (
    FAILURE_69,
    SILENT,
    PlanCase,
    attempt_event,
    attempt_of,
    check,
    created,
    ended,
    queued,
    retrying,
)


def _retries() -> dict[str, PlanCase]:
    job = a_job()
    dead = "the process was killed (SIGKILL), and not for reaching its memory limit"
    nan = {"reason": "Diverged", "message": "loss is nan", "remedy": "Lower it."}
    last = "attempt 4 was the last of runPolicy.maxRetries=3; it failed with StorageUnavailable: "
    diverged = a_child(job).failed()
    lost = a_child(job).failed("BackoffLimitExceeded", message="Job has reached the limit")
    gone = "the pod went away without an exit code: Job has reached the limit"
    pod_lost = {"reason": "PodLost", "message": gone, "remedy": by_reason("PodLost").remedy}
    return {
        "a failed attempt that may pass is retried after a while": PlanCase(
            a_job().status(RUNNING),
            Plan(status={**retrying(1, 70), **RAN}, events=(attempt_event(1),), requeue_after=10),
            **attempt_of(job, 1),
        ),
        "while it waits nothing more is said": PlanCase(
            a_job().status(retrying(1, 70)), Plan(requeue_after=5), **attempt_of(job, 1), now=65
        ),
        "then the next attempt is created": PlanCase(
            a_job().status(retrying(1, 70)),
            Plan(
                creates=created(job, pods.Attempt(2, retries=1, spent=60)),
                status=changed_at(queued(job, 2, failure=FAILURE_69, startTime=at(5)), Running=60),
                requeue_after=60,
            ),
            **attempt_of(job, 1),
            now=70,
        ),
        "a failure that nobody saw is told with the next attempt": PlanCase(
            a_job().status(RUNNING),
            Plan(
                creates=created(job, pods.Attempt(2, retries=1, spent=60)),
                status=changed_at(
                    queued(job, 2, failure=FAILURE_69, startTime=at(5), **RAN), Running=500
                ),
                events=(attempt_event(1),),
                requeue_after=60,
            ),
            **attempt_of(job, 1),
            now=500,
        ),
        "the wait doubles": PlanCase(
            a_job().status({**RUNNING, "attempts": 3}),
            Plan(status={**retrying(3, 100), **RAN}, events=(attempt_event(3),), requeue_after=40),
            **attempt_of(job, 3),
        ),
        "when retries are used up the last failure is kept": PlanCase(
            a_job().status({**RUNNING, "attempts": 4}),
            ended("BackoffLimitExceeded", f"{last}{SILENT}", FAILURE_69, attempts=4, **RAN),
            **attempt_of(job, 4),
        ),
        "without retries the failure speaks for itself": PlanCase(
            a_job().policy(maxRetries=0).status(RUNNING),
            ended("StorageUnavailable", SILENT, FAILURE_69, **RAN),
            **attempt_of(job, 1),
        ),
        "what no retry can mend is not retried": PlanCase(
            a_job().status(RUNNING),
            ended("Diverged", "loss is nan", {**nan, "exitCode": 76}, **RAN),
            jobs=[diverged],
            pods=[a_pod(diverged).exited(76, message={"schema": 1, "failure": nan})],
        ),
        "a vanished pod is retried": PlanCase(
            a_job().status(RUNNING),
            Plan(
                status={
                    **changed_at(
                        told(
                            "Queued",
                            running=(
                                "Retrying",
                                f"attempt 1 failed (PodLost: {gone}); attempt 2 starts at {at(70)}",
                            ),
                            failure=pod_lost,
                            startTime=at(5),
                            **RAN,
                            **ATTEMPT,
                        ),
                        Running=60,
                    ),
                },
                events=(attempt_event(1, f"PodLost: {gone}"),),
                requeue_after=10,
            ),
            jobs=[lost],
        ),
        "pre-emption does not count": PlanCase(
            a_job().policy(maxRetries=0).status(retrying(1, 70)),
            Plan(
                creates=created(job, pods.Attempt(2, retries=0, spent=60)),
                status=changed_at(
                    queued(
                        job,
                        2,
                        startTime=at(5),
                        failure=failure.cause(
                            by_reason("Preempted").reason, "the pod was asked to stop", 137
                        ).to_status(),
                    ),
                    Running=60,
                ),
                requeue_after=60,
            ),
            jobs=[a_child(job).failed()],
            pods=[a_pod(a_child(job)).exited(137).deleting()],
            now=70,
        ),
        "a crash counts": PlanCase(
            a_job().policy(maxRetries=0).status(RUNNING),
            ended(
                "Crashed",
                dead,
                {
                    "reason": "Crashed",
                    "message": dead,
                    "remedy": by_reason("Crashed").remedy,
                    "exitCode": 137,
                },
                **RAN,
            ),
            **attempt_of(job, 1, code=137),
        ),
    }


CASES = _retries()


@pytest.mark.parametrize("sentence", CASES)
def test_plan(sentence: str) -> None:
    check(CASES[sentence])
