"""What became of the trials that are DinoJobs: from the DinoJobs, and else from status.history.

A trial that ended stays as it was written down, whatever becomes of its DinoJob. One that had not
ended and has no DinoJob any more is live: it is made again under its number.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from dino_api import metric, rfc3339
from dino_api import names as api
from dino_api.names import ConditionType, FailureReason
from dino_api.resources import dinoautoml
from dino_api.resources.dinoautoml import Assignment, TrialState
from dino_api.resources.dinojob import Resources
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.model import Condition, Object, is_true
from dino_operator.plan.observed import objects
from dino_operator.plan.search.search_view import SearchView
from dino_operator.plan.search.trials.trial import LIVE, Point, Trial

ENDS: dict[str, TrialState] = {"Pruned": "Pruned"}
"""States by the label that was set together with runPolicy.stop; without one: Stopped."""


def of_view(view: SearchView) -> tuple[Trial, ...]:
    """The trials by number."""
    numbers = sorted({*filter(lambda n: _row(view, n), view.history), *view.trial_jobs})
    return tuple(_trial(view, number) for number in numbers)


def baseline(view: SearchView) -> Trial | None:
    """Trial 0, which has the defaults, once it was made."""
    return _trial(view, 0) if 0 in view.trial_jobs or _row(view, 0) else None


def _row(view: SearchView, number: int) -> dinoautoml.Trial | None:
    """What was written down of a trial that is a DinoJob."""
    row = view.history.get(number)
    return row if row is not None and row.name == view.trial_name(number) else None


def _trial(view: SearchView, number: int) -> Trial:
    job, row = view.trial_jobs.get(number), _row(view, number)
    if job is None or (row is not None and row.state not in LIVE):
        assert row is not None  # numbers come from one or the other
        return of_row(row, job)
    return of_job(number, job)


def of_row(row: dinoautoml.Trial, job: Object | None = None) -> Trial:
    """A trial as status.history has it; its DinoJob, where it exists, knows the checkpoint."""
    status = (job or {}).get("status") or {}
    last = row.epoch or len(row.curve)
    points = (
        Point(round((place + 1) * last / len(row.curve)), value)
        for place, value in enumerate(row.curve)
    )
    return Trial(
        number=row.number,
        name=row.name,
        state=row.state,
        parameters=row.parameters,
        mAP50=row.mAP50,
        epoch=row.epoch,
        reason=row.reason or "",
        message=row.message or "",
        started=row.start_time or "",
        ended=row.completion_time or "",
        gpu_seconds=row.gpu_seconds,
        curve=tuple(points),
        checkpoint=status.get("checkpoint"),
        specification=job["spec"].get("experiment", {}) if job else None,
    )


def of_job(number: int, job: Object) -> Trial:
    """A trial as its DinoJob shows it."""
    status = job.get("status") or {}
    progress = status.get("progress") or {}
    curve = tuple(Point(each["epoch"], each["mAP50"]) for each in progress.get("curve") or ())
    failure = status.get("failure") or {}
    state = _state(job)
    started, ended = status.get("startTime") or "", status.get("completionTime") or ""
    return Trial(
        number=number,
        name=objects.name_of(job),
        state=state,
        parameters=drawn(job),
        mAP50=None if state == "Failed" else _score(status, curve),
        epoch=progress.get("epoch"),
        reason=_reason(job) if state == "Failed" else "",
        message=str(failure.get("message", "")) if state == "Failed" else "",
        started=started,
        ended=ended,
        gpu_seconds=_gpu_seconds(job, started, ended),
        curve=curve,
        checkpoint=status.get("checkpoint"),
        specification=job["spec"].get("experiment", {}),
    )


def _state(job: Object) -> TrialState:
    if is_true(job, ConditionType.COMPLETE):
        return "Succeeded"
    failed = Condition.of(job, ConditionType.FAILED)
    if failed is not None and failed.is_true:
        if failed.reason != FailureReason.STOPPED:
            return "Failed"
        return ENDS.get(job["metadata"].get("labels", {}).get(api.Label.TRIAL_END.value), "Stopped")
    return "Running" if job.get("status", {}).get("startTime") else "Pending"


def _reason(job: Object) -> str:
    """The reason of the last attempt: that the retries are used up says nothing about why."""
    failure = job["status"].get("failure") or {}
    failed = Condition.of(job, ConditionType.FAILED)
    return str(failure.get("reason") or (failed.reason if failed else ""))


def _score(status: Object, curve: Iterable[Point]) -> float | None:
    """The score of the best checkpoint; where nothing was published, the best that was pushed."""
    published = (status.get("metrics") or {}).get("mAP50")
    pushed = max((point.mAP50 for point in curve), default=None)
    best = pushed if published is None else float(published)
    return None if best is None else metric.rounded(best)


def _gpu_seconds(job: Object, started: str, ended: str) -> int | None:
    """GPUs times seconds from the first start to the end, waits in between included."""
    if not started or not ended:
        return None
    wished = job["spec"].get("resources") or {}
    gpus = wished.get("gpus", Resources().gpus) * wished.get("nodes", 1)
    seconds = (rfc3339.parse(ended) - rfc3339.parse(started)).total_seconds()
    return int(gpus * max(0.0, seconds))


def drawn(job: Object) -> Assignment:
    """What was drawn, as the trial's DinoJob remembers it; empty where someone removed it."""
    text = objects.annotation(job, Annotation.PARAMETERS)
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
