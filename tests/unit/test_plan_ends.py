"""Failures, retries, suspending and deadlines: whole plans, and why an attempt failed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from dino_api.failures import by_reason
from dino_operator.plan import attempts, failure, pods, specfile
from dino_operator.plan.job import plan
from dino_operator.plan.model import Children, Event, Patch, Plan, Settings
from dino_operator.plan.names import Annotation
from tests.builders import (
    ATTEMPT,
    QUEUED,
    RUNNING,
    ChildBuilder,
    JobBuilder,
    Object,
    PodBuilder,
    a_child,
    a_job,
    a_pod,
    at,
    changed_at,
    later,
    told,
    told_at,
)

SETTINGS = Settings(trainer_image="trainer:1", image_pull_timeout=600)
HOLD = "spec.runPolicy.suspend is true; set it to false to go on from the last checkpoint"
SILENT = "S3 does not answer"
TOLD_69 = {"reason": "StorageUnavailable", "message": SILENT, "remedy": "Start S3."}
MESSAGE_69 = {"schema": 1, "action": "train", "failure": TOLD_69}
FAILURE_69 = {**TOLD_69, "exitCode": 69}


@dataclass
class Case:
    """At `now` seconds after noon this job with these children needs this plan."""

    job: JobBuilder
    plan: Plan
    jobs: list[ChildBuilder] = field(default_factory=list)
    pods: list[PodBuilder] = field(default_factory=list)
    now: float = 60


def attempt_of(job: JobBuilder, number: int, code: int = 69, end: float = 60) -> dict[str, Any]:
    """A failed attempt and its pod."""
    child = a_child(job).attempt(number).failed(end=end)
    message = MESSAGE_69 if code == 69 else None
    return {"jobs": [child], "pods": [a_pod(child).exited(code, message=message)]}


def ended(reason: str, said: str, failed: Object, end: float = 60, **facts: Any) -> Plan:
    """The plan that says Failed, for a job that ran."""
    facts = {"attempts": 1, "startTime": at(5), "completionTime": at(end), **facts}
    status = told(
        "Failed",
        complete=("EndedWithoutSuccess", ""),
        failed=(reason, said, True),
        failure=failed,
        specDigest="digest",
        image="trainer:1",
        **facts,
    )
    words = f"{reason}: {said} {failed['remedy']}"
    event = Event("Failed", words, "end", warning=True)
    return Plan(status=changed_at(status, Running=60, Failed=60), events=(event,))


def retrying(number: int, ready: float, when: float = 60, **facts: Any) -> Object:
    said = f"attempt {number} failed (StorageUnavailable: {SILENT}); "
    said += f"attempt {number + 1} starts at {at(ready)}"
    facts = {"attempts": number, "failure": FAILURE_69, "startTime": at(5), **facts}
    status = told(
        "Queued",
        running=("Retrying", said),
        specDigest="digest",
        image="trainer:1",
        **facts,
    )
    return changed_at(status, Running=when)


def attempt_event(number: int, said: str = f"StorageUnavailable: {SILENT}") -> Event:
    words = f"attempt {number} failed: {said}"
    return Event("AttemptFailed", words, f"attempt-{number}", warning=True)


def created(job: JobBuilder, attempt: pods.Attempt) -> tuple[Object, ...]:
    resource = job.obj()
    resolved = specfile.read_spec(resource)
    needed = [*pods.shared(resource), pods.config_map(resource, resolved)]
    return (*needed, pods.job(resource, resolved, attempt, SETTINGS))


def queued(job: JobBuilder, number: int, **facts: Any) -> Object:
    digest = specfile.read_spec(job.obj()).digest
    said = ("Queued", attempts.WAITING)
    facts = {"specDigest": digest, "image": "trainer:1", **facts}
    return told("Queued", running=said, attempts=number, **facts)


def _retries() -> dict[str, Case]:
    job = a_job()
    dead = "the process was killed (SIGKILL), and not for reaching its memory limit"
    nan = {"reason": "Diverged", "message": "loss is nan", "remedy": "Lower it."}
    last = "attempt 4 was the last of runPolicy.maxRetries=3; it failed with StorageUnavailable: "
    diverged = a_child(job).failed()
    lost = a_child(job).failed("BackoffLimitExceeded", message="Job has reached the limit")
    gone = "the pod went away without an exit code: Job has reached the limit"
    pod_lost = {"reason": "PodLost", "message": gone, "remedy": by_reason("PodLost").remedy}
    return {
        "a failed attempt that may pass is retried after a while": Case(
            a_job().status(RUNNING),
            Plan(status=retrying(1, 70), events=(attempt_event(1),), requeue_after=10),
            **attempt_of(job, 1),
        ),
        "while it waits nothing more is said": Case(
            a_job().status(retrying(1, 70)), Plan(requeue_after=5), **attempt_of(job, 1), now=65
        ),
        "then the next attempt is created": Case(
            a_job().status(retrying(1, 70)),
            Plan(
                creates=created(job, pods.Attempt(2, retries=1, spent=60)),
                status=changed_at(queued(job, 2, failure=FAILURE_69, startTime=at(5)), Running=60),
                requeue_after=60,
            ),
            **attempt_of(job, 1),
            now=70,
        ),
        "a failure that nobody saw is told with the next attempt": Case(
            a_job().status(RUNNING),
            Plan(
                creates=created(job, pods.Attempt(2, retries=1, spent=60)),
                status=changed_at(queued(job, 2, failure=FAILURE_69, startTime=at(5)), Running=500),
                events=(attempt_event(1),),
                requeue_after=60,
            ),
            **attempt_of(job, 1),
            now=500,
        ),
        "the wait doubles": Case(
            a_job().status({**RUNNING, "attempts": 3}),
            Plan(status=retrying(3, 100), events=(attempt_event(3),), requeue_after=40),
            **attempt_of(job, 3),
        ),
        "when retries are used up the last failure is kept": Case(
            a_job().status({**RUNNING, "attempts": 4}),
            ended("BackoffLimitExceeded", f"{last}{SILENT}", FAILURE_69, attempts=4),
            **attempt_of(job, 4),
        ),
        "without retries the failure speaks for itself": Case(
            a_job().policy(maxRetries=0).status(RUNNING),
            ended("StorageUnavailable", SILENT, FAILURE_69),
            **attempt_of(job, 1),
        ),
        "what no retry can mend is not retried": Case(
            a_job().status(RUNNING),
            ended("Diverged", "loss is nan", {**nan, "exitCode": 76}),
            jobs=[diverged],
            pods=[a_pod(diverged).exited(76, message={"schema": 1, "failure": nan})],
        ),
        "a vanished pod is retried": Case(
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
        "pre-emption does not count": Case(
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
        "a crash counts": Case(
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
            ),
            **attempt_of(job, 1, code=137),
        ),
    }


def _suspend() -> dict[str, Case]:
    job = a_job()
    child = a_child(job)
    saving = "pod x-train-1-aaaaa saves a checkpoint and stops"
    stopping = changed_at(
        told(
            "Running",
            running=("Suspending", saving),
            suspended=("Suspending", saving),
            reporter="x-train-1-aaaaa",
            startTime=at(5),
            **ATTEMPT,
        ),
        Running=60,
    )
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
            Plan(patches=(off,), status=stopping),
            jobs=[child],
            pods=[a_pod(child).running()],
        ),
        "and waits for the pod to save": Case(
            a_job().suspended().status(stopping),
            Plan(),
            jobs=[a_child(job).suspended()],
            pods=[a_pod(child).running().deleting()],
        ),
        "it is suspended when no pod is left": Case(
            a_job().suspended().status(stopping),
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
            a_job().status(resumed), Plan(requeue_after=60), jobs=[a_child(job).ran(95)], now=95
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
            Plan(status=wrong, requeue_after=540),
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
                status=told(
                    "Queued", running=("Queued", f"pod x-train-1-aaaaa: {secret}"), **ATTEMPT
                )
            ),
            jobs=[a_child(job)],
            pods=[a_pod(a_child(job)).stuck("CreateContainerConfigError", secret)],
        ),
    }


CASES = {**_retries(), **_suspend(), **_limits()}


@pytest.mark.parametrize("sentence", CASES)
def test_plan(sentence: str) -> None:
    case = CASES[sentence]
    jobs = tuple(each.obj() for each in case.jobs)
    children = Children(jobs, tuple(each.obj() for each in case.pods))
    assert plan(case.job.obj(), children, later(case.now), SETTINGS) == case.plan


TOLD_65 = {"failure": {"reason": "InvalidDataset", "message": "m"}}
CAUSES = {
    "the trainer's own words win": (
        lambda pod: pod.exited(
            65, message={"failure": {"reason": "InvalidDataset", "message": "m"}}
        ),
        ("InvalidDataset", "m", 65),
    ),
    "an exit code of ours without words": (
        lambda pod: pod.exited(71),
        ("DeviceOutOfMemory", "the trainer ended with exit code 71", 71),
    ),
    "a code that nobody documented": (
        lambda pod: pod.exited(3, message="Traceback: boom"),
        ("Crashed", "the trainer ended with exit code 3; its log ends: …Traceback: boom", 3),
    ),
    "the kernel's memory limit": (
        lambda pod: pod.exited(137, reason="OOMKilled"),
        ("OutOfMemory", "the kernel killed the container at its memory limit", 137),
    ),
    "killed while being deleted": (
        lambda pod: pod.exited(137).deleting(),
        ("Preempted", "the pod was asked to stop", 137),
    ),
    "killed by the scheduler": (
        lambda pod: pod.exited(137).condition("DisruptionTarget", reason="PreemptionByScheduler"),
        ("Preempted", "the pod was asked to stop", 137),
    ),
    "stopped with a checkpoint": (
        lambda pod: pod.exited(143),
        ("Preempted", "the pod was asked to stop", 143),
    ),
    "evicted for its disk": (
        lambda pod: pod.evicted("Pod ephemeral local storage usage exceeds the total limit"),
        ("DiskFull", "Pod ephemeral local storage usage exceeds the total limit", None),
    ),
    "evicted for memory": (
        lambda pod: pod.evicted("The node was low on resource: memory"),
        ("OutOfMemory", "The node was low on resource: memory", None),
    ),
    "evicted for something else": (
        lambda pod: pod.evicted("Preempted in order to admit critical pod"),
        ("Preempted", "Preempted in order to admit critical pod", None),
    ),
}


@pytest.mark.parametrize("sentence", CAUSES)
def test_cause(sentence: str) -> None:
    change, expected = CAUSES[sentence]
    child = a_child(a_job()).failed()
    cause = failure.of_job(child.obj(), [change(a_pod(child)).obj()])
    assert (cause.rule.reason.value, cause.message, cause.exit_code) == expected


def test_a_node_that_does_not_answer_loses_the_pod() -> None:
    child = a_child(a_job()).failed()
    pod = a_pod(child).obj()
    pod["status"] = {"phase": "Failed"}
    cause = failure.of_job(child.obj(), [pod])
    assert cause.rule.reason == "PodLost"
    assert "its node does not answer" in cause.message


def test_a_spec_that_cannot_be_run_fails_with_all_its_problems() -> None:
    job = a_job().spec(datasets={"train": []}, output={})
    made = plan(job.obj(), Children(), later(0), SETTINGS)
    assert made.status is not None
    assert not made.creates
    assert made.status["failure"]["reason"] == "InvalidSpec"
    assert "spec.datasets.train" in made.status["failure"]["message"]
    assert "spec.output.uri" in made.status["failure"]["message"]


def test_an_experiment_that_cannot_be_run_names_the_keys_of_the_resource() -> None:
    job = a_job().experiment(train={"num_epochs": 0, "optm": {}})
    made = plan(job.obj(), Children(), later(0), SETTINGS)
    assert made.status is not None
    assert not made.creates
    said = made.status["failure"]["message"]
    assert "spec.experiment.train.num_epochs" in said
    assert "spec.experiment.train.optm" in said
    assert "train.optim" in said
