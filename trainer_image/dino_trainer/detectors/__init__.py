"""Models that find objects: a checkpoint, an ONNX file or an engine behind one small interface.

Start at `open_model`. `info.py` says what a `Detector` is; one module for each kind of file reads
it. `evaluate.detect` runs any of them over a data set.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from dino_api import formats
from dino_api.actions import ACTIONS, facts_of
from dino_api.experiment import ExperimentSpec
from dino_api.formats import Format
from dino_api.names import LATEST, ONNX_FILE, WEIGHTS_ALONE, Action, FailureReason
from dino_api.result import ModelFile
from dino_trainer.errors import TrainerError, invalid_spec
from dino_trainer.model_files.info import Detector, ModelInfo, check_structure, config_for
from dino_trainer.spec.sections import key_path, section_of
from dino_trainer.storage.store import open_store, sha256_of, split

if TYPE_CHECKING:
    import torch

    from dino_trainer.run import RunContext

__all__ = [
    "Detector",
    "ModelInfo",
    "check_structure",
    "config_for",
    "device_for",
    "file_at",
    "format_of",
    "model_uri",
    "open_model",
    "refuse_existing",
]

# What is named for a model and holds none that could be read here.
_OTHERS = {
    ".etlt": "an encrypted export of TAO: name the .pth or .onnx of the same training",
    ".hdf5": "a file of Keras, or one that TAO has encrypted: name a .pth of a DINO detector",
    ".h5": "a file of Keras: name a .pth of a DINO detector",
    ".keras": "a file of Keras: name a .pth of a DINO detector",
    ".zip": "an archive: unpack it, and name the file within",
    ".tar": "an archive: unpack it, and name the file within",
    ".gz": "compressed: unpack it, and name the file within",
    ".trt": "an engine that another program built: build one by `dino gen_trt_engine`",
    ".plan": "an engine that another program built: build one by `dino gen_trt_engine`",
}


def model_uri(spec: ExperimentSpec, action: Action) -> str:
    """Where the model lies that an action works on.

    What its section names; else what a training, or an export, in the same results_dir leaves:
    `<results_dir>/train/dino_model_latest.pth`, `<results_dir>/export/dino_model.onnx`.

    Raises:
        TrainerError: InvalidSpec where two are named, or none and nothing can stand in.
    """
    section, keys = section_of(spec, action), ACTIONS[action].model_keys
    named = {key: uri for key in keys if (uri := getattr(section, key, ""))}
    if len(named) > 1:
        both = " and ".join(f"{key_path(action, key)} ({uri})" for key, uri in named.items())
        raise invalid_spec(f"Two models are named: {both}.", "Name one of them.")
    if named:
        return next(iter(named.values()))
    if action == Action.DISTILL or not spec.results_dir:
        raise invalid_spec(
            f"{key_path(action, keys[0])} is not set.",
            "Name the teacher's checkpoint." if action == Action.DISTILL else "Name a model.",
        )
    return f"{spec.results_dir.rstrip('/')}/{_stand_in(spec, action)}"


def _stand_in(spec: ExperimentSpec, action: Action) -> str:
    from_checkpoint = "checkpoint" in _takes(spec, action)
    return f"train/{LATEST}" if from_checkpoint else f"export/{ONNX_FILE}"


def _takes(spec: ExperimentSpec, action: Action) -> Mapping[str, str]:
    return facts_of(action, spec.quantize.mode == WEIGHTS_ALONE).takes


def format_of(uri: str) -> Format:
    """What kind of file it is, by its extension. Raises InvalidSpec for any other."""
    suffix = PurePosixPath(uri).suffix.lower()
    if suffix in _OTHERS:
        what, _, remedy = _OTHERS[suffix].partition(": ")
        raise invalid_spec(
            f"{uri} is no model file, but {what}.", f"{remedy[0].upper()}{remedy[1:]}."
        )
    known = formats.format_of(uri)
    if known is None:
        ends = ", ".join(formats.ENDINGS)
        raise invalid_spec(f"{uri} is no model file.", f"Name a file that ends in {ends}.")
    return known


def file_at(path: Path, uri: str) -> ModelFile:
    """The file at `path`, which is known as `uri`."""
    size = path.stat().st_size
    return ModelFile(uri=uri, format=format_of(uri), sha256=sha256_of(path), bytes=size)


def refuse_existing(key: str, uri: str, suffix: str) -> None:
    """Refuses a place for another copy of a model that is no such file, or that is taken.

    key: the dotted key that names it; an empty `uri` asks for none. Raises InvalidSpec.
    """
    if not uri:
        return
    folder, name = split(uri)
    if not name.endswith(suffix):
        raise invalid_spec(f"{key} is {uri}.", f"Name a file that ends in {suffix}.")
    if open_store(folder).exists(name):
        raise invalid_spec(f"{key} {uri} exists.", "Delete it, or name another file.")


def open_model(uri: str, spec: ExperimentSpec, context: RunContext) -> Detector:
    """The model at `uri`, ready to find objects; fetched first where it lies elsewhere.

    Raises:
        TrainerError: InvalidSpec where it cannot be read, is not the model that the keys which
            `spec` sets describe, or has weights in INT8 and is made into another; InputNotFound
            where there is none; those of the store.
    """
    format_of(uri)  # what is no model is not fetched
    with context.world.first_here():
        path = _fetched(uri, spec, context)
    detector = _opened(path, file_at(path, uri), spec, context)
    _refuse_int8(detector.info, spec, context.action)
    check_structure(detector.info, spec)
    return detector


def _refuse_int8(info: ModelInfo, spec: ExperimentSpec, action: Action) -> None:
    """What goes on from a checkpoint needs its weights as they were trained."""
    file = info.file
    packed = file.format == "checkpoint" and file.precision == formats.INT8
    if packed and formats.INT8 not in _takes(spec, action):
        raise invalid_spec(
            f"{file.uri} holds weights in INT8, which only evaluate and inference take: {action} "
            "needs them as they were trained.",
            "Name the checkpoint that it was made from.",
        )


def _refuse_other(path: Path, file: ModelFile) -> None:
    """Refuses what is no model by its content; what is a model of another kind has another key."""
    from dino_trainer.model.file_kind import MODELS, kind_of

    kind = kind_of(path)
    other = "checkpoint" if kind.reader else MODELS.get(kind.what)
    if file.format == "checkpoint" or other == file.format or kind.unknown:
        return  # who reads it says the rest
    if other == "checkpoint":
        remedy = "Name it where checkpoints are taken, or name the file that was made from it."
        raise invalid_spec(f"{file.uri} is no {file.format} file, but a checkpoint.", remedy)
    raise invalid_spec(f"{file.uri} is no {file.format} file: it is {kind.what}.", kind.remedy)


def _opened(path: Path, file: ModelFile, spec: ExperimentSpec, context: RunContext) -> Detector:
    _refuse_other(path, file)
    # Each runtime is imported by who needs it.
    if file.format == "onnx":
        from dino_trainer.detectors.onnx_detector import open_onnx

        return open_onnx(path, file)
    if file.format == "engine":
        from dino_trainer.detectors.engine_detector import open_engine

        return open_engine(path, file)
    from dino_trainer.detectors.torch_detector import open_checkpoint

    return open_checkpoint(path, file, spec, device_for(spec, context))


def device_for(spec: ExperimentSpec, context: RunContext) -> torch.device:
    """The device of this process: as many GPUs as the action's section asks for, else the CPU.

    Actions whose section names no number of GPUs take one where there is one. Raises NoGPU.
    """
    from dino_trainer.machine.devices import any_device, pick_device

    section = ACTIONS[context.action].section
    gpus = getattr(section_of(spec, section), "num_gpus", None)
    if gpus is None:
        return any_device()
    return pick_device(gpus, context.world.local_rank, key_path(section, "num_gpus"))


def _fetched(uri: str, spec: ExperimentSpec, context: RunContext) -> Path:
    from dino_trainer.train.weights import fetch, place_of

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
    before = _stand_in(spec, action)
    if uri.endswith(f"/{before}"):
        return f"Run `dino {before.partition('/')[0]}` before, or name the model as {names}."
    return f"Name a model that is there as {names}."
