"""How long a job has held its GPUs: what a team pays for, counted over all of its runs.

A run lasts from the time at which all pods of an attempt run until one of them does not. Runs that
have ended stand in the status; of the present one counts what its pod has told, so that the sum
hangs on no clock of the operator's, and goes on after a restart where it was.
"""

from __future__ import annotations

from datetime import datetime

from dino_api import rfc3339
from dino_api.names import ConditionType
from dino_operator.plan.model import Condition, Object


def of_ended(status: Object) -> int:
    """GPU-seconds of the runs that have ended."""
    return int(status.get("gpuSeconds") or 0)


def so_far(job: Object, now: datetime) -> int:
    """GPU-seconds of a DinoJob, up to the last word of the pod that runs."""
    since = _running_since(job)
    status: Object = job.get("status") or {}
    if since is None:
        return of_ended(status)
    return of_ended(status) + _held(status, since, last_word(status, now) or since)


def at_end_of_run(job: Object, ended: datetime, now: datetime) -> int | None:
    """GPU-seconds once the run that the status speaks of has ended; None where there is none.

    Never less than what was told of it while it ran.
    """
    since = _running_since(job)
    status: Object = job.get("status") or {}
    if since is None:
        return None
    told = last_word(status, now) or since
    return of_ended(status) + _held(status, since, max(ended, told)) or None


def last_word(status: Object, now: datetime) -> datetime | None:
    """When the pod last told its progress. It writes that itself: what is no time counts as absent,
    and none lies ahead."""
    time = rfc3339.read((status.get("progress") or {}).get("updatedAt"))
    return min(time, now) if time else None


def _running_since(job: Object) -> datetime | None:
    """Since when pods of the job itself run; a search's are those of its trials."""
    running = Condition.of(job, ConditionType.RUNNING)
    if running is None or not running.is_true or not running.since:
        return None
    return None if "automl" in job["status"] else rfc3339.parse(running.since)


def _held(status: Object, since: datetime, until: datetime) -> int:
    return max(0, round((until - since).total_seconds())) * int(status.get("gpus") or 0)
