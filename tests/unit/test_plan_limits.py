"""Deadlines, and images and secrets that do not come: whole plans."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dino_api.failures import by_reason
from dino_operator.plan import pods
from dino_operator.plan.model import Event, Patch, Plan
from dino_operator.plan.names import Annotation
from tests.builders import (
    ChildBuilder,
    a_child,
    a_job,
    a_pod,
    at,
)
from tests.statuses import (
    ATTEMPT,
    QUEUED,
    RUNNING,
    changed_at,
    told,
)
from tests.unit.plan_cases import (
    FAILURE_69,
    Case,
    attempt_of,
    check,
    created,
    ended,
    queued,
    retrying,
)


def _limits() -> dict[str, Case]:
    job = a_job().policy(activeDeadlineSeconds=100)
    late = a_child(job).failed("DeadlineExceeded", end=100)
    said = "the job ran longer than its deadline"
    remedy = by_reason("DeadlineExceeded").remedy
    used = "earlier attempts used up spec.runPolicy.activeDeadlineSeconds"
    image = 'pod x-train-1-aaaaa: "trainer:1" not found'
    wrong = told("Queued", running=("ImagePullFailed", image), **ATTEMPT)
    notes = {
        Annotation.STOPPED_FOR.value: "ImagePullFailed",
        Annotation.STOPPED_MESSAGE.value: image,
    }
    stop = {"metadata": {"annotations": notes}, "spec": {"activeDeadlineSeconds": 1}}
    backoff = 'Back-off pulling image "trainer:1": ErrImagePull: "trainer:1" not found'
    stuck = a_pod(a_child(a_job())).stuck("ImagePullBackOff", backoff)
    stopped = a_child(a_job())
    for key in (Annotation.STOPPED_FOR, Annotation.STOPPED_MESSAGE):
        stopped.note(key, notes[key.value])
    no_image = {
        "reason": "ImagePullFailed",
        "message": image,
        "remedy": by_reason("ImagePullFailed").remedy,
    }
    nothing_left = {"reason": "DeadlineExceeded", "message": used, "remedy": remedy}
    too_late = ended("DeadlineExceeded", used, nothing_left, 70)
    too_late = replace(too_late, status=changed_at(too_late.status, Failed=70))
    gave_up = ended("ImagePullFailed", image, no_image, end=601)
    del gave_up.status["startTime"]
    secret = 'secret "s3-keys" not found'
    keys = (
        f"pod x-train-1-aaaaa: {secret}. Remedy: create the Secret with the keys AWS_ACCESS_KEY_ID "
        "and AWS_SECRET_ACCESS_KEY; the job's is named in spec.storage.secretName, or else by the "
        "Helm value s3.secretName."
    )
    return {
        "the deadline ends it": Case(
            a_job().policy(activeDeadlineSeconds=100).status(RUNNING),
            ended(
                "DeadlineExceeded",
                said,
                {"reason": "DeadlineExceeded", "message": said, "remedy": remedy},
                100,
            ),
            jobs=[late],
        ),
        "the next attempt gets what is left of it": Case(
            a_job().policy(activeDeadlineSeconds=100).status(retrying(1, 70)),
            Plan(
                creates=created(job, pods.Attempt(2, retries=1, spent=60, seconds_left=40)),
                status=changed_at(queued(job, 2, failure=FAILURE_69, startTime=at(5)), Running=60),
                requeue_after=60,
            ),
            **attempt_of(job, 1),
            now=70,
        ),
        "or nothing": Case(
            a_job().policy(activeDeadlineSeconds=55).status(retrying(1, 70)),
            too_late,
            **attempt_of(job, 1),
            now=70,
        ),
        "an edited deadline reaches the running attempt": Case(
            a_job().policy(activeDeadlineSeconds=100).status(RUNNING),
            Plan(
                patches=(
                    Patch("x-train-1", "job-of-uid-x", {"spec": {"activeDeadlineSeconds": 70}}),
                ),
                requeue_after=1,
            ),
            jobs=[a_child(job).spec(activeDeadlineSeconds=90).note(Annotation.SPENT, "30")],
        ),
        "an image that does not come is told at once": Case(
            a_job().status(QUEUED),
            Plan(
                status=wrong,
                events=(Event("PodProblem", image, "ImagePullFailed-1", warning=True),),
                requeue_after=540,
            ),
            jobs=[a_child(job)],
            pods=[stuck],
        ),
        "and given up after a while, with the reason on the Job": Case(
            a_job().status(wrong),
            Plan(patches=(Patch("x-train-1", "job-of-uid-x", stop),)),
            jobs=[a_child(job)],
            pods=[stuck],
            now=600,
        ),
        "until the Job controller has ended it nothing changes": Case(
            a_job().status(wrong), Plan(), jobs=[stopped], pods=[stuck], now=600
        ),
        "then the reason is read from the Job": Case(
            a_job().status(wrong),
            Plan(status=changed_at(gave_up.status, Running=0, Failed=601), events=gave_up.events),
            jobs=[
                ChildBuilder(stopped.obj()).failed("DeadlineExceeded", end=601),
            ],
            now=601,
        ),
        "a missing secret is told and waited for": Case(
            a_job().status(QUEUED),
            Plan(
                status=told("Queued", running=("PodNotStarted", keys), **ATTEMPT),
                events=(Event("PodProblem", keys, "PodNotStarted-1", warning=True),),
            ),
            jobs=[a_child(job)],
            pods=[a_pod(a_child(job)).stuck("CreateContainerConfigError", secret)],
        ),
    }


CASES = _limits()


@pytest.mark.parametrize("sentence", CASES)
def test_plan(sentence: str) -> None:
    check(CASES[sentence])
