"""The whole plan for a DinoJob, case by case: a surplus action fails as a missing one does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dino_operator.plan.annotations import Annotation
from dino_operator.plan.job import attempts
from dino_operator.plan.job.decide import plan
from dino_operator.plan.model import Delete, Event, Patch, Plan, Settings
from dino_operator.plan.observed.resource import DinoJob
from dino_operator.plan.rendered import children, pods, spec_file
from tests.builders import (
    JobBuilder,
    Object,
    a_child,
    a_job,
    a_pod,
    around,
    at,
    later,
)
from tests.statuses import (
    ATTEMPT,
    CHECKED,
    COMPLETE,
    QUEUED,
    RAN,
    RESULT,
    RUNNING,
    UNCHECKED,
    changed_at,
    of_generation,
    told,
)
from tests.unit.plan_cases import HOLD, PlanCase, check

SETTINGS = Settings(trainer_image="trainer:1", s3_endpoint="http://s3", s3_secret="s3-keys")
UNSEEN = ("DataChecked", "no error was found", True)


def rendered(job: JobBuilder, attempt: pods.Attempt, shared: bool = True) -> tuple[Object, ...]:
    """The objects that creating an attempt takes; tests of the renderer look inside them."""
    resource = DinoJob(job.obj())
    resolved = spec_file.read_spec(resource)
    made = [
        children.config_map(resource, resolved),
        children.job(resource, resolved, attempt, SETTINGS),
    ]
    return (*(children.shared(resource) if shared else []), *made)


def digest_of(job: JobBuilder) -> str:
    return spec_file.read_spec(DinoJob(job.obj())).digest


def created(job: JobBuilder, number: int = 1, **more: Any) -> Plan:
    """The plan that creates an attempt and says so."""
    attempt = more.pop("attempt", pods.Attempt(number))
    shared = more.pop("shared", True)
    events, changed = more.pop("events", ()), more.pop("changed", {})
    facts = {"attempts": number, "specDigest": digest_of(job), "image": "trainer:1", **more}
    when = facts.pop("when", 0)
    status = told("Queued", running=("Queued", attempts.WAITING), when=when, **facts)
    made = rendered(job, attempt, shared)
    status = changed_at(status, **changed)
    return Plan(creates=made, status=status, events=events, requeue_after=60)


def _begin() -> dict[str, PlanCase]:
    job = a_job().status(CHECKED)
    known = frozenset({("ServiceAccount", "dino-trainer"), ("RoleBinding", children.ROLE_BINDING)})
    return {
        "a checked job gets its account, its right, its spec and one Job": PlanCase(
            job, created(job)
        ),
        "what its namespace is known to have is not made again": PlanCase(
            job, created(job, shared=False), known=known
        ),
        "a job being deleted is left to the garbage collector": PlanCase(
            a_job().deleting(), Plan()
        ),
        "a job created suspended gets nothing until it is resumed": PlanCase(
            a_job().suspended(),
            Plan(
                status=told(
                    "Suspended",
                    when=60,
                    running=("Suspended", ""),
                    suspended=("Suspended", HOLD, True),
                    data=UNCHECKED,
                ),
                events=(Event("Suspended", HOLD, "1"),),
            ),
        ),
        "a deadline goes to the Job": PlanCase(
            a_job().policy(activeDeadlineSeconds=90).status(CHECKED),
            created(
                a_job().policy(activeDeadlineSeconds=90).status(CHECKED),
                attempt=pods.Attempt(1, seconds_left=90),
                activeSeconds=0,
            ),
        ),
        "a lost Job is made again under its number": PlanCase(
            a_job().status({**RUNNING, "attempts": 2}),
            created(
                job,
                2,
                attempt=pods.Attempt(2, retries=1),
                when=0,
                startTime=at(5),
                **RAN,
                changed={"Running": 60},
            ),
        ),
    }


def _obstacles() -> dict[str, PlanCase]:
    job, before = a_job().status(CHECKED), a_job().uid("uid-before")
    old = a_child(before)
    waits = (
        "Job x-train-1 of an earlier DinoJob of this name still exists; it is waited for "
        "(kubectl delete job removes one that was orphaned)"
    )

    def waiting(reason: str, said: str) -> Plan:
        return Plan(status=told("Pending", running=(reason, said)), requeue_after=30)

    pod_waits = "pod x-train-1-aaaaa of an earlier Job has not ended yet; it is waited for"
    conflict = (
        "Job x-train-1 belongs to someone else; delete or rename it, "
        "or create the DinoJob under another name"
    )
    third = a_child(before).attempt(3)
    return {
        "the running Job of a deleted namesake is waited for": PlanCase(
            job, waiting("WaitingForChild", waits), jobs=[old]
        ),
        "its finished Job too, while it holds the name": PlanCase(
            job, waiting("WaitingForChild", waits), jobs=[a_child(before).complete()]
        ),
        "its running Job of another attempt too: two would hold GPUs": PlanCase(
            job, waiting("WaitingForChild", waits.replace("train-1", "train-3")), jobs=[third]
        ),
        "its finished Job of another name is none of our business": PlanCase(
            job, created(job), jobs=[a_child(before).attempt(3).complete()]
        ),
        "an orphan of it too": PlanCase(
            job, waiting("WaitingForChild", waits), jobs=[a_child(before).orphaned()]
        ),
        "its pod that is still saving is waited for": PlanCase(
            job, waiting("WaitingForChild", pod_waits), pods=[a_pod(old).running().deleting()]
        ),
        "its pod that ended is not": PlanCase(job, created(job), pods=[a_pod(old).succeeded()]),
        "a stranger under the child's name is named": PlanCase(
            job,
            waiting("ChildNameConflict", conflict),
            strangers=[a_child(before).orphaned()],
        ),
        "a lost Job is not made again beside its own last pod": PlanCase(
            a_job().status(QUEUED),
            Plan(
                status=told("Pending", running=("WaitingForChild", pod_waits), **ATTEMPT),
                requeue_after=30,
            ),
            pods=[a_pod(a_child(job)).running().deleting()],
        ),
    }


def _lifecycle() -> dict[str, PlanCase]:
    job = a_job()
    child = a_child(job)
    done = [a_child(job).complete()]
    why = (
        "0/3 nodes have 1 free nvidia.com/gpu: Insufficient memory, Insufficient nvidia.com/gpu. "
        "Remedy: wait for GPUs to come free, add a node that has as many, or ask for fewer by "
        "spec.resources.gpus in a new job; wait for memory to come free, or ask for less by "
        "spec.resources.memory."
    )
    said = (
        "0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 Insufficient memory. "
        "no new claims to deallocate, preemption: 0/3 nodes are available: 3 No preemption "
        "victims found."
    )
    quota = "no pod is created; kubectl describe job x-train-1 says why"
    unseen = told("Queued", when=10, data=UNSEEN, running=("Queued", attempts.WAITING), **ATTEMPT)
    return {
        "a Job without a pod yet needs nothing": PlanCase(
            a_job().status(QUEUED), Plan(requeue_after=50), jobs=[child], now=10
        ),
        "a Job whose status was never written gets one": PlanCase(
            job,
            Plan(status=unseen, requeue_after=50),
            jobs=[child],
            now=10,
        ),
        "a Job that gets no pod has what a pod needs made again": PlanCase(
            a_job().status(QUEUED),
            Plan(
                creates=rendered(job, pods.Attempt(1))[:3],
                status=told("Queued", running=("Queued", quota), **ATTEMPT),
                requeue_after=90,
            ),
            jobs=[child],
            now=90,
        ),
        "a pod that waits for a node is queued": PlanCase(
            a_job().status(QUEUED),
            Plan(requeue_after=300 - 60),
            jobs=[child],
            pods=[a_pod(child)],
        ),
        "a pod that finds no node at first may find one soon": PlanCase(
            a_job().status(QUEUED),
            Plan(requeue_after=4),
            jobs=[child],
            pods=[a_pod(child).unschedulable(said)],
            now=6,
        ),
        "an unschedulable pod says what is missing": PlanCase(
            a_job().status(QUEUED),
            Plan(status=told("Queued", running=("PodsUnschedulable", why), **ATTEMPT)),
            jobs=[child],
            pods=[a_pod(child).unschedulable(said)],
        ),
        "a pod that starts for long may lack its ConfigMap": PlanCase(
            a_job().status(told("Queued", running=("Queued", attempts.WAITING), **ATTEMPT)),
            Plan(creates=rendered(job, pods.Attempt(1))[:3], requeue_after=301),
            jobs=[child],
            pods=[a_pod(child).scheduled()],
            now=301,
        ),
        "a running pod becomes the reporter": PlanCase(
            a_job().status(QUEUED),
            Plan(status=RUNNING, requeue_after=300),
            jobs=[child],
            pods=[a_pod(child).running()],
            now=5,
        ),
        "what is odd about the spec is said while it can be mended": PlanCase(
            a_job().status(QUEUED),
            Plan(
                status=changed_at(
                    told(
                        "Running",
                        running=("Started", "pod x-train-1-aaaaa runs; warning: a, b", True),
                        reporter="x-train-1-aaaaa",
                        startTime=at(5),
                        **ATTEMPT,
                    ),
                    Running=60,
                ),
                requeue_after=245,
            ),
            jobs=[a_child(job).note(Annotation.WARNINGS, "warning: a, b")],
            pods=[a_pod(child).running()],
        ),
        "the newest of two pods reports": PlanCase(
            a_job().status(RUNNING),
            Plan(
                status=changed_at(
                    told(
                        "Running",
                        running=("Started", "pod new runs", True),
                        reporter="new",
                        startTime=at(5),
                        **ATTEMPT,
                    ),
                    Running=5,
                ),
                requeue_after=280,
            ),
            jobs=[child],
            pods=[a_pod(child).named("new", 30).running(40), a_pod(child).running().deleting()],
        ),
        "a running job needs nothing": PlanCase(
            a_job().status(RUNNING),
            Plan(requeue_after=245),
            jobs=[child],
            pods=[a_pod(child).running()],
        ),
        "a pod that ended well waits for its Job to say so": PlanCase(
            a_job().status(RUNNING),
            Plan(requeue_after=55),
            jobs=[child],
            pods=[a_pod(child).succeeded(RESULT)],
        ),
        "a completed Job ends it with the trainer's result": PlanCase(
            a_job().status(RUNNING),
            Plan(
                status=changed_at(COMPLETE, Running=60, Complete=60),
                events=(
                    Event("Completed", "mAP50 0.7500; results are in s3://results/x/train", "end"),
                ),
            ),
            jobs=done,
            pods=[a_pod(child).succeeded(RESULT)],
        ),
        "after the end an edit is only noticed": PlanCase(
            a_job().generation(2).status(COMPLETE),
            Plan(status=of_generation(COMPLETE, 2)),
            jobs=done,
        ),
        "after the end nothing is run again": PlanCase(a_job().status(COMPLETE), Plan()),
        "not even on resume": PlanCase(
            a_job().suspended().generation(1).status(COMPLETE), Plan(), jobs=done
        ),
        "after the end the Job gets its time to live": PlanCase(
            a_job().policy(ttlSecondsAfterFinished=0).status(COMPLETE),
            Plan(
                patches=(
                    Patch("x-train-1", "job-of-uid-x", {"spec": {"ttlSecondsAfterFinished": 0}}),
                )
            ),
            jobs=done,
        ),
        "once": PlanCase(
            a_job().policy(ttlSecondsAfterFinished=0).status(COMPLETE),
            Plan(),
            jobs=[a_child(job).complete().spec(ttlSecondsAfterFinished=0)],
        ),
        "a Job that runs after the end is deleted": PlanCase(
            a_job().status(COMPLETE),
            Plan(deletes=(Delete("x-train-1", "job-of-uid-x"),)),
            jobs=[child],
        ),
        "of two running Jobs the older goes": PlanCase(
            a_job().status(RUNNING),
            Plan(deletes=(Delete("x-train-1", "job-of-uid-x"),), requeue_after=1),
            jobs=[child, a_child(job).attempt(2)],
        ),
        "a Job that is being deleted after the end is not deleted again": PlanCase(
            a_job().status(COMPLETE),
            Plan(),
            jobs=[a_child(job).deleting()],
        ),
        "nor one of two running Jobs, whose end is waited for": PlanCase(
            a_job().status(RUNNING),
            Plan(requeue_after=1),
            jobs=[a_child(job).deleting(), a_child(job).attempt(2)],
        ),
        "a running Job beside a completed one goes": PlanCase(
            a_job().status(RUNNING),
            Plan(deletes=(Delete("x-train-2", "job-of-uid-x-2"),), requeue_after=1),
            jobs=[a_child(job).complete(), a_child(job).attempt(2)],
        ),
    }


CASES = {**_begin(), **_obstacles(), **_lifecycle()}


@pytest.mark.parametrize("sentence", CASES)
def test_plan(sentence: str) -> None:
    check(replace(CASES[sentence], settings=SETTINGS))


def test_irrevocable_plans_are_those_that_cannot_be_taken_back() -> None:
    sure = {sentence for sentence, case in CASES.items() if case.plan.irrevocable}
    assert "a checked job gets its account, its right, its spec and one Job" in sure
    assert "a completed Job ends it with the trainer's result" in sure
    assert "of two running Jobs the older goes" in sure
    assert "a running pod becomes the reporter" not in sure
    assert "the running Job of a deleted namesake is waited for" not in sure


def test_a_note_on_the_child_survives_the_operator() -> None:
    job = a_job().policy(maxRetries=1)
    made = rendered(job, pods.Attempt(2, retries=1, spent=40, seconds_left=20))[-1]
    notes = made["metadata"]["annotations"]
    assert notes[Annotation.RETRIES.value] == "1"
    assert notes[Annotation.SPENT.value] == "40"
    assert made["spec"]["activeDeadlineSeconds"] == 20


@pytest.mark.parametrize("gated", [True, False])
def test_a_pod_that_no_scheduler_takes_is_told_and_seldom_looked_at(gated: bool) -> None:
    child = a_child(a_job())
    pod = a_pod(child)
    if gated:
        pod.condition("PodScheduled", told=False, reason="SchedulingGated", message="by kueue")
    children = around((child.obj(),), (pod.obj(),))
    early = plan(a_job().status(QUEUED).obj(), children, later(60), SETTINGS)
    assert early.requeue_after == 240
    late = plan(a_job().status(QUEUED).obj(), children, later(4000), SETTINGS)
    assert late.requeue_after == 3600
    assert late.status is not None
    running = next(each for each in late.status["conditions"] if each["type"] == "Running")
    assert running["reason"] == "PodsUnschedulable"
    assert ("SchedulingGated" if gated else "no scheduler has looked") in running["message"]
