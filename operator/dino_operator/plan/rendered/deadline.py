"""runPolicy.activeDeadlineSeconds, carried over suspensions, evictions, attempts and deleted Jobs.

A running Job has what is left of it as its own activeDeadlineSeconds: Kubernetes ends it, whether
an operator is there or not. A suspended Job that keeps its old start has none: Kubernetes compares
that start, at the resume, before it sets the new one, and would end the Job at once.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from dino_api import rfc3339
from dino_api.names import FailureReason
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.model import Object, Patch
from dino_operator.plan.observed import active_time, objects
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.job_view import JobView
from dino_operator.plan.observed.status import Status

USED_UP = "earlier attempts used up spec.runPolicy.activeDeadlineSeconds"
MOST_HOLDS = 3
"""As often the operator suspends a Job that someone else resumes each time."""


class DeadlineView(Protocol):
    """What has a deadline: a DinoJob's view, or that of a search for each of its trials."""

    @property
    def deadline(self) -> int | None: ...
    @property
    def status(self) -> Status: ...
    @property
    def now(self) -> datetime: ...


def spent(view: DeadlineView, job: Job) -> int:
    """Seconds that ran before the present run of an unfinished Job."""
    ended = active_time.ended_run(job, view.status, view.now)
    return active_time.noted(job) + (ended[0] if ended else 0)


def is_used_up(view: DeadlineView, job: Job) -> bool:
    """Whether nothing is left for a Job that is held back."""
    limit = view.deadline
    return limit is not None and limit - spent(view, job) <= 0


def _holds(job: Job) -> int:
    """How often the operator has suspended the Job since it wishes so."""
    counted = objects.digits(job.note(Annotation.HOLDS))
    return int(bool(job.note(Annotation.HELD))) if counted is None else counted


def is_given_up(job: Job) -> bool:
    """Whether the Job runs because someone else resumed it each time that it was suspended.

    A policy that sets `suspend` of Jobs does so within the operator's own write: without an end to
    it each write would wake the next.
    """
    return not job.is_suspended and _holds(job) >= MOST_HOLDS


def suspension(view: DeadlineView, job: Job) -> Object:
    """The patch that suspends a running Job: with the operator's mark, which alone lets it resume
    the Job again, with what has run, and without a deadline."""
    notes = {Annotation.HELD.value: "true"}
    if before := _holds(job):
        notes[Annotation.HOLDS.value] = str(before + 1)
    if active_time.running_since(job):
        notes[Annotation.SPENT.value] = str(spent(view, job) + _ran(job, view.now))
        notes[Annotation.SPENT_UNTIL.value] = rfc3339.text(view.now)
    return {"metadata": {"annotations": notes}, "spec": {"suspend": True, **_without(job)}}


def resumption(job: Job) -> Object:
    """The patch that takes the operator's own suspension back. What is left of the deadline is set
    once the Job controller has noted the new start."""
    notes: dict[str, str | None] = {Annotation.HELD.value: None}
    if job.note(Annotation.HOLDS):
        notes[Annotation.HOLDS.value] = None
    return {"metadata": {"annotations": notes}, "spec": {"suspend": False, **_without(job)}}


def stopping(job: Job, reason: FailureReason, message: str) -> Patch:
    """Ends an attempt and notes why, in one write: the Job controller ends it for its deadline,
    and whoever looks at it later, also after a crash, reads the reason on it. Deleted, it would be
    made again."""
    notes = {Annotation.STOPPED_FOR.value: reason.value, Annotation.STOPPED_MESSAGE.value: message}
    body = {"metadata": {"annotations": notes}, "spec": {"activeDeadlineSeconds": 1}}
    return Patch(job.name, job.uid, body)


def _without(job: Job) -> Object:
    return {"activeDeadlineSeconds": None} if job.deadline is not None else {}


def patches(view: DeadlineView, job: Job, given_up: bool = False) -> tuple[Patch, ...]:
    """What an unfinished Job must be told: a run that ended, what is left, marks that are over.

    given_up: it is not to run, and suspended no more.
    """
    notes: dict[str, str | None] = {}
    ended = active_time.ended_run(job, view.status, view.now) if view.deadline is not None else None
    if ended is not None:
        notes[Annotation.SPENT.value] = str(active_time.noted(job) + ended[0])
        notes[Annotation.SPENT_UNTIL.value] = rfc3339.text(ended[1])
    if job.note(Annotation.HELD) and not job.is_suspended:
        notes[Annotation.HELD.value] = None  # someone else resumed it
    if job.note(Annotation.HOLDS) and not (job.is_suspended or given_up):
        notes[Annotation.HOLDS.value] = None
    notes = {key: text for key, text in notes.items() if job.annotations.get(key) != text}
    body: Object = {"metadata": {"annotations": notes}} if notes else {}
    wanted = _wanted(view, job)
    if wanted != job.deadline:
        body["spec"] = {"activeDeadlineSeconds": wanted}
    return (Patch(job.name, job.uid, body),) if body else ()


def _wanted(view: DeadlineView, job: Job) -> int | None:
    """The Job's own deadline."""
    keeps_old_start = active_time.is_held_back(job) and job.start_time
    if view.deadline is None or keeps_old_start:
        return None
    return max(1, view.deadline - spent(view, job) + active_time.overlap(job))


def facts(view: JobView, job: Job) -> Object:
    """What the status keeps of an unfinished Job; nothing without a deadline."""
    if view.deadline is None:
        return {}
    since = active_time.running_since(job)
    return {"activeSeconds": spent(view, job), "activeSince": since or None}


def facts_without_job(view: JobView) -> Object:
    """The same, while there is no Job that has not ended."""
    if view.deadline is None:
        return {}
    return {"activeSeconds": view.seconds_spent(view.attempts + 1), "activeSince": None}


def last_facts(view: JobView, job: Job) -> Object:
    """The same, of a Job that is about to be deleted, or was."""
    if view.deadline is None:
        return {}
    end = job.deletion if job.is_being_deleted else view.now
    return {"activeSeconds": spent(view, job) + _ran(job, end), "activeSince": None}


def _ran(job: Job, end: datetime) -> int:
    """Seconds of the present run up to then that are not counted yet."""
    since = active_time.running_since(job)
    if not since:
        return 0
    ran = round((end - rfc3339.parse(since)).total_seconds())
    return max(0, ran - active_time.overlap(job))
