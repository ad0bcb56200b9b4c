"""What became of the trials that are DinoJobs: from the DinoJobs, and else from status.history.

A trial that ended stays as it was written down, whatever becomes of its DinoJob. One that had not
ended and has no DinoJob any more is live: it is made again under its number.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from math import isfinite

from dino_api import metric, rfc3339
from dino_api import names as api
from dino_api.names import ConditionType, FailureReason
from dino_api.resources import dinoautoml
from dino_api.resources.dinoautoml import Assignment, TrialState, Value
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.observed.resource import DinoJob
from dino_operator.plan.observed.status import JobStatus
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


def _row(view: SearchView, number: int) -> dinoautoml.TrialRecord | None:
    """What was written down of a trial that is a DinoJob."""
    row = view.history.get(number)
    return row if row is not None and row.name == view.trial_name(number) else None


def _trial(view: SearchView, number: int) -> Trial:
    job, row = view.trial_jobs.get(number), _row(view, number)
    if job is None or (row is not None and row.state not in LIVE):
        assert row is not None  # numbers come from one or the other
        return of_row(row, job)
    return of_job(number, job)


def of_row(row: dinoautoml.TrialRecord, job: DinoJob | None = None) -> Trial:
    """A trial as status.history has it; its DinoJob, where it exists, knows the checkpoint."""
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
        checkpoint=job.status.checkpoint if job else None,
        specification=job.experiment if job else None,
    )


def of_job(number: int, job: DinoJob) -> Trial:
    """A trial as its DinoJob shows it."""
    status, progress = job.status, job.status.progress
    curve = tuple(Point(each.epoch, each.mAP50) for each in progress.curve)
    state = _state(job)
    return Trial(
        number=number,
        name=job.name,
        state=state,
        parameters=parameters_of(job),
        mAP50=None if state == "Failed" else _score(status, curve),
        epoch=progress.epoch,
        reason=_reason(job) if state == "Failed" else "",
        message=status.failure.message if status.failure and state == "Failed" else "",
        started=status.start_time,
        ended=status.completion_time,
        gpu_seconds=_gpu_seconds(job),
        curve=curve,
        checkpoint=status.checkpoint,
        specification=job.experiment,
    )


def _state(job: DinoJob) -> TrialState:
    if job.is_true(ConditionType.COMPLETE):
        return "Succeeded"
    failed = job.condition(ConditionType.FAILED)
    if failed is not None and failed.is_true:
        if failed.reason != FailureReason.STOPPED:
            return "Failed"
        return ENDS.get(job.label(api.Label.TRIAL_END), "Stopped")
    return "Running" if job.status.start_time else "Pending"


def _reason(job: DinoJob) -> str:
    """The reason of the last attempt: that the retries are used up says nothing about why."""
    failure = job.status.failure
    failed = job.condition(ConditionType.FAILED)
    return (failure.reason if failure else "") or (failed.reason if failed else "")


def _score(status: JobStatus, curve: Iterable[Point]) -> float | None:
    """The score of the best checkpoint; where nothing was published, the best that was pushed."""
    pushed = max((point.mAP50 for point in curve), default=None)
    best = pushed if status.best_mAP50 is None else status.best_mAP50
    return None if best is None else metric.rounded(best)


def _gpu_seconds(job: DinoJob) -> int | None:
    """GPUs times seconds from the first start to the end, waits in between included."""
    started, ended = job.status.start_time, job.status.completion_time
    if not started or not ended:
        return None
    seconds = (rfc3339.parse(ended) - rfc3339.parse(started)).total_seconds()
    return int(job.gpus * job.nodes * max(0.0, seconds))


def parameters_of(job: DinoJob) -> Assignment:
    """What was drawn, as the trial's DinoJob remembers it; empty where someone removed it."""
    text = job.note(Annotation.PARAMETERS)
    try:
        parameters = json.loads(text or "{}")
    except (RecursionError, ValueError):
        return {}
    if not isinstance(parameters, dict):
        return {}
    return {key: each for key, each in parameters.items() if _is_drawn(each)}


def _is_drawn(value: object) -> bool:
    """Whether a sampler can have drawn it; the annotation may have been edited."""
    return isinstance(value, Value) and not (isinstance(value, float) and not isfinite(value))
