"""A model that PyTorch runs: one in training, or one read from a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from dino_api.base import Section
from dino_api.experiment import ExperimentSpec
from dino_api.formats import INT8, PACKED
from dino_api.result import MOST_CLASSES, ModelFile
from dino_trainer.data.loader import Batch, normalise
from dino_trainer.errors import invalid_spec
from dino_trainer.model import (
    Detections,
    Dino,
    build_dino,
    load_checkpoint_weights,
    postprocess,
    read_state,
)
from dino_trainer.model.precision import autocast
from dino_trainer.model.weights import our_name
from dino_trainer.model_files import checkpoint
from dino_trainer.model_files.info import ModelInfo, check_structure
from dino_trainer.model_files.int8_weights import read_int8_weights
from dino_trainer.model_files.outline import own_spec, with_classes

_HEAD = "decoder.class_head.0.bias"


class TorchDetector:
    """Normalises pixels, runs the model, selects the best detections.

    The model must be in evaluation mode. It computes in `train.precision` of the spec in `info`.
    """

    def __init__(self, model: nn.Module, info: ModelInfo) -> None:
        self.model, self.info = model, info

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return next(self.model.parameters()).device

    def for_detection_alone(self) -> Self:
        """The same, faster: from now on the weights of `model` are no longer a checkpoint's."""
        if isinstance(self.model, Dino):
            self.model.backbone.fold_batch_norms()
        return self

    @torch.inference_mode()
    def __call__(self, batch: Batch, sizes: Tensor) -> list[Detections]:
        """Detects; see `Detector`."""
        spec = self.info.spec
        config = spec.dataset.augmentation
        pixels = normalise(batch.images, batch.mask, config.input_mean, config.input_std)
        with autocast(spec.train.precision, pixels.device):
            outputs = self.model(pixels, batch.mask)
        return postprocess(outputs, sizes, self.info.num_select)


@contextmanager
def in_training(
    model: nn.Module, spec: ExperimentSpec, class_names: Sequence[str] = ()
) -> Iterator[TorchDetector]:
    """A model that is trained just now, as a detector; it is left in the mode it was in."""
    file = ModelFile(uri="", format="checkpoint", precision=spec.train.precision)
    info = ModelInfo(file, spec, tuple(class_names), None, None, spec.model.num_select)
    was_training = model.training
    model.eval()
    try:
        yield TorchDetector(model, info)
    finally:
        model.train(was_training)


def open_checkpoint(
    path: Path, file: ModelFile, spec: ExperimentSpec, device: torch.device
) -> TorchDetector:
    """The detector in a checkpoint, with the weights that its training scored.

    Our own checkpoints say themselves what they are. Of the published ones and TAO's the structure
    is what `spec` says. Weights in INT8 become floating point here; `info.file.precision` is int8.

    Raises:
        TrainerError: InvalidSpec where the file is no checkpoint, is of another structure than the
            keys that `spec` sets, or does not fit.
    """
    content, state = _read(path, file.uri)
    own, names = own_spec(content, file.uri) if content else _foreign(state, spec, file.uri)
    model_spec = own.model.model_copy(update=_set(spec.model, "num_select"))
    own = own.model_copy(update={"model": model_spec})
    precision = INT8 if PACKED in content else own.train.precision
    file = file.model_copy(update={"precision": precision})
    info = ModelInfo(file, own, names, None, None, model_spec.num_select)
    check_structure(info, spec)
    try:
        model = build_dino(own.model, len(names))
        load_checkpoint_weights(model, state, strict=True)
    except ValueError as error:
        raise invalid_spec(f"{file.uri}: {error}", _STRUCTURE) from error
    return TorchDetector(model.to(device).eval().requires_grad_(False), info)


_STRUCTURE = (
    "Give the spec that the checkpoint was trained with: its model.* keys and dataset.num_classes."
)


def _set(section: Section, name: str) -> dict[str, object]:
    """A key that the user's spec sets itself."""
    return {name: getattr(section, name)} if name in section.model_fields_set else {}


def _read(path: Path, uri: str) -> tuple[Mapping[str, Any], Mapping[str, Tensor]]:
    """What a checkpoint says about itself, and the scored weights: the average where there is one.

    A file that is not one of ours says nothing.
    """
    try:
        content = checkpoint.read(path)
    except ValueError:
        content = {}  # the published code's pickles hold more, which the reader below knows
    try:
        if "spec" in content and PACKED in content:
            return content, read_int8_weights(content).state()
        if "spec" in content and "model" in content:
            ema = content.get("ema")
            return content, ema if isinstance(ema, Mapping) and ema else content["model"]
        return {}, read_state(path)
    except ValueError as error:
        raise invalid_spec(
            f"{uri} is no checkpoint: {error}", "Name a .pth file of a training."
        ) from error


def _foreign(
    state: Mapping[str, Tensor], spec: ExperimentSpec, uri: str
) -> tuple[ExperimentSpec, tuple[str, ...]]:
    """The structure of the user's spec, and as many classes as the head has."""
    heads = [v for name, v in state.items() if our_name(name) == _HEAD and v.ndim == 1]
    if not heads:
        raise invalid_spec(
            f"{uri} holds no detector: it has no head that tells classes.",
            "Name a .pth file of a DINO detector, of this project, of TAO, or a published one.",
        )
    count = len(heads[0])
    if count > MOST_CLASSES:
        raise invalid_spec(
            f"{uri} tells {count:,} classes, of {MOST_CLASSES:,} at most.",
            "Name a .pth file of a DINO detector of fewer classes.",
        )
    return with_classes(spec, count), ("",) * count
