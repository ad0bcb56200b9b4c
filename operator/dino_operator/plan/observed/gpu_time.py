"""How long a job has held its GPUs: what a team pays for, counted over all of its runs.

A run lasts from the time at which all pods of an attempt run until one of them does not. Runs that
have ended stand in the status; of the present one counts what its pod has told, so that the sum
hangs on no clock of the operator's, and goes on after a restart where it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from dino_api import rfc3339
from dino_api.names import ConditionType
from dino_operator.plan.observed.status import JobStatus


def so_far(status: JobStatus, now: datetime) -> int:
    """GPU-seconds of a DinoJob, up to the last word of the pod that runs."""
    since = _running_since(status)
    if since is None:
        return status.gpu_seconds
    return status.gpu_seconds + _held(status, since, _last_word(status, now) or since)


def at_end_of_run(status: JobStatus, ends: Iterable[datetime], now: datetime) -> int | None:
    """GPU-seconds once the run that the status speaks of has ended; None where there is none.

    ends: of runs, earlier ones included. The first since this one began is its own; without one it
    has ended now. Never less than what was told of it while it ran.
    """
    since = _running_since(status)
    if since is None:
        return None
    word = _last_word(status, now) or since
    ended = min((each for each in ends if each >= since), default=now)
    return status.gpu_seconds + _held(status, since, max(ended, word)) or None


def _last_word(status: JobStatus, now: datetime) -> datetime | None:
    """When the pod last told its progress. It writes that itself: none lies ahead."""
    time = rfc3339.read(status.progress.updated_at)
    return min(time, now) if time else None


def _running_since(status: JobStatus) -> datetime | None:
    """Since when pods of the job itself run; a search's are those of its trials."""
    running = status.condition(ConditionType.RUNNING)
    if running is None or not running.is_true or status.search:
        return None
    return rfc3339.read(running.since)


def _held(status: JobStatus, since: datetime, until: datetime) -> int:
    return max(0, round((until - since).total_seconds())) * status.gpus
