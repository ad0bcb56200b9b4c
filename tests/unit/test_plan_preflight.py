"""The data is checked before a GPU is asked for: whole plans."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dino_api.failures import by_reason
from dino_operator.plan.job import attempts
from dino_operator.plan.job.decide import plan
from dino_operator.plan.model import Delete, Event, Plan
from dino_operator.plan.observed.resource import DinoJob
from dino_operator.plan.rendered import pods, spec_file
from tests.builders import JobBuilder, Object, a_child, a_job, a_pod, a_preflight, around, at, later
from tests.statuses import CHECKING, RESULT, RUNNING, UNCHECKED, changed_at, told, told_at
from tests.unit.plan_cases import (
    FAILURE_69,
    HOLD,
    MESSAGE_69,
    SETTINGS,
    SILENT,
    PlanCase,
    check,
    resumes,
    suspends,
)
from tests.unit.plan_cases import created as trained

FOUND = {"numClasses": 4, "images": 10, "annotations": 20, "warnings": ["box-flat: 3 boxes"]}
ARTIFACT = {"name": "report.html", "uri": "s3://results/x/preflight/report.html"}
MESSAGE = {"schema": 1, "action": "preflight", "dataset": FOUND, "artifacts": [ARTIFACT]}
IN_STATUS = {
    "dataset": {**FOUND, "classNames": []},
    "artifacts": [{**ARTIFACT, "name": "preflight/report.html"}],
}
GOOD = ("DataChecked", "10 images, 20 boxes, 4 classes; 1 warnings: box-flat: 3 boxes", True)
CHECK = pods.Attempt(1, preflight=True)
LEFT = {"specDigest": "digest", "image": "trainer:1"}


def facts_of(job: JobBuilder) -> Object:
    return {"specDigest": spec_file.read_spec(DinoJob(job.obj())).digest, "image": "trainer:1"}


def failed(reason: str, said: str, failure: Object, when: float = 60, **more: object) -> Plan:
    """The end in the first stage."""
    status = told(
        "Failed",
        data=(failure["reason"], said),
        complete=("EndedWithoutSuccess", ""),
        failed=(reason, said, True),
        failure=failure,
        completionTime=at(when),
        **{**LEFT, **more},
    )
    words = f"{reason}: {said} {failure['remedy']}"
    event = Event("Failed", words, "end", warning=True)
    return Plan(status=changed_at(status, Failed=when), events=(event,))


def _checks() -> dict[str, PlanCase]:
    job, limited = a_job(), a_job().policy(activeDeadlineSeconds=100)
    check_job = a_preflight(job)
    passed = a_preflight(job).complete(end=30)
    good_pod = a_pod(a_preflight(job)).succeeded(MESSAGE)
    now_training = told("Queued", running=("Queued", attempts.WAITING), attempts=1, **IN_STATUS)
    begun = Plan(
        creates=trained(job, pods.Attempt(1, spent=30)),
        status=changed_at({**now_training, "conditions": _with_data(now_training)}, DataReady=60),
        requeue_after=60,
    )
    begun.status.update(facts_of(job))
    said = "no category has the id 9. Correct it."
    bad = {"reason": "InvalidDataset", "message": said, "remedy": "Number them from 1."}
    invalid = {"schema": 1, "action": "preflight", "failure": bad, "artifacts": [ARTIFACT]}
    return {
        "a new job's data is checked, by a Job that asks for no GPU": PlanCase(
            job,
            Plan(
                creates=trained(job, CHECK),
                status=told_at(
                    told("Preparing", running=UNCHECKED, data=UNCHECKED, **facts_of(job)), 60
                ),
                requeue_after=60,
            ),
        ),
        "the deadline counts from there": PlanCase(
            limited,
            Plan(
                creates=trained(limited, replace(CHECK, seconds_left=100)),
                status=told_at(
                    told(
                        "Preparing",
                        running=UNCHECKED,
                        data=UNCHECKED,
                        activeSeconds=0,
                        **facts_of(limited),
                    ),
                    60,
                ),
                requeue_after=60,
            ),
        ),
        "its pod runs, and nothing new is said": PlanCase(
            a_job().status(CHECKING), Plan(), [check_job], [a_pod(check_job).running()]
        ),
        "nor while it waits": PlanCase(
            a_job().status(CHECKING), Plan(requeue_after=240), [check_job], [a_pod(check_job)]
        ),
        "once it passed, the training's Job is made and what was found is told": PlanCase(
            a_job().status(CHECKING), begun, [passed], [good_pod]
        ),
        "its time is taken from the deadline": PlanCase(
            a_job().policy(activeDeadlineSeconds=100).status(CHECKING),
            replace(
                begun,
                creates=trained(limited, pods.Attempt(1, spent=30, seconds_left=70)),
                status={**begun.status, **facts_of(limited), "activeSeconds": 30},
            ),
            [passed],
            [good_pod],
        ),
        "what was found is told later where the operator was killed in between": PlanCase(
            a_job().status(CHECKING),
            Plan(status=changed_at({**begun.status, **LEFT}, DataReady=45), requeue_after=15),
            [passed, a_child(job)],
            [good_pod],
            now=45,
        ),
        "good data is not checked again when somebody deletes its Job": PlanCase(
            a_job().status(RUNNING),
            Plan(requeue_after=245),
            [a_child(job)],
            [a_pod(a_child(job)).running()],
        ),
        "not even where nobody wrote down that it was good": PlanCase(
            a_job().status(CHECKING),
            Plan(
                status=changed_at(
                    told(
                        "Running",
                        running=("Started", "pod x-train-1-aaaaa runs", True),
                        data=("DataChecked", "no error was found", True),
                        attempts=1,
                        reporter="x-train-1-aaaaa",
                        startTime=at(5),
                        **LEFT,
                    ),
                    Running=60,
                    DataReady=60,
                ),
                requeue_after=245,
            ),
            [a_child(job)],
            [a_pod(a_child(job)).running()],
        ),
        "a check that runs beside a training goes": PlanCase(
            a_job().status(RUNNING),
            Plan(deletes=(Delete("x-preflight-1", "preflight-of-uid-x"),), requeue_after=1),
            [check_job, a_child(job)],
            [a_pod(a_child(job)).running()],
        ),
        "a check whose Job was deleted is made again": PlanCase(
            a_job().status({**CHECKING, **facts_of(job)}),
            Plan(creates=trained(job, CHECK), requeue_after=60),
        ),
        "bad data ends the job in the words of its pod": PlanCase(
            a_job().status(CHECKING),
            failed(
                "InvalidDataset",
                said,
                {**bad, "exitCode": 65},
                artifacts=IN_STATUS["artifacts"],
            ),
            [a_preflight(job).failed()],
            [a_pod(check_job).exited(65, message=invalid)],
        ),
        "a spec that cannot be run ends it before any Job": PlanCase(
            a_job().spec(output={}), _invalid(a_job().spec(output={}))
        ),
    }


def _with_data(status: Object) -> list[Object]:
    """The conditions, with what the preflight found."""
    reason, message, _ = GOOD
    return [
        {**each, "reason": reason, "message": message} if each["type"] == "DataReady" else each
        for each in status["conditions"]
    ]


def _invalid(job: JobBuilder) -> Plan:
    said = "spec.output.uri: must be given; `kubectl explain` shows what it can hold."
    failure = {"reason": "InvalidSpec", "message": said, "remedy": by_reason("InvalidSpec").remedy}
    plan_ = failed("InvalidSpec", said, failure, specDigest=None, image=None)
    plan_.status.pop("specDigest"), plan_.status.pop("image")
    return replace(plan_, status=told_at(plan_.status, 60))


def _trouble() -> dict[str, PlanCase]:
    job = a_job()
    silent = f"preflight attempt 1 failed (StorageUnavailable: {SILENT}); "
    retrying = told(
        "Preparing",
        running=("Retrying", f"{silent}preflight attempt 2 starts at {at(70)}"),
        data=UNCHECKED,
        failure=FAILURE_69,
        **LEFT,
    )
    words = f"preflight attempt 1 failed: StorageUnavailable: {SILENT}"
    event = Event("AttemptFailed", words, "preflight-1", warning=True)
    dead = {
        "jobs": [a_preflight(job).failed()],
        "pods": [a_pod(a_preflight(job)).exited(69, message=MESSAGE_69)],
    }
    again = pods.Attempt(2, retries=1, spent=60, preflight=True)
    checking = told("Preparing", running=UNCHECKED, data=UNCHECKED, failure=FAILURE_69)
    suspended = told(
        "Suspended",
        running=("Suspended", ""),
        suspended=("Suspended", HOLD, True),
        data=UNCHECKED,
        **LEFT,
    )
    stopping = "pod x-preflight-1-aaaaa stops"
    check_job = ("x-preflight-1", "preflight-of-uid-x")
    resumed = ("Resumed", "the check of the data starts again")
    short = "0/2 nodes have what the pod needs: Insufficient cpu. Remedy: wait for CPUs to come "
    short += "free, or ask for less by spec.resources.cpu."
    return {
        "a check that may pass is tried again, by the same catalogue": PlanCase(
            a_job().status(CHECKING),
            Plan(status=retrying, events=(event,), requeue_after=10),
            **dead,
        ),
        "after the same wait": PlanCase(
            a_job().status(retrying),
            Plan(
                creates=trained(job, again),
                status={**checking, **facts_of(job)},
                requeue_after=60,
            ),
            now=70,
            **dead,
        ),
        "as often": PlanCase(
            a_job().policy(maxRetries=0).status(CHECKING),
            failed("StorageUnavailable", SILENT, FAILURE_69),
            **dead,
        ),
        "suspending stops it": PlanCase(
            a_job().suspended().status(CHECKING),
            Plan(
                patches=(suspends(*check_job),),
                status=told(
                    "Preparing",
                    running=("Suspending", stopping),
                    suspended=("Suspending", stopping),
                    data=UNCHECKED,
                    **LEFT,
                ),
            ),
            [a_preflight(job)],
            [a_pod(a_preflight(job)).running()],
        ),
        "and resuming starts it again": PlanCase(
            a_job().status(suspended),
            Plan(
                patches=(resumes(*check_job),),
                status=changed_at(
                    told("Preparing", running=resumed, data=UNCHECKED, **LEFT), Suspended=60
                ),
                events=(Event("Resumed", "the job goes on", "1"),),
                requeue_after=60,
            ),
            [a_preflight(job).suspended()],
        ),
        "an unschedulable check says what is missing": PlanCase(
            a_job().status(CHECKING),
            Plan(
                status=told(
                    "Preparing", running=("PodsUnschedulable", short), data=UNCHECKED, **LEFT
                )
            ),
            [a_preflight(job)],
            [
                a_pod(a_preflight(job)).unschedulable(
                    "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes."
                )
            ],
        ),
        "one that is drained is replaced by its Job": PlanCase(
            a_job().status(CHECKING),
            Plan(requeue_after=120),
            [a_preflight(job)],
            [a_pod(a_preflight(job)).running().condition("DisruptionTarget").deleting()],
        ),
    }


CASES = {**_checks(), **_trouble()}


@pytest.mark.parametrize("sentence", CASES)
def test_plan(sentence: str) -> None:
    check(CASES[sentence])


def test_out_of_memory_in_the_check_leaves_the_batch_alone() -> None:
    job, dead = a_job().status(CHECKING), a_preflight(a_job()).failed()
    children = around((dead.obj(),), (a_pod(a_preflight(a_job())).exited(137, "OOMKilled").obj(),))
    made = plan(job.obj(), children, later(75), SETTINGS)
    (again,) = (each for each in made.creates if each["kind"] == "Job")
    assert again["metadata"]["name"] == "x-preflight-2"
    assert "microBatch" not in made.status


def test_the_end_keeps_what_the_check_found() -> None:
    status = {**RUNNING, **IN_STATUS}
    job = a_job().status(status)
    children = around(
        (a_child(job).complete().obj(),), (a_pod(a_child(job)).succeeded(RESULT).obj(),)
    )
    end = plan(job.obj(), children, later(60), SETTINGS).status
    assert end["artifacts"] == IN_STATUS["artifacts"]
    assert end["dataset"] == {**RESULT["dataset"], **FOUND}, "names are the trainer's"
