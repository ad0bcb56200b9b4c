"""What the tables of plans are made of: a case, and the plans of failed attempts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dino_operator.plan.annotations import Annotation
from dino_operator.plan.job import attempts
from dino_operator.plan.job.decide import plan
from dino_operator.plan.model import Event, Patch, Plan, Settings
from dino_operator.plan.observed.children import KueueAccess
from dino_operator.plan.observed.resource import DinoJob
from dino_operator.plan.rendered import children, pods, spec_file
from tests.builders import (
    Builder,
    ChildBuilder,
    JobBuilder,
    Object,
    PodBuilder,
    a_child,
    a_pod,
    around,
    at,
    later,
)
from tests.statuses import (
    changed_at,
    told,
)

SETTINGS = Settings(trainer_image="trainer:1", image_pull_timeout=600)
HOLD = "spec.runPolicy.suspend is true; set it to false to go on from the last checkpoint"
SILENT = "S3 does not answer"
TOLD_69 = {"reason": "StorageUnavailable", "message": SILENT, "remedy": "Start S3."}
MESSAGE_69 = {"schema": 1, "action": "train", "failure": TOLD_69}
FAILURE_69 = {**TOLD_69, "exitCode": 69}


@dataclass
class PlanCase:
    """At `now` seconds after noon this job with these children needs this plan."""

    job: JobBuilder
    plan: Plan
    jobs: list[ChildBuilder] = field(default_factory=list)
    pods: list[PodBuilder] = field(default_factory=list)
    now: float = 60
    automls: list[Builder] = field(default_factory=list)
    others: list[Builder] = field(default_factory=list)
    strangers: list[Builder] = field(default_factory=list)
    known: frozenset[tuple[str, str]] = frozenset()
    served: bool = True
    settings: Settings = SETTINGS
    kueue: KueueAccess = "unasked"
    workload: Object | None = None


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
    return Event("AttemptFailed", words, f"train-{number}", warning=True)


def created(job: JobBuilder, attempt: pods.Attempt) -> tuple[Object, ...]:
    resource = DinoJob(job.obj())
    resolved = spec_file.read_spec(resource)
    needed = children.inputs(resource, resolved, attempt.preflight)
    return (*needed, children.job(resource, resolved, attempt, SETTINGS))


def queued(job: JobBuilder, number: int, **facts: Any) -> Object:
    digest = spec_file.read_spec(DinoJob(job.obj())).digest
    said = ("Queued", attempts.WAITING)
    facts = {"specDigest": digest, "image": "trainer:1", **facts}
    return told("Queued", running=said, attempts=number, **facts)


def suspends(
    name: str = "x-train-1",
    uid: str = "job-of-uid-x",
    spent: int | None = 60,
    now: float = 60,
    **spec: Any,
) -> Patch:
    """The operator suspends a Job, and leaves its mark and what has run in the same write."""
    notes = {Annotation.HELD.value: "true"}
    if spent is not None:
        notes |= {Annotation.SPENT.value: str(spent), Annotation.SPENT_UNTIL.value: at(now)}
    return Patch(name, uid, {"metadata": {"annotations": notes}, "spec": {"suspend": True, **spec}})


def resumes(name: str = "x-train-1", uid: str = "job-of-uid-x", **spec: Any) -> Patch:
    """The operator resumes what it had suspended, and takes its mark away."""
    notes = {Annotation.HELD.value: None}
    body = {"metadata": {"annotations": notes}, "spec": {"suspend": False, **spec}}
    return Patch(name, uid, body)


def check(case: PlanCase) -> None:
    """Compares the whole plan."""
    others = [each.obj() for each in case.others]
    children = around(
        tuple(each.obj() for each in case.jobs),
        tuple(each.obj() for each in case.pods),
        automls=tuple(each.obj() for each in case.automls),
        others={(each["kind"], each["metadata"]["name"]): each for each in others},
        strangers=tuple(each.obj() for each in case.strangers),
        known=case.known,
        automl_served=case.served,
        kueue=case.kueue,
        workload=case.workload,
    )
    assert plan(case.job.obj(), children, later(case.now), case.settings) == case.plan
