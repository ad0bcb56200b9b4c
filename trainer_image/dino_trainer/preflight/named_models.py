"""Files of models that a spec names: whether they are there, and made as the spec says.

Whoever opens them says the same, but on GPUs that were waited for. So they are asked for here, and
before the data, since an answer takes a second.
"""

from __future__ import annotations

from collections.abc import Iterator

from dino_api.actions import ACTIONS
from dino_api.experiment import ExperimentSpec, digest
from dino_api.experiment.model import IMAGENET
from dino_api.experiment.paths import WEIGHTS
from dino_api.names import (
    LATEST_CHECKPOINT,
    PREVIOUS_CHECKPOINT,
    RESULT_FILE,
    TRAINS,
    Action,
    FailureReason,
)
from dino_api.result import Result
from dino_trainer.detectors.opening import refuse_int8
from dino_trainer.errors import TrainerError
from dino_trainer.model_files.fetching import require_local
from dino_trainer.model_files.info import ModelInfo, as_teacher, check_structure
from dino_trainer.model_files.naming import model_format, refuse_existing
from dino_trainer.spec.sections import key_path, output_folder, section_of, uri_at
from dino_trainer.storage.opening import open_store
from dino_trainer.storage.store import Store
from dino_trainer.storage.stored_file import open_stored
from dino_trainer.storage.uris import is_remote

_RESUME = "train.resume_training_checkpoint_path"


def check_named(spec: ExperimentSpec, action: Action) -> None:
    """Asks for every file of a model that the spec names and the action will open.

    Where the output has the result of this very spec, the action will open none and say so: a job
    that is made again reports its result, also where people have tidied up since.

    Raises:
        TrainerError: InputNotFound for one that is not there, with the key that names it;
            InvalidSpec for one that is no model by its ending, and for a place of a copy that is
            taken; AccessDenied and StorageUnavailable.
    """
    try:
        _check_named(spec, action)
    except TrainerError:
        if not _is_done(spec, action):
            raise


def _check_named(spec: ExperimentSpec, action: Action) -> None:
    for key, uri in _models(spec, action):
        model_format(uri)
        _demand(key, uri)
    if action in TRAINS:
        _demand_weights(spec, action)
    if action is Action.EXPORT:
        refuse_existing("export.onnx_file", spec.export.onnx_file, ".onnx")
    if action is Action.GEN_TRT_ENGINE:
        copy = spec.gen_trt_engine.trt_engine
        refuse_existing("gen_trt_engine.trt_engine", copy, ".engine")


def check_made(model: ModelInfo | None, spec: ExperimentSpec, action: Action) -> None:
    """Refuses a model that the action would, by what its file says of itself; None says nothing.

    Raises:
        TrainerError: InvalidSpec, as `open_model` does.
    """
    if model is None:
        return
    refuse_int8(model, spec, action)
    check_structure(model, as_teacher(spec) if action is Action.DISTILL else spec)


def _models(spec: ExperimentSpec, action: Action) -> Iterator[tuple[str, str]]:
    """Key and URI of what the action works on, where it is named; else an earlier action in the
    same output leaves it, maybe later than now."""
    section = section_of(spec, action)
    for key in ACTIONS[action].model_keys if action is not Action.TRAIN else ():
        if uri := uri_at(section, key):
            yield key_path(action, key), uri


def _demand_weights(spec: ExperimentSpec, action: Action) -> None:
    """What a training begins with; one that goes on reads its own checkpoint alone."""
    if resumed := spec.train.resume_training_checkpoint_path:
        _demand(_RESUME, resumed)
        return
    uris = (spec.model.pretrained_backbone_path, spec.train.pretrained_model_path)
    try:
        for key, uri in zip(WEIGHTS, uris, strict=True):
            if uri not in ("", IMAGENET):
                _demand(key, uri)
    except TrainerError:
        if not _has_begun(spec, action):
            raise


def _has_begun(spec: ExperimentSpec, action: Action) -> bool:
    return any(map(_output(spec, action).exists, (LATEST_CHECKPOINT, PREVIOUS_CHECKPOINT)))


def _is_done(spec: ExperimentSpec, action: Action) -> bool:
    store = _output(spec, action)
    if not store.exists(RESULT_FILE):
        return False
    text = store.read_bytes(RESULT_FILE).decode(errors="replace")
    result = Result.from_termination_message(text)
    return bool(result and not result.failure and result.spec_digest == digest(spec, action))


def _output(spec: ExperimentSpec, action: Action) -> Store:
    return open_store(output_folder(spec, action))


def _demand(key: str, uri: str) -> None:
    """Raises TrainerError where the file is not there."""
    try:
        open_stored(uri).close() if is_remote(uri) else require_local(uri)
    except TrainerError as error:
        if error.reason != FailureReason.INPUT_NOT_FOUND:
            raise
        remedy = f"Name a file that is there as {key}."
        if error.remedy != error.rule.remedy:  # it knows better
            remedy = error.remedy
        raise TrainerError(error.reason, f"{key}: {error.message}", remedy) from error
