"""Models that go from job to job: what a job takes over and leaves, and why one does not fit.

`dino_api.actions` says which formats each action takes, and under which key.
"""

from __future__ import annotations

from dino_api import names
from dino_api.actions import facts_of
from dino_api.formats import CALLED, INT8
from dino_api.names import Action
from dino_operator.plan.model import Object
from dino_operator.plan.observed.resource import DinoJob

_REMEDIES = {
    ("onnx", "checkpoint"): "put an export between them",
    ("onnx", "engine"): "name the job that left the ONNX file of the engine",
    ("onnx", INT8): "export the checkpoint that it was made from",
    ("checkpoint", INT8): "name the training that it was made from",
    ("checkpoint", "onnx"): "name the training that the ONNX file was made from",
    ("checkpoint", "engine"): "name the training that the engine was made from",
}
"""By the format that an action needs and the one that is there, as in `formats.CALLED`."""


def left_in(folder: str, resource: DinoJob) -> Object | None:
    """The model that a job that came to a good end has left in its folder; None where it made
    none."""
    made = resource.facts
    if made.leaves is None:
        return None
    model = {"uri": f"{folder}/{made.file}"}
    if made.leaves == INT8:
        return {**model, "format": "checkpoint", "precision": INT8}
    return {**model, "format": made.leaves}


def key_for(action: Action, model: str) -> str | None:
    """The dotted path of the experiment at which the action reads a model of that format."""
    key = facts_of(action, weights=model == "checkpoint").takes.get(model)
    return key and f"{action}.{key}"


def misfit(action: Action, model: str | None, who: str, weights: bool = False) -> str | None:
    """Why the action cannot go on from a model of that format, or INT8; None where it can, or
    nobody knows.

    who: whose model it is, and the verb: "DinoJob base (train) left". weights: of a job that
    `quantizes_weights`.
    """
    taken = facts_of(action, weights).takes
    if model is None or model in taken:
        return None
    wanted = next(iter(taken))
    remedy = _REMEDIES.get((wanted, model), "name another model")
    mode = f" with mode {names.WEIGHTS_ALONE}" if weights else ""
    return f"{action}{mode} needs {CALLED[wanted]}, and {who} {CALLED[model]}: {remedy}"
