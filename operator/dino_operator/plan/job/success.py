"""The good end of a job: what the trainer told in its last words, or what is read for it."""

from __future__ import annotations

from dino_api.result import Progress
from dino_operator.plan.job import late_result, preflight
from dino_operator.plan.job.status import end
from dino_operator.plan.model import Object, Plan
from dino_operator.plan.observed import results
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.job_view import JobView
from dino_operator.plan.observed.status import JobStatus
from dino_operator.plan.rendered import inheritance
from dino_operator.plan.reported import conditions

ALL = 100
"""Percent of a progress that is done."""


def completed(view: JobView, job: Job) -> Plan:
    """The end, as the trainer told it in its termination message, or as it is read for it."""
    reading = late_result.reading(view, job)
    if reading.plan is not None:
        return reading.plan
    where, result, ended = view.folder, reading.result, job.finished_at
    troubles = late_result.troubles(view, reading)
    facts: Object = {"failure": None, **_all_done(view)}
    left = inheritance.left_in(where, view.resource)
    if result is None:
        return end(view, conditions.complete("; ".join(troubles)), ended, model=left, **facts)
    message = "; ".join((*results.figures(result), f"results are in {where}", *troubles))
    status = JobStatus({**view.status.raw, **preflight.facts(view)})
    facts |= results.of_success(result, status)
    if "model" in result.lost:
        facts["model"] = facts["model"] or left
    return end(view, conditions.complete(message), ended, **facts)


def _all_done(view: JobView) -> Object:
    """The progress to write at the end: all of it; none where the pod has said so itself.

    A pod that finds its result in the output ends before it may report; one whose last report was
    refused has stopped at an earlier percent. Nobody but the operator knows better by then.
    """
    progress = view.status.progress
    if progress.percent == ALL:
        return {}
    known = {
        key: part for key, part in progress.raw.items() if key not in ("display", "etaSeconds")
    }
    return {conditions.PROGRESS: {**known, **Progress(percent=ALL).to_dict()}}
