"""What a job takes over from its parent: the model, and the structure of its network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dino_api.experiment.paths import without_nulls
from dino_api.formats import format_of
from dino_api.names import (
    AUTOML_KIND,
    KIND,
    TRAINS,
    Action,
    ConditionReason,
    ConditionType,
    FailureReason,
)
from dino_operator.plan.model import Condition, Object
from dino_operator.plan.observed.job_view import JobView
from dino_operator.plan.observed.resource import DinoAutoML, DinoJob
from dino_operator.plan.observed.status import StoredModel
from dino_operator.plan.rendered import model_files
from dino_operator.plan.rendered.inheritance import NOT_CARRIED

Parents = DinoJob | DinoAutoML
Others = Mapping[tuple[str, str], Parents]
"""What specs name, by kind and name."""


@dataclass(frozen=True)
class ParentState:
    """What is known of the parent. inherited: status.inherited, once it has left a model."""

    condition: Condition
    inherited: Object | None = None


def is_awaited(view: JobView) -> bool:
    """Whether a parent is named and nothing was taken over from it so far."""
    return bool(view.resource.parent.name) and "inherited" not in view.status


def condition(view: JobView) -> Condition | None:
    """The condition ParentReady; None without a job or search as parent: a file is there."""
    if not view.resource.parent.name:
        return None
    known = view.resource.condition(ConditionType.PARENT_READY)
    if not is_awaited(view) and known is not None and known.is_true:
        return known
    return state(view).condition


def state(view: JobView) -> ParentState:
    """The parent, which is watched. One whose model the action cannot take is not waited for."""
    kind, name, _ = view.resource.parent
    called = f"{kind} {name}"
    parent = view.children.others.get((kind, name))
    if (circle := _circle(view)) is not None:
        return _waiting(circle)
    if parent is None:
        return _waiting(f"{called} does not exist yet; it is waited for")
    action, weights = view.resource.action, view.resource.quantizes_weights
    leaves = _will_leave(parent, view.children.others)
    misfit = model_files.misfit(action, leaves, f"{_titled(parent)} leaves", weights)
    if misfit is not None:
        return _useless(misfit, FailureReason.INVALID_SPEC)
    if not _has_result(parent):
        return _waiting(f"{called} has not ended yet; it is waited for")
    failed = parent.condition(ConditionType.FAILED)
    if failed is not None and failed.is_true:
        return _useless(f"{called} failed: {failed.reason}: {failed.message}")
    return _left(view, parent, called)


def _left(view: JobView, parent: Parents, called: str) -> ParentState:
    """What a parent that has ended well left."""
    taken = _taken(parent, view.children.others)
    if taken is None:
        return _useless(f"{called} is complete, but its status names no model")
    action, weights = view.resource.action, view.resource.quantizes_weights
    model = StoredModel(taken["model"])
    misfit = model_files.misfit(action, model.kind, f"{_titled(parent)} left", weights)
    if misfit is not None:
        return _useless(misfit, FailureReason.INVALID_SPEC)
    message = f"the job starts from {model.uri} of {called}"
    return ParentState(Condition(True, ConditionReason.PARENT_COMPLETE, message), taken)


def _titled(parent: Parents) -> str:
    if parent.is_search:
        return f"{AUTOML_KIND} {parent.name}"
    return f"{KIND} {parent.name} ({parent.action})"


def _will_leave(parent: Parents, others: Others) -> str | None:
    """The format of the model that a job will leave; None where that is not known yet.

    An evaluation hands on that of its own parent; without one, a checkpoint in its output.
    """
    here: Parents | None = parent
    for _ in range(len(others) + 1):
        if here is None or here.facts.leaves:
            break
        kind, name, uri = here.parent
        if not name:
            return format_of(uri) if uri else "checkpoint"
        here = others.get((kind, name))
    return here.facts.leaves if here else None


def _has_result(parent: Parents) -> bool:
    """Whether it has ended. The winner of a search is known before: its followers start from it,
    and the search is complete only after them."""
    status = parent.status
    won = parent.is_search and status.completion_time and not status.failure
    return parent.is_finished or bool(won)


def _waiting(message: str) -> ParentState:
    return ParentState(Condition(False, ConditionReason.WAITING_FOR_PARENT, message))


def _useless(message: str, reason: FailureReason = FailureReason.PARENT_FAILED) -> ParentState:
    return ParentState(Condition(False, reason, message))


def _circle(view: JobView) -> str | None:
    """A sentence where the job waits for itself, by way of others."""
    own, path = (KIND, view.name), [view.name]
    here: Parents = view.resource
    while here.parent.name and len(path) <= len(view.children.others) + 1:
        kind, name, _ = here.parent
        path.append(name)
        if (kind, name) == own:
            who = " waits for ".join(path)
            return f"{who}: none of them can start; delete one and create it without spec.parent"
        parent = view.children.others.get((kind, name))
        if parent is None:
            return None
        here = parent
    return None


def _taken(parent: Parents, others: Others) -> Object | None:
    """What the job takes over, as its status.inherited."""
    source = parent.status.best if isinstance(parent, DinoAutoML) else parent.status
    model = source and (source.model or _as_model(source.checkpoint or {}))
    if not model:
        return None
    structure = _model(parent, others)
    taken: Object = {"model": model}
    if structure is not None:
        kept = {key: value for key, value in structure.items() if key not in NOT_CARRIED}
        taken["experiment"] = {"model": kept}
    classes = _classes(parent)
    return taken if classes is None else {**taken, "numClasses": classes}


def _as_model(checkpoint: Object) -> Object | None:
    if not checkpoint.get("uri"):
        return None
    known: Object = {"format": "checkpoint"}
    return known | {key: checkpoint[key] for key in ("uri", "sha256", "bytes") if key in checkpoint}


def _classes(parent: Parents) -> int | None:
    """Classes of the model that it left: a training's own, or those that others took over."""
    classes = parent.status.dataset.num_classes if parent.action in TRAINS else None
    inherited = parent.status.inherited if isinstance(parent, DinoJob) else None
    if not classes and inherited is not None:
        classes = inherited.num_classes
    return int(classes) if classes else None


def _model(parent: Parents, others: Others) -> dict[str, Any] | None:
    """Keys of `model` that the parent's model was made with: its own, its parent's, its search's.

    None where only the file knows: no training of ours made it.
    """
    if isinstance(parent, DinoAutoML):
        best = parent.status.best
        return dict((best.specification if best else {}).get("model") or {})
    status = parent.status
    search = others.get((AUTOML_KIND, status.search))
    if isinstance(search, DinoAutoML) and search.status.best:
        return _model(search, others)
    if status.search:
        return None  # it is gone, and with it what its winner was made with
    own = without_nulls(parent.experiment.get("model") or {})
    if parent.action is Action.DISTILL:
        return dict(own)  # the student's; what it inherited is its teacher's
    before = status.inherited.structure if status.inherited else None
    if before is None and parent.action not in TRAINS:
        return None
    return {**(before or {}), **own}
