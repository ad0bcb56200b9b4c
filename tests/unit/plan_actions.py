"""Jobs of every action, and the models that they leave, for tests of their plans."""

from __future__ import annotations

from typing import Any

from dino_api.names import TRAINS
from tests.builders import JobBuilder, Object, a_job

SOURCE = [{"uri": "s3://data/some"}]
PICTURES = {"uri": "s3://data/new", "classmap": "classes.txt"}
DATA: dict[str, Object] = {
    "train": {"train": SOURCE, "validation": SOURCE},
    "distill": {"train": SOURCE, "validation": SOURCE},
    "evaluate": {"test": SOURCE},
    "inference": {"inference": PICTURES},
    "quantize": {"calibration": SOURCE, "test": SOURCE},
    "export": {},
    "gen_trt_engine": {},
}
ACTIONS = tuple(DATA)
FILES: dict[str, Object] = {
    "checkpoint": {"uri": "s3://results/base/train/dino_model_best.pth", "format": "checkpoint"},
    "onnx": {"uri": "s3://results/base/export/dino_model.onnx", "format": "onnx"},
    "engine": {"uri": "s3://results/base/e/dino_model.engine", "format": "engine"},
}
TAKES = {
    "train": ("checkpoint",),
    "distill": ("checkpoint",),
    "export": ("checkpoint",),
    "quantize": ("onnx",),
    "gen_trt_engine": ("onnx",),
    "evaluate": ("checkpoint", "onnx", "engine"),
    "inference": ("checkpoint", "onnx", "engine"),
}
KEYS = {
    ("train", "checkpoint"): ("train", "pretrained_model_path"),
    ("distill", "checkpoint"): ("distill", "pretrained_teacher_model_path"),
    ("export", "checkpoint"): ("export", "checkpoint"),
    ("quantize", "onnx"): ("quantize", "model_path"),
    ("gen_trt_engine", "onnx"): ("gen_trt_engine", "onnx_file"),
    ("evaluate", "checkpoint"): ("evaluate", "checkpoint"),
    ("evaluate", "onnx"): ("evaluate", "onnx_file"),
    ("evaluate", "engine"): ("evaluate", "trt_engine"),
    ("inference", "checkpoint"): ("inference", "checkpoint"),
    ("inference", "onnx"): ("inference", "onnx_file"),
    ("inference", "engine"): ("inference", "trt_engine"),
}


def job_to(action: str, name: str = "x", **spec: Any) -> JobBuilder:
    """A valid job of that action, that nobody has looked at yet."""
    made = a_job(name).spec(action=action, **spec)
    made.thing["spec"].pop("datasets")
    if action not in TRAINS:
        made.thing["spec"]["experiment"].pop("train", None)
    if DATA[action]:
        made.thing["spec"].setdefault("datasets", DATA[action])
    return made


def that_left(model: str, action: str = "train", name: str = "base", **status: Any) -> JobBuilder:
    """A job of that action that is complete and left a file of that format."""
    made = job_to(action, name).status({"model": FILES[model], **status})
    made.condition("Complete")
    return made


def given(model: str, **more: Any) -> Object:
    """status.inherited with such a file."""
    return {"inherited": {"model": FILES[model], **more}}
