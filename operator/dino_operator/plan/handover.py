"""Models that go from job to job: what each action takes, what it leaves, what its key is."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from dino_api import names
from dino_api.names import Action
from dino_operator.plan import words
from dino_operator.plan.model import Object

Format = Literal["checkpoint", "onnx", "engine"]
INT8 = "int8"
"""The precision of what `quantize` left. Also stands for the format of a checkpoint in it, which
evaluate and inference alone take."""

CALLED: Mapping[str, str] = MappingProxyType(
    {
        "checkpoint": "a checkpoint",
        INT8: "a checkpoint of INT8 weights",
        "onnx": "an ONNX file",
        "engine": "a TensorRT engine",
    }
)
_EXTENSIONS: Mapping[str, Format] = MappingProxyType(
    {".pth": "checkpoint", ".tlt": "checkpoint", ".onnx": "onnx", ".engine": "engine"}
)
_KEYS: Mapping[Action, Mapping[str, str]] = MappingProxyType(
    {
        Action.TRAIN: {"checkpoint": "train.pretrained_model_path"},
        Action.DISTILL: {"checkpoint": "distill.pretrained_teacher_model_path"},
        Action.EXPORT: {"checkpoint": "export.checkpoint"},
        Action.QUANTIZE: {"onnx": "quantize.model_path"},
        Action.GEN_TRT_ENGINE: {"onnx": "gen_trt_engine.onnx_file"},
        **{
            each: {
                "checkpoint": f"{each}.checkpoint",
                INT8: f"{each}.checkpoint",
                "onnx": f"{each}.onnx_file",
                "engine": f"{each}.trt_engine",
            }
            for each in (Action.EVALUATE, Action.INFERENCE)
        },
    }
)
_OF_WEIGHTS: Mapping[str, str] = MappingProxyType({"checkpoint": "quantize.model_path"})
LEAVES: Mapping[Action, Format] = MappingProxyType(
    {
        Action.TRAIN: "checkpoint",
        Action.DISTILL: "checkpoint",
        Action.EXPORT: "onnx",
        Action.QUANTIZE: "onnx",
        Action.GEN_TRT_ENGINE: "engine",
    }
)
"""Evaluate and inference hand on the model that they were given."""
_FILES: Mapping[Action, str] = MappingProxyType(
    {
        Action.TRAIN: names.BEST_CHECKPOINT,
        Action.DISTILL: names.BEST_CHECKPOINT,
        Action.EXPORT: names.ONNX_FILE,
        Action.QUANTIZE: names.QUANTIZED_FILE,
        Action.GEN_TRT_ENGINE: names.ENGINE_FILE,
    }
)
_WAY = {
    ("onnx", "checkpoint"): "put an export between them",
    ("onnx", "engine"): "name the job that left the ONNX file of the engine",
    ("onnx", INT8): "export the checkpoint that it was made from",
    ("checkpoint", INT8): "name the training that it was made from",
    ("checkpoint", "onnx"): "name the training that the ONNX file was made from",
    ("checkpoint", "engine"): "name the training that the engine was made from",
}


def format_of(uri: str) -> Format | None:
    """By the extension of the file; None for another one."""
    return next((known for end, known in _EXTENSIONS.items() if uri.endswith(end)), None)


def formats(action: Action) -> tuple[str, ...]:
    """Those that the action can go on from."""
    return tuple(_KEYS[action])


def kind_of(model: Object) -> str:
    """The format of a model, or INT8."""
    packed = model["format"] == "checkpoint" and model.get("precision") == INT8
    return INT8 if packed else str(model["format"])


def of_weights(resource: Object) -> bool:
    """Whether a job stores the weights of a checkpoint as INT8; else it quantizes ONNX files."""
    section = (resource["spec"].get("experiment") or {}).get("quantize") or {}
    quantizes = words.action_of(resource) is Action.QUANTIZE
    return quantizes and section.get("mode") == names.WEIGHTS_ALONE


def leaves(resource: Object) -> str | None:
    """The format, or INT8, of what a job leaves; None for one that makes no model."""
    return INT8 if of_weights(resource) else LEAVES.get(words.action_of(resource))


def left_in(folder: str, resource: Object) -> Object | None:
    """The model that a job that came to a good end has left in its folder; None where it made
    none."""
    action = words.action_of(resource)
    if of_weights(resource):
        uri = f"{folder}/{names.QUANTIZED_WEIGHTS}"
        return {"uri": uri, "format": "checkpoint", "precision": INT8}
    if action not in _FILES:
        return None
    return {"uri": f"{folder}/{_FILES[action]}", "format": LEAVES[action]}


def key_for(action: Action, model: str) -> str | None:
    """The dotted path of the experiment at which the action reads a model of that format."""
    return _taken(action, model == "checkpoint").get(model)


def misfit(action: Action, model: str | None, who: str, weights: bool = False) -> str | None:
    """Why the action cannot go on from a model of that format, or INT8; None where it can, or
    nobody knows.

    who: whose model it is, and the verb: "DinoJob base (train) left". weights: of `of_weights`.
    """
    taken = _taken(action, weights)
    if model is None or model in taken:
        return None
    wanted = next(iter(taken))
    way = _WAY[wanted, model]
    mode = f" with mode {names.WEIGHTS_ALONE}" if weights else ""
    return f"{action}{mode} needs {CALLED[wanted]}, and {who} {CALLED[model]}: {way}"


def _taken(action: Action, weights: bool) -> Mapping[str, str]:
    """Keys by format."""
    return _OF_WEIGHTS if weights and action is Action.QUANTIZE else _KEYS[action]
