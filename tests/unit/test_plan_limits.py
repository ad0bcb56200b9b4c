"""Deadlines, and images and secrets that do not come: whole plans."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dino_api.failures import by_reason
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.job.decide import plan
from dino_operator.plan.model import Delete, Event, Patch, Plan
from dino_operator.plan.observed import active_time
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.job_view import JobView
from dino_operator.plan.observed.resource import DinoJob
from dino_operator.plan.rendered import pods
from tests.builders import (
    ChildBuilder,
    JobBuilder,
    a_child,
    a_job,
    a_pod,
    around,
    at,
    later,
)
from tests.statuses import (
    ATTEMPT,
    QUEUED,
    RUNNING,
    STOPPING,
    changed_at,
    told,
)
from tests.unit.plan_cases import (
    FAILURE_69,
    HOLD,
    SETTINGS,
    PlanCase,
    attempt_of,
    check,
    created,
    ended,
    queued,
    resumes,
    retrying,
    suspends,
)


def _limits() -> dict[str, PlanCase]:
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
    too_late = ended("DeadlineExceeded", used, nothing_left, 70, activeSeconds=60)
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
        "the deadline ends it": PlanCase(
            a_job().policy(activeDeadlineSeconds=100).status(RUNNING),
            ended(
                "DeadlineExceeded",
                said,
                {"reason": "DeadlineExceeded", "message": said, "remedy": remedy},
                100,
                activeSeconds=100,
                gpuSeconds=95,
            ),
            jobs=[late],
        ),
        "the next attempt gets what is left of it": PlanCase(
            a_job().policy(activeDeadlineSeconds=100).status(retrying(1, 70)),
            Plan(
                creates=created(job, pods.Attempt(2, retries=1, spent=60, seconds_left=40)),
                status=changed_at(
                    queued(job, 2, failure=FAILURE_69, startTime=at(5), activeSeconds=60),
                    Running=60,
                ),
                requeue_after=60,
            ),
            **attempt_of(job, 1),
            now=70,
        ),
        "or nothing": PlanCase(
            a_job().policy(activeDeadlineSeconds=55).status(retrying(1, 70)),
            too_late,
            **attempt_of(job, 1),
            now=70,
        ),
        "an edited deadline reaches the running attempt": PlanCase(
            a_job().policy(activeDeadlineSeconds=100).status(RUNNING),
            Plan(
                patches=(
                    Patch("x-train-1", "job-of-uid-x", {"spec": {"activeDeadlineSeconds": 70}}),
                ),
                requeue_after=1,
            ),
            jobs=[a_child(job).spec(activeDeadlineSeconds=90).note(Annotation.SPENT, "30")],
        ),
        "an image that does not come is told at once": PlanCase(
            a_job().status(QUEUED),
            Plan(
                status=wrong,
                events=(Event("PodProblem", image, "ImagePullFailed-1", warning=True),),
                requeue_after=540,
            ),
            jobs=[a_child(job)],
            pods=[stuck],
        ),
        "and given up after a while, with the reason on the Job": PlanCase(
            a_job().status(wrong),
            Plan(patches=(Patch("x-train-1", "job-of-uid-x", stop),)),
            jobs=[a_child(job)],
            pods=[stuck],
            now=600,
        ),
        "until the Job controller has ended it nothing changes": PlanCase(
            a_job().status(wrong), Plan(), jobs=[stopped], pods=[stuck], now=600
        ),
        "then the reason is read from the Job": PlanCase(
            a_job().status(wrong),
            Plan(status=changed_at(gave_up.status, Running=0, Failed=601), events=gave_up.events),
            jobs=[
                ChildBuilder(stopped.obj()).failed("DeadlineExceeded", end=601),
            ],
            now=601,
        ),
        "a missing secret is told and waited for": PlanCase(
            a_job().status(QUEUED),
            Plan(
                status=told("Queued", running=("PodNotStarted", keys), **ATTEMPT),
                events=(Event("PodProblem", keys, "PodNotStarted-1", warning=True),),
            ),
            jobs=[a_child(job)],
            pods=[a_pod(a_child(job)).stuck("CreateContainerConfigError", secret)],
        ),
    }


def _limited(**status: Any) -> JobBuilder:
    """A running job that may run for 100 s, and what its status knows of them."""
    return a_job().policy(activeDeadlineSeconds=100).status({**RUNNING, **status})


def _counts(spent: int, until: float, **spec: Any) -> Patch:
    """What ran is noted on the Job, and what is left goes with it in the same write."""
    notes = {Annotation.SPENT.value: str(spent), Annotation.SPENT_UNTIL.value: at(until)}
    body: dict[str, Any] = {"metadata": {"annotations": notes}}
    return Patch("x-train-1", "job-of-uid-x", {**body, "spec": spec} if spec else body)


def _over_suspensions() -> dict[str, PlanCase]:
    """Kubernetes compares the old start before it sets the new one."""
    job = a_job()
    whole = a_child(job).spec(activeDeadlineSeconds=100)
    held = a_child(job).held().note(Annotation.SPENT, "60").note(Annotation.SPENT_UNTIL, at(60))
    stopped = ChildBuilder(held.obj()).condition("Suspended", lastTransitionTime=at(60))
    resumed = ChildBuilder(stopped.obj()).suspended(False)
    del resumed.meta["annotations"][Annotation.HELD.value]
    again = ChildBuilder(resumed.obj()).ran(900)
    again.condition("Suspended", False, lastTransitionTime=at(900))
    told_held = told(
        "Suspended",
        running=("Suspended", ""),
        suspended=("Suspended", HOLD, True),
        startTime=at(5),
        activeSeconds=60,
        **ATTEMPT,
    )
    told_held = changed_at(told_held, Running=60, Suspended=60)
    goes_on = ("Resumed", "the attempt goes on from its checkpoint")
    told_on = told("Queued", running=goes_on, startTime=at(5), activeSeconds=60, **ATTEMPT)
    told_on = changed_at(told_on, Running=60, Suspended=900)
    used = "earlier attempts used up spec.runPolicy.activeDeadlineSeconds"
    remedy = by_reason("DeadlineExceeded").remedy
    nothing_left = {"reason": "DeadlineExceeded", "message": used, "remedy": remedy}
    return {
        "suspending takes the deadline away and notes what has run": PlanCase(
            _limited(activeSeconds=0, activeSince=at(0)).suspended(),
            Plan(
                patches=(suspends(activeDeadlineSeconds=None),),
                status={**STOPPING, "activeSeconds": 0, "activeSince": at(0)},
            ),
            jobs=[whole],
            pods=[a_pod(a_child(job)).running()],
        ),
        "a suspended job has what it had, however long it is held": PlanCase(
            a_job().policy(activeDeadlineSeconds=100).suspended().status(told_held),
            Plan(),
            jobs=[stopped],
            now=90000,
        ),
        "its resume brings no deadline: the old start would be compared with it": PlanCase(
            a_job().policy(activeDeadlineSeconds=100).status(told_held),
            Plan(
                patches=(resumes(),),
                status=told_on,
                events=(Event("Resumed", "the job goes on", "1"),),
                requeue_after=60,
            ),
            jobs=[stopped],
            now=900,
        ),
        "and takes one away that an older operator left": PlanCase(
            a_job().policy(activeDeadlineSeconds=1000).status(told_held),
            Plan(
                patches=(resumes(activeDeadlineSeconds=None),),
                status=told_on,
                events=(Event("Resumed", "the job goes on", "1"),),
                requeue_after=60,
            ),
            jobs=[ChildBuilder(stopped.obj()).spec(activeDeadlineSeconds=1000)],
            now=900,
        ),
        "nothing is set before the Job controller has noted the new start": PlanCase(
            a_job().policy(activeDeadlineSeconds=100).status(told_on),
            Plan(requeue_after=5),
            jobs=[resumed],
            now=900,
        ),
        "then what is left": PlanCase(
            a_job().policy(activeDeadlineSeconds=100).status(told_on),
            Plan(patches=(_sets(40),), requeue_after=1),
            jobs=[again],
            now=901,
        ),
        "a raised deadline counts what has run": PlanCase(
            a_job().policy(activeDeadlineSeconds=1000).status(told_on),
            Plan(patches=(_sets(940),), requeue_after=1),
            jobs=[ChildBuilder(again.obj()).spec(activeDeadlineSeconds=40)],
            now=901,
        ),
        "a job with nothing left fails instead of being resumed": PlanCase(
            a_job().policy(activeDeadlineSeconds=60).status({**told_held, "activeSeconds": 60}),
            _nothing_left(used, nothing_left, Suspended=900),
            jobs=[stopped],
            now=900,
        ),
        "someone else's suspension is counted so as well": PlanCase(
            _limited(activeSeconds=0, activeSince=at(0)).status(None),
            Plan(
                patches=(_counts(60, 60, activeDeadlineSeconds=None),),
                status=changed_at(
                    told(
                        "Queued",
                        running=_other(),
                        startTime=at(5),
                        activeSeconds=60,
                        gpuSeconds=55,
                        **ATTEMPT,
                    ),
                    Running=300,
                ),
                requeue_after=30,
            ),
            jobs=[
                ChildBuilder(whole.obj())
                .suspended()
                .condition("Suspended", lastTransitionTime=at(60))
            ],
            now=300,
        ),
        "a resume before the Job controller looked goes on from the old start": PlanCase(
            _limited(activeSeconds=60),
            Plan(patches=(_sets(100),), requeue_after=1),
            jobs=[_never_noticed(resumed)],
            pods=[a_pod(a_child(job)).running()],
            now=61,
        ),
        "suspended again it is deleted, and what ran is counted once": PlanCase(
            _limited().suspended().status({**STOPPING, "activeSeconds": 60}),
            Plan(
                status={**STOPPING, "activeSeconds": 90},
                deletes=(Delete("x-train-1", "job-of-uid-x"),),
                requeue_after=1,
            ),
            jobs=[_never_noticed(ChildBuilder(held.obj()).suspended(False))],
            pods=[a_pod(a_child(job)).running().deleting()],
            now=90,
        ),
    }


def _over_evictions() -> dict[str, PlanCase]:
    """Kueue clears the start of a Job that it stops, so that the Job's clock begins anew."""
    job = a_job()
    evicted = a_child(job).waiting("gpus", since=60).spec(activeDeadlineSeconds=100)
    counted = ChildBuilder(evicted.obj()).spec(activeDeadlineSeconds=40)
    counted.note(Annotation.SPENT, "60").note(Annotation.SPENT_UNTIL, at(60))
    waits = ("WaitingForQueue", "the Job waits in queue gpus until Kueue admits it")
    waiting = told("Queued", running=waits, startTime=at(5), activeSeconds=60, **ATTEMPT)
    waiting = changed_at(waiting, Running=70)
    again = a_child(job).queued("gpus").ran(300).spec(activeDeadlineSeconds=100)
    progress = {"epoch": 3, "updatedAt": at(50)}
    gone = Delete("x-train-1", "job-of-uid-x")
    used = "earlier attempts used up spec.runPolicy.activeDeadlineSeconds"
    remedy = by_reason("DeadlineExceeded").remedy
    nothing_left = {"reason": "DeadlineExceeded", "message": used, "remedy": remedy}
    known = {"activeSeconds": 0, "activeSince": at(0)}
    left = {"activeSeconds": 60, "specDigest": queued(a_job().spec(queueName="gpus"), 1)}
    return {
        "the start of a run is remembered": PlanCase(
            _limited(),
            Plan(status={**RUNNING, **known}, requeue_after=245),
            jobs=[a_child(job).queued("gpus").spec(activeDeadlineSeconds=100)],
            pods=[a_pod(a_child(job)).running()],
        ),
        "an eviction is counted up to when it was": PlanCase(
            _limited(**known),
            Plan(
                patches=(_counts(60, 60, activeDeadlineSeconds=40),),
                status={**waiting, "gpuSeconds": 55},
                requeue_after=30,
            ),
            jobs=[evicted],
            now=70,
        ),
        "once, and the wait is not": PlanCase(
            _limited().status(waiting), Plan(requeue_after=30), jobs=[counted], now=90000
        ),
        "one that nobody saw, by the last sign of life before the next start": PlanCase(
            _limited(**known, progress=progress),
            Plan(patches=(_counts(50, 300, activeDeadlineSeconds=50),), requeue_after=1),
            jobs=[again],
            pods=[a_pod(a_child(job)).running()],
            now=310,
        ),
        "with nothing left it fails, and does not wait": PlanCase(
            _limited().policy(activeDeadlineSeconds=60).status(waiting),
            _nothing_left(used, nothing_left, Running=70),
            jobs=[counted],
            now=900,
        ),
        "a Job that the user's suspend deletes leaves it in the status": PlanCase(
            _limited(**known).suspended(),
            Plan(
                status={**STOPPING, "activeSeconds": 60},
                deletes=(gone,),
                requeue_after=1,
            ),
            jobs=[a_child(job).queued("gpus").spec(activeDeadlineSeconds=100)],
            pods=[a_pod(a_child(job)).running()],
        ),
        "and is not counted on while it goes": PlanCase(
            _limited(**known).suspended().status({**STOPPING, "activeSeconds": 45}),
            Plan(requeue_after=120),
            jobs=[a_child(job).queued("gpus").spec(activeDeadlineSeconds=100).going(45)],
            pods=[a_pod(a_child(job)).running().deleting()],
        ),
        "from where the next one takes it": PlanCase(
            a_job()
            .spec(queueName="gpus")
            .policy(activeDeadlineSeconds=100)
            .status({**waiting, "activeSeconds": 60}),
            Plan(
                creates=created(
                    a_job().spec(queueName="gpus").policy(activeDeadlineSeconds=100),
                    pods.Attempt(1, spent=60, seconds_left=40),
                ),
                status={**waiting, "specDigest": left["specDigest"]["specDigest"]},
                requeue_after=60,
            ),
            now=900,
        ),
        "also where the operator was killed before it wrote that": PlanCase(
            a_job()
            .spec(queueName="gpus")
            .policy(activeDeadlineSeconds=100)
            .status({**waiting, **known, "progress": progress, **_stopped_at(70)}),
            Plan(
                creates=created(
                    a_job().spec(queueName="gpus").policy(activeDeadlineSeconds=100),
                    pods.Attempt(1, spent=70, seconds_left=30),
                ),
                status={
                    **waiting,
                    "specDigest": left["specDigest"]["specDigest"],
                    "activeSeconds": 70,
                },
                requeue_after=60,
            ),
            now=900,
        ),
    }


def _stopped_at(seconds: float) -> dict[str, Any]:
    """Conditions that say when the operator saw the pods stop."""
    waits = ("WaitingForQueue", "the Job waits in queue gpus until Kueue admits it")
    return {"conditions": changed_at(told("Queued", running=waits), Running=seconds)["conditions"]}


def _other() -> tuple[str, str]:
    said = "someone else than the operator suspended Job x-train-1, which waits until it is "
    said += "resumed. Remedy: kubectl patch job x-train-1 --type=merge -p "
    return "SuspendedByOther", said + '\'{"spec":{"suspend":false}}\', unless a queue holds it.'


def _sets(seconds: int) -> Patch:
    return Patch("x-train-1", "job-of-uid-x", {"spec": {"activeDeadlineSeconds": seconds}})


def _never_noticed(resumed: ChildBuilder) -> ChildBuilder:
    """Suspended and resumed so fast that its start and its pod are the old ones."""
    child = ChildBuilder(resumed.obj())
    child.thing["status"]["conditions"] = []
    return child


def _nothing_left(said: str, failed: Any, **when: float) -> Plan:
    plan = ended("DeadlineExceeded", said, failed, 900, activeSeconds=60)
    assert plan.status is not None
    status = changed_at(plan.status, Failed=900, **when)
    return replace(plan, status=status)


CASES = _limits() | _over_suspensions() | _over_evictions()


@pytest.mark.parametrize("sentence", CASES)
def test_plan(sentence: str) -> None:
    check(CASES[sentence])


def test_a_deadline_that_a_policy_sets_each_time_hides_nothing_of_the_pod() -> None:
    """It is taken away, as the job has none; and the status goes on, whoever wins."""
    child = a_child(a_job()).spec(activeDeadlineSeconds=86400)
    pod = a_pod(child).running()
    seen = plan(a_job().obj(), around([child.obj()], [pod.obj()]), later(60), SETTINGS)
    assert [each.body for each in seen.patches] == [{"spec": {"activeDeadlineSeconds": None}}]
    assert seen.status is not None
    assert seen.status["phase"] == "Running"
    assert seen.status["reporter"] == "x-train-1-aaaaa"


def test_a_job_with_nothing_left_has_not_failed_before_its_pod_has_gone() -> None:
    """Its Job was in a queue and deleted by a suspension; it is resumed with a lower deadline."""
    job = a_job().policy(activeDeadlineSeconds=30).status({**STOPPING, "activeSeconds": 60})
    pod = a_pod(a_child(a_job())).running().deleting()
    waits = plan(job.obj(), around(pods=[pod.obj()]), later(70), SETTINGS)
    assert waits.status is not None
    assert waits.status["phase"] == "Pending"
    assert "pod x-train-1-aaaaa of an earlier Job has not ended yet" in str(waits.status)
    assert not waits.creates
    gone = plan(job.obj(), around(), later(70), SETTINGS)
    assert gone.status is not None
    assert gone.status["failure"]["reason"] == "DeadlineExceeded"


def test_a_run_that_nobody_saw_end_is_counted_without_the_wait_after_it() -> None:
    """Evicted and admitted again while no operator was there, then failed: 60 + 60 seconds ran."""
    job = a_job().policy(activeDeadlineSeconds=1800)
    job.status({**RUNNING, "activeSeconds": 0, "activeSince": at(0)})
    job.thing["status"]["progress"] = {"updatedAt": at(60)}
    child = a_child(job).queued("gpus").ran(3600).failed(end=3660)
    pod = a_pod(child).exited(69)
    pod.thing["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = at(3655)
    view = JobView(DinoJob(job.obj()), around((child.obj(),), (pod.obj(),)), later(3700), SETTINGS)
    assert view.seconds_spent(2) == 120


def test_a_suspension_that_the_job_controller_did_not_see_takes_no_run_back() -> None:
    """Suspended at 100 s and resumed at once: it ran on from the start, until 3,700 s."""
    child = a_child(a_job()).ran(0).failed(end=3700)
    child.note(Annotation.SPENT, "100").note(Annotation.SPENT_UNTIL, at(100))
    assert active_time.total(Job(child.obj())) == 3700
    child.spec(suspend=True)
    assert active_time.total(Job(child.obj())) == 100, "it ended while it was suspended"
