"""What a job takes over from its parent: the checkpoint, and the structure of its network."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dino_api.experiment import ModelConfig, Problem
from dino_api.names import AUTOML_KIND, KIND, ConditionReason, ConditionType, FailureReason
from dino_operator.plan import observe, status
from dino_operator.plan.model import Object
from dino_operator.plan.status import Verdict
from dino_operator.plan.view import View

STRUCTURE = (
    "backbone",
    "num_queries",
    "num_feature_levels",
    "return_interm_indices",
    "hidden_dim",
    "nheads",
    "enc_layers",
    "dec_layers",
    "dim_feedforward",
    "enc_n_points",
    "dec_n_points",
    "pe_temperatureH",
    "pe_temperatureW",
    "embed_init_tgt",
)
"""Keys of `model` that decide which weights there are, or what they mean. Others may change."""
WEIGHTS = "pretrained_backbone_path"
"""The one key of `model` that is not carried: the parent's checkpoint has the backbone, too."""


@dataclass(frozen=True)
class Found:
    """What is known of the parent. inherited: status.inherited, once it has left a checkpoint."""

    verdict: Verdict
    inherited: Object | None = None


def is_awaited(view: View) -> bool:
    """Whether a parent is named and nothing was taken over from it so far."""
    return bool(view.resource["spec"].get("parent")) and "inherited" not in view.status


def verdict(view: View) -> Verdict | None:
    """The condition ParentReady; None without a parent."""
    if not view.resource["spec"].get("parent"):
        return None
    known = observe.condition(view.resource, ConditionType.PARENT_READY) or {}
    if not is_awaited(view) and known.get("status") == "True":
        return Verdict(True, known["reason"], known.get("message", ""))
    return look(view).verdict


def look(view: View) -> Found:
    """At the parent, which is watched."""
    kind, name = _named(view.resource)
    called = f"{kind} {name}"
    thing = view.children.others.get((kind, name))
    if (circle := _circle(view)) is not None:
        return _waiting(circle)
    if thing is None:
        return _waiting(f"{called} does not exist yet; it is waited for")
    if not _has_result(thing):
        return _waiting(f"{called} has not ended yet; it is waited for")
    if observe.is_true(thing, ConditionType.FAILED):
        why = observe.condition(thing, ConditionType.FAILED) or {}
        return _useless(f"{called} failed: {why.get('reason')}: {why.get('message', '')}")
    taken = _taken(thing, view.children.others)
    if taken is None:
        return _useless(f"{called} is complete, but its status names no checkpoint")
    said = f"the job starts from {taken['checkpoint']} of {called}"
    return Found(Verdict(True, ConditionReason.PARENT_COMPLETE, said), taken)


def _has_result(parent: Object) -> bool:
    """Whether it has ended. The winner of a search is known before: its followers start from it,
    and the search is complete only after them."""
    told = parent.get("status") or {}
    won = parent["kind"] == AUTOML_KIND and told.get("completionTime") and not told.get("failure")
    return status.is_over(parent) or bool(won)


def _named(resource: Object) -> tuple[str, str]:
    named = resource["spec"].get("parent") or {}
    return str(named.get("kind") or KIND), str(named.get("name", ""))


def _waiting(said: str) -> Found:
    return Found(Verdict(False, ConditionReason.WAITING_FOR_PARENT, said))


def _useless(said: str) -> Found:
    return Found(Verdict(False, FailureReason.PARENT_FAILED, said))


def _circle(view: View) -> str | None:
    """A sentence where the job waits for itself, by way of others."""
    own, path, here = (KIND, view.name), [view.name], view.resource
    while here["spec"].get("parent") and len(path) <= len(view.children.others) + 1:
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
    told = parent["status"]
    source = told.get("best") or {} if parent["kind"] == AUTOML_KIND else told
    checkpoint = (source.get("checkpoint") or {}).get("uri")
    if not checkpoint:
        return None
    model = {k: v for k, v in _model(parent, others).items() if k != WEIGHTS}
    classes = (told.get("dataset") or {}).get("numClasses")
    inherited = {"checkpoint": checkpoint, "experiment": {"model": model}, "numClasses": classes}
    return {key: value for key, value in inherited.items() if value is not None}


def _model(parent: Object, others: Mapping[tuple[str, str], Object]) -> dict[str, Any]:
    """Keys of `model` that the parent trained with: its own, its parent's, its search's."""
    told = parent["status"]
    if parent["kind"] == AUTOML_KIND:
        return dict((told["best"].get("specification") or {}).get("model") or {})
    searched = others.get((AUTOML_KIND, told.get("automl", "")))
    if searched is not None and (searched.get("status") or {}).get("best"):
        return _model(searched, others)
    before = (told.get("inherited") or {}).get("experiment") or {}
    own = parent["spec"].get("experiment") or {}
    return {**(before.get("model") or {}), **(own.get("model") or {})}


def merged(experiment: Mapping[str, Any], inherited: Object) -> dict[str, Any]:
    """The experiment of the heir: its own keys, and where it has none, the parent's."""
    made = copy.deepcopy(dict(experiment))
    made["model"] = {**inherited["experiment"].get("model", {}), **(made.get("model") or {})}
    made["train"] = {
        **(made.get("train") or {}),
        "pretrained_model_path": inherited["checkpoint"],
    }
    return made


def conflicts(experiment: Mapping[str, Any], inherited: Object) -> list[Problem]:
    """Keys of the heir's own by which the parent's weights would not fit, or mean another thing."""
    own = experiment.get("model") or {}
    theirs = {**ModelConfig().model_dump(), **inherited["experiment"].get("model", {})}
    return [
        Problem(
            f"model.{key}",
            own[key],
            f"must be {theirs[key]}, as in the parent's checkpoint",
            "Leave it out, or leave out spec.parent and train anew.",
            id="parent-structure",
        )
        for key in STRUCTURE
        if key in own and own[key] != theirs[key]
    ]
