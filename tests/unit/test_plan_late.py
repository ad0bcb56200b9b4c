"""A job whose work is done and whose pod's last words are lost or cut: its result is read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from dino_api.names import Env, Label
from dino_api.result import Failure, Result
from dino_operator.plan.job import late_result
from dino_operator.plan.job.decide import plan
from dino_operator.plan.model import Delete, Plan, Settings
from dino_operator.plan.observed.children import Children, Refusal
from dino_operator.plan.observed.job_view import JobView
from dino_operator.plan.observed.resource import DinoJob
from dino_operator.plan.rendered import spec_file
from tests.builders import (
    ChildBuilder,
    JobBuilder,
    Object,
    PodBuilder,
    a_child,
    a_job,
    a_pod,
    around,
    later,
)
from tests.statuses import ALL, CHECKED, RUNNING
from tests.unit.termination import kept
from tests.unit.test_api_message import a_result

SETTINGS = Settings(trainer_image="trainer:1", s3_endpoint="http://s3", cache_claim="cache")
WHERE = "s3://results/x/train/result.json"
READS = f"the work is done; its result is read from {WHERE}"
LEFT = {"uri": "s3://results/x/train/dino_model_best.pth", "format": "checkpoint"}
FOLDER = "s3://results/x/train"
RESULT = a_result(FOLDER)
MESSAGE = RESULT.to_termination_message()
METRICS = RESULT.metrics.rounded().to_dict() if RESULT.metrics else {}
HELD = "spec.runPolicy.suspend is false"


def running() -> JobBuilder:
    return a_job().status(RUNNING)


def worked() -> ChildBuilder:
    return a_child(a_job()).complete()


def reader() -> ChildBuilder:
    made = a_child(a_job(), "result").uid("reader")
    made.meta["creationTimestamp"] = "2026-01-01T12:01:00Z"
    return made


def read(text: str) -> PodBuilder:
    return a_pod(reader()).named("x-result-1-bbbbb").succeeded(text)


def worked_with(containers: int, result: Result = RESULT) -> PodBuilder:
    return a_pod(worked()).succeeded(kept(result.to_termination_message(), containers))


@dataclass
class LateResult:
    """What is said at `now` seconds after noon, and what becomes of the facts."""

    phase: str
    said: str
    jobs: list[ChildBuilder] = field(default_factory=lambda: [worked()])
    pods: list[PodBuilder] = field(default_factory=list)
    job: JobBuilder = field(default_factory=running)
    creates: bool = False
    after: float | None = None
    now: float = 90
    facts: Object = field(default_factory=dict)
    more: Object = field(default_factory=dict)
    reason: str = "ReadingResult"


def planned(case: LateResult) -> Plan:
    children = around(
        tuple(each.obj() for each in case.jobs),
        tuple(each.obj() for each in case.pods),
        known=frozenset({("ServiceAccount", "dino-trainer")}),
        **case.more,
    )
    return plan(case.job.obj(), children, later(case.now), SETTINGS)


READ = {"metrics": METRICS, "checkpoint": RESULT.to_dict()["checkpoint"], "progress": ALL}
DONE = "mAP50 0.1112; results are in s3://results/x/train"
UNREAD = f"its result is in {WHERE} and could not be read: "
LOST = {"model": LEFT, "progress": ALL}
QUOTA = Refusal(
    "create", "Job", "x-result-1", 403, "Forbidden", "jobs is forbidden: exceeded quota: few"
)
INVALID = Refusal("create", "Job", "x-result-1", 422, "Invalid", "tolerations: Invalid value")
DENIED = "the API server refuses Job x-result-1: jobs is forbidden: exceeded quota: few"
PREEMPTED = a_result(FOLDER, failure=Failure(reason="Preempted", message="asked to stop"))

CASES = {
    "a message that is there is read": LateResult(
        "Complete", DONE, pods=[worked_with(1)], facts={**READ, "artifacts": 2}
    ),
    "of four containers, too": LateResult("Complete", DONE, pods=[worked_with(4)], facts=READ),
    "of eight, and what was cut is named": LateResult(
        "Complete",
        f"{DONE}; whole only in {WHERE}, as the pod's message was cut: artifacts, dataset",
        pods=[a_pod(worked()).succeeded(MESSAGE.partition("\n")[0])],
        facts=READ,
    ),
    "a pod that is gone: a Job reads the result": LateResult(
        "Running", READS, creates=True, after=900
    ),
    "so where the trainer left something else": LateResult(
        "Running", READS, pods=[a_pod(worked()).succeeded("Killed")], creates=True, after=900
    ),
    "so where not even the essentials are left": LateResult(
        "Running", READS, pods=[worked_with(24)], creates=True, after=900
    ),
    "so where only a pod is left that was preempted before": LateResult(
        "Running",
        READS,
        pods=[a_pod(worked()).exited(143, message=PREEMPTED.to_termination_message())],
        creates=True,
        after=900,
    ),
    "the Job is waited for": LateResult("Running", READS, jobs=[worked(), reader()], after=870),
    "why its pod does not start is said": LateResult(
        "Running",
        f"{READS}: pod x-result-1-aaaaa: 0/1 nodes are available",
        jobs=[worked(), reader()],
        pods=[a_pod(reader()).unschedulable("0/1 nodes are available")],
        after=870,
    ),
    "that it finds no node at first is not": LateResult(
        "Running",
        READS,
        jobs=[worked(), reader()],
        pods=[a_pod(reader()).unschedulable("0/1 nodes are available")],
        after=6,
        now=4,
    ),
    "that it has no image is, at once": LateResult(
        "Running",
        f"{READS}: pod x-result-1-aaaaa: no such image",
        jobs=[worked(), reader()],
        pods=[a_pod(reader()).stuck("ErrImagePull", "no such image")],
        after=870,
    ),
    "what it leaves ends the job": LateResult(
        "Complete", DONE, jobs=[worked(), reader().complete()], pods=[read(MESSAGE)], facts=READ
    ),
    "beside it, what the pod itself told stays": LateResult(
        "Complete",
        f"{DONE}; checkpoint could not be read from {WHERE}: the message of the Job that read "
        "it was cut, too",
        jobs=[worked(), reader().complete()],
        pods=[worked_with(24), read(kept(MESSAGE, 24))],
        facts={"metrics": METRICS, "model": {**LEFT, "precision": "bf16"}},
    ),
    "one Job at most: its words are lost, too": LateResult(
        "Complete",
        f"{UNREAD}the words of the Job that read it are lost, too",
        jobs=[worked(), reader().complete()],
        facts=LOST,
    ),
    "one that fails is not made again": LateResult(
        "Complete",
        f"{UNREAD}AccessDenied: no right to read",
        jobs=[worked(), reader().failed()],
        pods=[
            a_pod(reader()).exited(
                77, message={"failure": {"reason": "AccessDenied", "message": "no right to read"}}
            )
        ],
        facts=LOST,
    ),
    "one that somebody holds is given up": LateResult(
        "Complete",
        f"{UNREAD}Job x-result-1 has not ended after 900 seconds",
        jobs=[worked(), reader().suspended()],
        now=960,
        facts=LOST,
    ),
    "one that is refused is asked for again": LateResult(
        "Running",
        f"{READS}: {DENIED}. Delete what is not needed (kubectl describe resourcequota few says "
        "what counts), or ask the cluster's administrator to raise it; it goes on by itself once "
        "there is room.",
        after=30,
        more={"refusal": QUOTA},
        reason="QuotaExceeded",
    ),
    "for a while": LateResult(
        "Complete",
        f"{UNREAD}{DENIED}",
        now=960,
        facts=LOST,
        more={"refusal": replace(QUOTA, heard=3)},
    ),
    "one that can never be made does not fail the job": LateResult(
        "Complete",
        f"{UNREAD}the API server refuses Job x-result-1: tolerations: Invalid value",
        facts=LOST,
        more={"refusal": INVALID},
    ),
    "one whose name is taken is not made": LateResult(
        "Complete",
        f"{UNREAD}Job x-result-1 belongs to someone else",
        more={"strangers": (reader().orphaned().obj(),)},
        facts=LOST,
    ),
    "none while the job is held": LateResult(
        "Suspended", f"{READS} once {HELD}", job=running().suspended()
    ),
    "a deadline that has passed takes nothing back": LateResult(
        "Running", READS, job=running().policy(activeDeadlineSeconds=30), creates=True, after=900
    ),
    "nor does a stop": LateResult(
        "Running", READS, job=running().policy(stop=True), creates=True, after=900
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_result(case: LateResult) -> None:
    done = planned(case)
    assert done.status is not None
    told = {each["type"]: each for each in done.status["conditions"]}
    ended = done.status["phase"] == "Complete"
    said = told["Complete"] if ended else told["Running"]
    if case.phase == "Suspended":
        said = told["Suspended"]
    assert (done.status["phase"], said["message"]) == (case.phase, case.said)
    assert told["Running"]["status"] == "False"
    if case.phase == "Running":
        assert told["Running"]["reason"] == case.reason
    jobs = [each["metadata"]["name"] for each in done.creates if each["kind"] == "Job"]
    assert jobs == (["x-result-1"] if case.creates else [])
    assert done.requeue_after == case.after
    for name, value in case.facts.items():
        found = done.status[name]
        assert (len(found) if isinstance(value, int) else found) == value, name
    if ended:
        assert done.status["completionTime"] == "2026-01-01T12:01:00Z", "of the work"
        assert "failure" not in done.status


def test_it_is_no_attempt_and_goes_with_the_others() -> None:
    """Neither counts it, nor is it run again; once the end is written it gets its time to live."""
    job = running().policy(ttlSecondsAfterFinished=5)
    children = around((worked().obj(), reader().complete().obj()), (read(MESSAGE).obj(),))
    done = plan(job.obj(), children, later(90), SETTINGS)
    assert done.status is not None
    assert done.status["attempts"] == 1
    after = plan(job.status(done.status).obj(), children, later(99), SETTINGS)
    assert sorted(each.name for each in after.patches) == ["x-result-1", "x-train-1"]
    late_one = around((worked().obj(), reader().obj()), ())
    over = plan(running().status(done.status).obj(), late_one, later(99), SETTINGS)
    assert over.deletes == (Delete("x-result-1", "reader"),)


def test_without_the_attempt_it_is_needless() -> None:
    """Someone deleted the Job that had done the work: it is made again, and says it itself."""
    done = plan(running().obj(), around((reader().obj(),)), later(90), SETTINGS)
    assert done == Plan(deletes=(Delete("x-result-1", "reader"),), requeue_after=1)


def made(job: JobBuilder, **settings: Any) -> Object:
    resource = DinoJob(job.obj())
    view = JobView(resource, Children(), later(0), replace(SETTINGS, **settings))
    return late_result.job(view, spec_file.read_spec(resource), 1)


def test_its_pod_is_small_has_no_token_and_no_cache() -> None:
    job = a_job().status(CHECKED).spec(resources={"gpus": 8, "nodes": 2, "memory": "64Gi"})
    child = made(job.spec(queueName="gpus"))
    pod = child["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["dino", "result", "-e", "/etc/dino/spec.yaml"]
    assert "nvidia.com/gpu" not in str(container["resources"])
    assert container["resources"]["requests"]["memory"] == "1Gi"
    assert {each["name"] for each in pod["volumes"]} == {"spec", "work", "tmp", "shm"}
    names = {each["name"] for each in container["env"]}
    assert not names & {Env.TOKEN_DIR, Env.CACHE_DIR, Env.NODES}
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    labels = child["spec"]["template"]["metadata"]["labels"]
    assert labels[Label.ACTION] == child["metadata"]["labels"][Label.ACTION] == "result"
    assert "suspend" not in child["spec"], "no queue: it takes no GPU"
    assert (child["spec"]["backoffLimit"], child["spec"]["activeDeadlineSeconds"]) == (2, 600)


def test_it_is_told_whose_result() -> None:
    job = a_job().spec(action="evaluate", datasets={"test": [{"uri": "s3://d"}]})
    job.status({**CHECKED, "inherited": {"model": LEFT}})
    (container,) = made(job)["spec"]["template"]["spec"]["containers"]
    assert container["command"][-2:] == ["--for", "evaluate"]


def test_progress_that_stopped_early_is_whole_at_the_end() -> None:
    """Also that of a result that was found and published again, whose pod had no time to say so."""
    stopped = {"percent": 40, "display": "40%", "etaSeconds": 9, "epoch": 4}
    job = running()
    job.thing["status"]["progress"] = stopped
    children = around((worked().obj(),), (worked_with(1).obj(),))
    done = plan(job.obj(), children, later(90), SETTINGS)
    assert done.status is not None
    assert done.status["progress"] == {"percent": 100, "display": "100%", "epoch": 4}
    over = a_job().status(done.status)
    assert plan(over.obj(), children, later(99), SETTINGS) == Plan(), "and it is not written again"
    again = plan(over.generation(2).obj(), children, later(99), SETTINGS)
    assert again.status is not None
    assert again.status["progress"]["percent"] == 100, "what is applied again holds it"


def test_progress_that_the_pod_itself_finished_is_left_to_it() -> None:
    job = running()
    job.thing["status"]["progress"] = {"percent": 100, "display": "100%", "loss": 1.5}
    children = around((worked().obj(),), (worked_with(1).obj(),))
    done = plan(job.obj(), children, later(90), SETTINGS)
    assert done.status is not None
    assert "progress" not in done.status


def test_one_answer_long_after_the_end_is_not_the_last() -> None:
    """The attempt may have ended while no operator was there."""
    answer = Refusal("create", "Job", "x-result-1", 0)
    children = around((worked().obj(),), refusal=answer)
    waits = plan(running().obj(), children, later(5000), SETTINGS)
    assert waits.status is not None
    assert waits.status["phase"] == "Running"
    lasts = replace(children, refusal=replace(answer, heard=3))
    done = plan(running().obj(), lasts, later(5000), SETTINGS)
    assert done.status is not None
    assert done.status["phase"] == "Complete"


def test_a_reader_that_kueue_takes_goes_into_the_jobs_queue() -> None:
    held = reader().suspended()
    workload = {"metadata": {}, "spec": {}, "status": {}}
    children = around((worked().obj(), held.obj()), workload=workload, kueue="read")
    waits = plan(running().spec(queueName="gpus").obj(), children, later(90), SETTINGS)
    (patch,) = waits.patches
    assert patch.name == "x-result-1"
    assert patch.body == {"metadata": {"labels": {"kueue.x-k8s.io/queue-name": "gpus"}}}
    assert waits.status is not None
    assert waits.status["phase"] == "Running"
