"""The first stage: a Job without a GPU checks the data. What is said of it in the status.

It is followed as an attempt at the work is; `view.checks_data` says that the job is at this stage.
"""

from __future__ import annotations

from dataclasses import replace

from dino_api.names import ConditionReason, ConditionType, Phase
from dino_api.result import Dataset, Result
from dino_operator.plan.model import Condition, Object
from dino_operator.plan.observed import results
from dino_operator.plan.observed.job_view import JobView
from dino_operator.plan.reported import sentences
from dino_operator.plan.reported.conditions import State, waiting


def is_checked(view: JobView) -> State:
    """The stage, as long as nothing is wrong."""
    return waiting(ConditionReason.CHECKING, sentences.checking(view.resource))


def with_data(view: JobView, state: State) -> State:
    """The state with what is known of the data; nothing where the job reads none."""
    if not view.reads_data:
        return replace(state, data=None)
    if not view.checks_data:
        return replace(state, data=_ready(view))
    data = Condition(False, ConditionReason.CHECKING, sentences.checking(view.resource))
    if state.failed.is_true:
        data = Condition(False, state.failed.reason, state.failed.message)
    early = state.phase in (Phase.QUEUED, Phase.RUNNING)
    return replace(state, phase=Phase.PREPARING if early else state.phase, data=data)


def _ready(view: JobView) -> Condition:
    """The condition once the data was found good, in words that stay."""
    known = view.resource.condition(ConditionType.DATA_READY)
    if known is not None and known.is_true:
        return known
    if view.checked_by:
        message = f"the preflight of DinoJob {view.checked_by} found no error in the same data"
        return Condition(True, ConditionReason.CHECKED_BY_TRIAL, message)
    result = _result(view)
    sentence = _sentence((result and result.dataset) or Dataset())
    return Condition(True, ConditionReason.DATA_CHECKED, sentence)


def _sentence(dataset: Dataset) -> str:
    """How much there is, and the first of what is odd about it."""
    counts = (
        (dataset.images, "images"),
        (dataset.annotations, "boxes"),
        (dataset.num_classes, "classes"),
    )
    known = [f"{count} {word}" for count, word in counts if count is not None]
    message, warnings = ", ".join(known) or "no error was found", dataset.warnings
    return f"{message}; {len(warnings)} warnings: {warnings[0]}" if warnings else message


def facts(view: JobView) -> Object:
    """What the preflight found, until it stands in the status: after its end, either way."""
    return results.of_preflight(_result(view))


def _result(view: JobView) -> Result | None:
    """The preflight's last words, until they stand in the status."""
    if view.resource.is_true(ConditionType.DATA_READY):
        return None
    job = view.current if view.checks_data else view.preflight
    if job is None or not job.is_finished:
        return None
    return results.of_job(job, view.children.pods)
