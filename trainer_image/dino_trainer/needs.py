"""What running an action needs and a valid spec may lack: data, a model, a place for results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dino_api.experiment import Problem
from dino_api.names import TRAINS, WEIGHTS_ALONE, Action

_SOURCES = "[{image_dir: images, json_file: annotations.json}]"
# The one split of `dataset` that an action cannot do without; weights alone are quantized without
# any.
_NEEDED = {
    Action.TRAIN: "train_data_sources",
    Action.DISTILL: "train_data_sources",
    Action.EVALUATE: "test_data_sources",
    Action.QUANTIZE: "quant_calibration_data_sources",
}
# Those that it reads where they are given.
READ: dict[Action, tuple[str, ...]] = {
    **dict.fromkeys(TRAINS, ("train_data_sources", "val_data_sources")),
    Action.EVALUATE: ("test_data_sources",),
    Action.INFERENCE: (),
    Action.EXPORT: ("test_data_sources",),
    Action.QUANTIZE: ("quant_calibration_data_sources", "test_data_sources"),
    Action.GEN_TRT_ENGINE: ("quant_calibration_data_sources", "test_data_sources"),
}


def for_running(data: dict[str, Any], action: Action) -> list[Problem]:
    """Every such problem of a spec that is not checked yet."""
    return [*_results(data, action), *_data(data, action), *_teacher(data, action)]


def _results(data: dict[str, Any], action: Action) -> Iterator[Problem]:
    own = _map(data.get(action.value)).get("results_dir")
    if not (data.get("results_dir") or own):
        yield _missing("results_dir", action, "/path or s3://bucket/path")


def _data(data: dict[str, Any], action: Action) -> Iterator[Problem]:
    dataset = _map(data.get("dataset"))
    weights = _map(data.get(action.value)).get("mode") == WEIGHTS_ALONE
    needed = None if weights else _NEEDED.get(action)
    if needed and not dataset.get(needed):
        yield _missing(f"dataset.{needed}", action, _SOURCES)
    for key in READ[action]:
        yield from _incomplete(key, dataset.get(key), action)
    if action == Action.INFERENCE:
        infer = _map(dataset.get("infer_data_sources"))
        for part, form in (("image_dir", "a folder or an archive"), ("classmap", "a text file")):
            if not infer.get(part):
                yield _missing(f"dataset.infer_data_sources.{part}", action, form)


def _teacher(data: dict[str, Any], action: Action) -> Iterator[Problem]:
    key = "pretrained_teacher_model_path"
    if action == Action.DISTILL and not _map(data.get(action.value)).get(key):
        yield _missing(f"distill.{key}", action, "the path of the teacher's checkpoint")


def _incomplete(key: str, sources: Any, action: Action) -> Iterator[Problem]:
    named = enumerate(sources) if isinstance(sources, list) else [(None, sources)]
    for place, source in named:
        where = f"dataset.{key}" if place is None else f"dataset.{key}[{place}]"
        for part in ("image_dir", "json_file"):
            if isinstance(source, dict) and not source.get(part):
                yield _missing(f"{where}.{part}", action, "a path or s3:// URI")


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _missing(path: str, action: Action, form: str) -> Problem:
    return Problem(path, None, f"is needed to {_VERBS[action]}", f"Write {form}.", id="needed")


_VERBS = {
    Action.TRAIN: "train",
    Action.DISTILL: "distill",
    Action.EVALUATE: "evaluate",
    Action.INFERENCE: "find objects in images",
    Action.EXPORT: "export",
    Action.GEN_TRT_ENGINE: "build an engine",
    Action.QUANTIZE: "quantize",
}
