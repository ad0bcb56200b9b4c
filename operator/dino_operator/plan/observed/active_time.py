"""How long attempts have run: what activeDeadlineSeconds is compared with.

Kubernetes counts from a Job's last start alone, and Kueue even clears that. So a Job carries what
ran before its present start (`Annotation.SPENT`), counted up to a time (`SPENT_UNTIL`), and the
status of the DinoJob keeps when the present run began, and what had run when its Job was deleted.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from dino_api import rfc3339
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.pod import Pod
from dino_operator.plan.observed.status import Status


def is_held_back(job: Job) -> bool:
    """Whether the Job is suspended, or the Job controller has not seen yet that it is not."""
    return job.is_suspended or job.is_true("Suspended")


def running_since(job: Job) -> str:
    """When the present run of an unfinished Job began, as text; empty while it is held back."""
    return "" if is_held_back(job) else str(job.start_time or "")


def noted(job: Job) -> int:
    """Seconds that ran before the Job's present start, as it remembers them."""
    return job.number(Annotation.SPENT)


def until(job: Job) -> datetime | None:
    """The time up to which they were counted; None before the Job's first suspension."""
    return rfc3339.read(job.note(Annotation.SPENT_UNTIL))


def total(job: Job) -> int:
    """Seconds that had run when the Job ended; before its present run, of one that has not."""
    started, counted = job.start_time, until(job)
    if not (started and counted and rfc3339.parse(started) < counted):
        return noted(job) + job.seconds_run
    if is_held_back(job):
        return noted(job)  # it ended while it was suspended
    # It was suspended and resumed before the Job controller looked.
    again = _seconds(rfc3339.parse(started), counted)
    return noted(job) + max(0, job.seconds_run - again)


def unnoted(job: Job, status: Status) -> int | None:
    """Seconds of a run of a finished Job that the status alone remembers: it was held back and
    started again while no operator was there. None where the status speaks of no run of it."""
    since = status.active_since
    started = str(job.start_time or "")
    if not since or not str(job.created_at) <= since <= started:
        return None
    begun, end = rfc3339.parse(since), rfc3339.parse(started)
    return _seconds(begun, _last_sign(begun, end, _signs(status)))


def ended_run(job: Job, status: Status, now: datetime) -> tuple[int, datetime] | None:
    """Seconds of a run of an unfinished Job that has ended and is not counted yet, and when it
    ended. status: of the DinoJob, which remembers a start that Kueue has cleared.

    A run that ended and was followed by another while nobody looked ended at the last sign of life
    that there is: to count a wait in a queue would be worse than to forget a few seconds.
    """
    known = status.active_since
    if known and known < str(job.created_at):
        known = ""  # it is of a Job before this one
    present = running_since(job)
    start = known if present else str(job.start_time or known)
    if not start or start == present:
        return None
    begun, counted = rfc3339.parse(start), until(job)
    if counted is not None and begun < counted:
        return None
    if present:
        end = rfc3339.parse(present)
        return _seconds(begun, _last_sign(begun, end, _signs(status))), end
    end = max(begun, suspended_at(job) or now)
    return _seconds(begun, end), end


def of_gone(status: Status, pods: Iterable[Pod], now: datetime) -> int:
    """Seconds that had run when the Job of the last attempt was deleted."""
    counted, since = status.active_seconds, status.active_since
    if not since:
        return counted
    begun = rfc3339.parse(since)
    ends = [pod.ended.finished_at for pod in pods if pod.ended]
    return counted + _seconds(begun, _last_sign(begun, now, [*ends, *_signs(status)]))


def _signs(status: Status) -> list[str | None]:
    """Times at which the job still ran: its last report, and when the operator saw it stop."""
    running = status.condition("Running")
    stopped = running.since if running and not running.is_true else None
    return [status.progress.updated_at, stopped]


def _last_sign(begun: datetime, end: datetime, times: Iterable[str | None]) -> datetime:
    signs = (rfc3339.parse(str(each)) for each in times if each)
    return max([begun, *(each for each in signs if each <= end)])


def suspended_at(job: Job) -> datetime | None:
    """Since when it is held, its pods gone or going; None where it is not."""
    held = job.condition("Suspended")
    return rfc3339.parse(held.since) if held and held.is_true and held.since else None


def overlap(job: Job) -> int:
    """Seconds of the present run that are counted already: a Job was suspended and resumed before
    the Job controller looked, which so went on from the old start."""
    since, counted = running_since(job), until(job)
    return _seconds(rfc3339.parse(since), counted) if since and counted else 0


def _seconds(start: datetime, end: datetime) -> int:
    return max(0, round((end - start).total_seconds()))
