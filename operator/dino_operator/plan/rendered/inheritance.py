"""What a job takes over from its parent, as it stands in its status: model, structure, classes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from dino_api.experiment import ModelConfig
from dino_api.experiment.model import DETECTION, STRUCTURE
from dino_api.experiment.paths import without_nulls
from dino_api.formats import format_of
from dino_api.names import (
    TRAINS,
    Action,
)
from dino_api.problem import Problem
from dino_operator.plan.model import Object
from dino_operator.plan.observed.resource import DinoJob
from dino_operator.plan.observed.status import StoredInheritance
from dino_operator.plan.rendered import model_files

NOT_CARRIED = ("pretrained_backbone_path", "distillation_loss_coef")
"""Keys of `model` that speak of how the parent was trained: its model has the backbone, too."""


def inherited_by(resource: DinoJob) -> StoredInheritance | None:
    """What the job goes on from: taken over from a parent, or a file that its spec names."""
    known, uri = resource.status.inherited, resource.parent.uri
    if known or not uri:
        return known
    return StoredInheritance({"model": {"uri": uri, "format": format_of(uri)}})


def left_in(folder: str, resource: DinoJob) -> Object | None:
    """The model of a job that came to a good end and whose own words are lost.

    folder: where its action publishes, under names that are known.
    """
    inherited = inherited_by(resource)
    return model_files.left_in(folder, resource) or (inherited.model.raw if inherited else None)


def merged(
    experiment: Mapping[str, Any], inherited: StoredInheritance, action: Action
) -> dict[str, Any]:
    """The experiment of the heir: its own keys, and where it has none, the parent's.

    The parent of a distillation is the teacher; the student's structure is the job's own.
    """
    made = copy.deepcopy(dict(experiment))
    theirs = inherited.structure or {}
    if action is not Action.TRAIN:
        theirs = {key: theirs[key] for key in DETECTION if key in theirs}
    model = inherited.model
    section, _, key = str(model_files.key_for(action, model.format)).partition(".")
    given = {**(made.get(section) or {}), key: model.uri}
    if action is Action.DISTILL:
        given["teacher"] = {**theirs, **without_nulls(given.get("teacher") or {})}
    else:
        made["model"] = {**theirs, **without_nulls(made.get("model") or {})}
    return {**made, section: given}


def conflicts(
    experiment: Mapping[str, Any], inherited: StoredInheritance, action: Action = Action.TRAIN
) -> list[Problem]:
    """Keys of the heir's own by which the parent's weights would not fit, or mean another thing.

    None where only the file knows its structure: then the pod compares them.
    """
    before = inherited.structure
    if before is None or action is Action.DISTILL:
        return []
    own = without_nulls(experiment.get("model") or {})
    theirs = {**ModelConfig().model_dump(), **before}
    remedy = "Leave it out, or leave out spec.parent and train anew."
    if action not in TRAINS:
        remedy = "Leave it out: the model's file says how it was made."
    return [
        Problem(
            f"model.{key}",
            own[key],
            f"must be {theirs[key]}, as in the parent's model",
            remedy,
            id="parent-structure",
        )
        for key in STRUCTURE
        if key in own and own[key] != theirs[key]
    ]
