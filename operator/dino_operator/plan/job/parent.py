"""What a job takes over from its parent: the model, and the structure of its network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
from dino_operator.plan.model import Condition, Object, is_finished
from dino_operator.plan.observed import job_action, objects
from dino_operator.plan.observed.job_view import JobView
from dino_operator.plan.rendered import model_files
from dino_operator.plan.rendered.inheritance import NOT_CARRIED


@dataclass(frozen=True)
class ParentState:
    """What is known of the parent. inherited: status.inherited, once it has left a model."""

    condition: Condition
    inherited: Object | None = None


def is_awaited(view: JobView) -> bool:
    """Whether a parent is named and nothing was taken over from it so far."""
    return _is_named(view.resource) and "inherited" not in view.status


def _is_named(resource: Object) -> bool:
    return bool((resource["spec"].get("parent") or {}).get("name"))


def condition(view: JobView) -> Condition | None:
    """The condition ParentReady; None without a job or search as parent: a file is there."""
    if not _is_named(view.resource):
        return None
    known = Condition.of(view.resource, ConditionType.PARENT_READY)
    if not is_awaited(view) and known is not None and known.is_true:
        return known
    return state(view).condition


def state(view: JobView) -> ParentState:
    """The parent, which is watched. One whose model the action cannot take is not waited for."""
    kind, name = _named(view.resource)
    called = f"{kind} {name}"
    thing = view.children.others.get((kind, name))
    if (circle := _circle(view)) is not None:
        return _waiting(circle)
    if thing is None:
        return _waiting(f"{called} does not exist yet; it is waited for")
    action, weights = job_action.action_of(view.resource), job_action.of_weights(view.resource)
    leaves = _will_leave(thing, view.children.others)
    misfit = model_files.misfit(action, leaves, f"{_titled(thing)} leaves", weights)
    if misfit is not None:
        return _useless(misfit, FailureReason.INVALID_SPEC)
    if not _has_result(thing):
        return _waiting(f"{called} has not ended yet; it is waited for")
    failed = Condition.of(thing, ConditionType.FAILED)
    if failed is not None and failed.is_true:
        return _useless(f"{called} failed: {failed.reason}: {failed.message}")
    return _left(view, action, thing, called)


def _left(view: JobView, action: Action, thing: Object, called: str) -> ParentState:
    """What a parent that has ended well left."""
    taken = _taken(thing, view.children.others)
    if taken is None:
        return _useless(f"{called} is complete, but its status names no model")
    weights = job_action.of_weights(view.resource)
    kind = model_files.kind_of(taken["model"])
    misfit = model_files.misfit(action, kind, f"{_titled(thing)} left", weights)
    if misfit is not None:
        return _useless(misfit, FailureReason.INVALID_SPEC)
    message = f"the job starts from {taken['model']['uri']} of {called}"
    return ParentState(Condition(True, ConditionReason.PARENT_COMPLETE, message), taken)


def _titled(thing: Object) -> str:
    name = objects.name_of(thing)
    if thing["kind"] == AUTOML_KIND:
        return f"{AUTOML_KIND} {name}"
    return f"{KIND} {name} ({job_action.action_of(thing)})"


def _will_leave(thing: Object, others: Mapping[tuple[str, str], Object]) -> str | None:
    """The format of the model that a job will leave; None where that is not known yet.

    An evaluation hands on that of its own parent; without one, a checkpoint in its output.
    """
    here: Object | None = thing
    for _ in range(len(others) + 1):
        if here is None or job_action.facts(here).leaves:
            break
        if not _is_named(here):
            uri = (here["spec"].get("parent") or {}).get("uri")
            return format_of(str(uri)) if uri else "checkpoint"
        here = others.get(_named(here))
    return job_action.facts(here).leaves if here else None


def _has_result(parent: Object) -> bool:
    """Whether it has ended. The winner of a search is known before: its followers start from it,
    and the search is complete only after them."""
    status = parent.get("status") or {}
    won = (
        parent["kind"] == AUTOML_KIND and status.get("completionTime") and not status.get("failure")
    )
    return is_finished(parent) or bool(won)


def _named(resource: Object) -> tuple[str, str]:
    named = resource["spec"].get("parent") or {}
    return str(named.get("kind") or KIND), str(named.get("name", ""))


def _waiting(message: str) -> ParentState:
    return ParentState(Condition(False, ConditionReason.WAITING_FOR_PARENT, message))


def _useless(message: str, reason: FailureReason = FailureReason.PARENT_FAILED) -> ParentState:
    return ParentState(Condition(False, reason, message))


def _circle(view: JobView) -> str | None:
    """A sentence where the job waits for itself, by way of others."""
    own, path, here = (KIND, view.name), [view.name], view.resource
    while _is_named(here) and len(path) <= len(view.children.others) + 1:
        following = _named(here)
        path.append(following[1])
        if following == own:
            who = " waits for ".join(path)
            return f"{who}: none of them can start; delete one and create it without spec.parent"
        found = view.children.others.get(following)
        if found is None:
            return None
        here = found
    return None


def _taken(parent: Object, others: Mapping[tuple[str, str], Object]) -> Object | None:
    status = parent["status"]
    source = status.get("best") or {} if parent["kind"] == AUTOML_KIND else status
    model = source.get("model") or _as_model(source.get("checkpoint") or {})
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


def _trains(parent: Object) -> bool:
    return parent["kind"] == AUTOML_KIND or job_action.action_of(parent) in TRAINS


def _classes(parent: Object) -> int | None:
    """Classes of the model that it left: a training's own, or those that others took over."""
    status = parent["status"]
    found = (status.get("dataset") or {}).get("numClasses") if _trains(parent) else None
    found = found or (status.get("inherited") or {}).get("numClasses")
    return int(found) if found else None


def _model(parent: Object, others: Mapping[tuple[str, str], Object]) -> dict[str, Any] | None:
    """Keys of `model` that the parent's model was made with: its own, its parent's, its search's.

    None where only the file knows: no training of ours made it.
    """
    status = parent["status"]
    if parent["kind"] == AUTOML_KIND:
        return dict((status["best"].get("specification") or {}).get("model") or {})
    searched = others.get((AUTOML_KIND, status.get("automl", "")))
    if searched is not None and (searched.get("status") or {}).get("best"):
        return _model(searched, others)
    own = (parent["spec"].get("experiment") or {}).get("model") or {}
    if job_action.action_of(parent) is Action.DISTILL:
        return dict(own)  # the student's; what it inherited is its teacher's
    before = (status.get("inherited") or {}).get("experiment")
    if before is None and not _trains(parent):
        return None
    return {**((before or {}).get("model") or {}), **own}
