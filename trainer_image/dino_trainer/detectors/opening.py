"""Opens the model that an action works on, whatever kind of file it is in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from dino_api import formats
from dino_api.actions import ACTIONS
from dino_api.experiment import ExperimentSpec
from dino_api.names import Action, FailureReason
from dino_api.result import ModelFile
from dino_trainer.errors import TrainerError, invalid_spec
from dino_trainer.model_files.info import Detector, ModelInfo, check_structure
from dino_trainer.model_files.naming import file_at, model_format, stand_in, takes
from dino_trainer.spec.sections import GpuSection, key_path, section_of

if TYPE_CHECKING:
    import torch

    from dino_trainer.run import RunContext


def open_model(uri: str, spec: ExperimentSpec, context: RunContext) -> Detector:
    """The model at `uri`, ready to find objects; fetched first where it lies elsewhere.

    Raises:
        TrainerError: InvalidSpec where it cannot be read, is not the model that the keys which
            `spec` sets describe, or has weights in INT8 and is made into another; InputNotFound
            where there is none; those of the store.
    """
    model_format(uri)  # what is no model is not fetched
    with context.world.first_here():
        path = _fetched(uri, spec, context)
    detector = _opened(path, file_at(path, uri), spec, context)
    refuse_int8(detector.info, spec, context.action)
    check_structure(detector.info, spec)
    return detector


def open_detector(uri: str, spec: ExperimentSpec, context: RunContext) -> Detector:
    """`open_model` for who finds objects and does nothing else with the model, which is faster."""
    detector = open_model(uri, spec, context)
    if detector.info.file.format != "checkpoint":
        return detector
    from dino_trainer.detectors.torch_detector import TorchDetector

    assert isinstance(detector, TorchDetector)
    return detector.for_detection_alone()


def refuse_int8(info: ModelInfo, spec: ExperimentSpec, action: Action) -> None:
    """Refuses weights in INT8 for what needs them as they were trained. Raises InvalidSpec."""
    file = info.file
    packed = file.format == "checkpoint" and file.precision == formats.INT8
    if packed and formats.INT8 not in takes(spec, action):
        raise invalid_spec(
            f"{file.uri} holds weights in INT8, which only evaluate and inference take: {action} "
            "needs them as they were trained.",
            "Name the checkpoint that it was made from.",
        )


def _refuse_other(path: Path, file: ModelFile) -> None:
    """Refuses what is no model by its content; what is a model of another kind has another key."""
    from dino_trainer.model.file_kind import kind_of_file

    kind = kind_of_file(path)
    if file.format in ("checkpoint", kind.format) or kind.unknown:
        return  # who reads it says the rest
    if kind.format == "checkpoint":
        remedy = "Name it where checkpoints are taken, or name the file that was made from it."
        raise invalid_spec(f"{file.uri} is no {file.format} file, but a checkpoint.", remedy)
    raise invalid_spec(f"{file.uri} is no {file.format} file: it is {kind.what}.", kind.remedy)


def _opened(path: Path, file: ModelFile, spec: ExperimentSpec, context: RunContext) -> Detector:
    _refuse_other(path, file)
    # Each runtime is imported by who needs it.
    match file.format:
        case "onnx":
            from dino_trainer.detectors.onnx_detector import open_onnx

            return open_onnx(path, file)
        case "engine":
            from dino_trainer.detectors.engine_detector import open_engine

            return open_engine(path, file)
        case "checkpoint":
            from dino_trainer.detectors.torch_detector import open_checkpoint

            return open_checkpoint(path, file, spec, device_for(spec, context))
        case _:
            assert_never(file.format)


def device_for(spec: ExperimentSpec, context: RunContext) -> torch.device:
    """The device of this process: as many GPUs as the action's section asks for, else the CPU.

    Actions whose section names no number of GPUs take one where there is one. Raises NoGPU.
    """
    from dino_trainer.machine.devices import any_device, pick_device

    whose = ACTIONS[context.action].section
    section = section_of(spec, whose)
    if not isinstance(section, GpuSection):
        return any_device()
    return pick_device(section.num_gpus, context.world.local_rank, key_path(whose, "num_gpus"))


def _fetched(uri: str, spec: ExperimentSpec, context: RunContext) -> Path:
    from dino_trainer.model_files.fetching import fetch, place_of

    if context.world.local_rank:
        return place_of(uri, context.work_dir)  # the first rank here has just fetched it
    try:
        return fetch(uri, context.work_dir)
    except TrainerError as error:
        if error.reason != FailureReason.INPUT_NOT_FOUND:
            raise
        raise TrainerError(
            error.reason, error.message, _remedy(uri, spec, context.action)
        ) from error


def _remedy(uri: str, spec: ExperimentSpec, action: Action) -> str:
    """What to do where no model lies at `uri`."""
    names = " or ".join(key_path(action, key) for key in ACTIONS[action].model_keys)
    before = stand_in(spec, action)
    if uri.endswith(f"/{before}"):
        return f"Run `dino {before.partition('/')[0]}` before, or name the model as {names}."
    return f"Name a model that is there as {names}."
