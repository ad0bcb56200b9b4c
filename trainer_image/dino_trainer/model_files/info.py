"""What is known of a model, and what every kind of model file is able to do.

Nothing in here imports a runtime: a checkpoint, an ONNX file and an engine look the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from dino_api.base import Section
from dino_api.experiment import AugmentationConfig, DatasetConfig, ExperimentSpec
from dino_api.experiment.dataset import GEOMETRY, PIXELS
from dino_api.experiment.model import STRUCTURE
from dino_api.result import ModelFile
from dino_trainer.errors import invalid_spec
from dino_trainer.spec.micro_batch import micro_batch_size
from dino_trainer.spec.sections import ResizedSection, batch_size_of

if TYPE_CHECKING:
    import torch

    from dino_trainer.data.loader import Batch
    from dino_trainer.model import Detections


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says about itself.

    file: where it lies, its format and digest. spec: structure and preprocessing that the model was
    made with, `dataset.num_classes` filled in. class_names: by label, "" where unknown, one for
    each class. input_size: (height, width) that it takes, None for any. batch_size: the one batch
    that it takes, None for any. num_select: detections an image.
    """

    file: ModelFile
    spec: ExperimentSpec
    class_names: tuple[str, ...]
    input_size: tuple[int, int] | None
    batch_size: int | None
    num_select: int

    @property
    def num_classes(self) -> int:
        """Classes of the head: the largest category id plus one."""
        return len(self.class_names)


class Detector(Protocol):
    """A model that finds objects, whatever it is computed by."""

    @property
    def info(self) -> ModelInfo:
        """What is known of it."""

    @property
    def device(self) -> torch.device:
        """The device where it wants its batches."""

    def __call__(self, batch: Batch, sizes: torch.Tensor) -> list[Detections]:
        """Detections of each image of a batch, best first.

        batch: on `device`, uint8 as `eval_loader` gives it. sizes: int64[b, 2], (height, width) of
        the original images, in whose pixels the boxes are.
        """


def check_structure(info: ModelInfo, spec: ExperimentSpec) -> None:
    """Refuses a model whose structure is not the one that `spec` asks for.

    Only keys that the spec sets itself count. Of a file whose detections are selected inside of it,
    `model.num_select` is structure, too.

    Raises:
        TrainerError: InvalidSpec naming each key with both values.
    """
    keys: list[str] = [*STRUCTURE]
    if info.file.format != "checkpoint":
        keys.append("num_select")
    asked, own = spec.model, info.spec.model
    odd = [f"model.{text}" for text in _differing(asked, own, keys)]
    augmentation = spec.dataset.augmentation
    odd += [
        f"dataset.augmentation.{text}"
        for text in _differing(augmentation, info.spec.dataset.augmentation, PIXELS)
    ]
    classes = spec.dataset.num_classes
    if classes is not None and classes != info.num_classes:
        odd.append(f"dataset.num_classes is {classes}, the model's {info.num_classes}")
    if odd:
        raise invalid_spec(
            f"{info.file.uri} is of another model than the spec describes: {'; '.join(odd)}.",
            "Leave these keys out, since the file itself says what it is; or name the file of the "
            "model that the spec describes.",
        )


def as_teacher(spec: ExperimentSpec) -> ExperimentSpec:
    """The spec as it describes the teacher; what is set for the student says nothing of it."""
    own = spec.dataset.augmentation
    values = {name: getattr(own, name) for name in type(own).model_fields}
    unsaid = AugmentationConfig.model_construct(_fields_set=set(), **values)
    dataset = spec.dataset.model_copy(update={"augmentation": unsaid, "num_classes": None})
    return spec.model_copy(update={"model": spec.distill.teacher, "dataset": dataset})


def _differing(asked: Section, own: Section, keys: Iterable[str]) -> list[str]:
    return [
        f"{name} is {getattr(asked, name)}, the model's {getattr(own, name)}"
        for name in keys
        if name in asked.model_fields_set and getattr(asked, name) != getattr(own, name)
    ]


def config_for(info: ModelInfo, spec: ExperimentSpec, section: object) -> DatasetConfig:
    """How images are prepared for a model: as in the validations of its training.

    Pixels are normalised as the model file says. Images take the size of the section's
    `input_width` and `input_height` where it has them, else the only size that the model takes,
    without keeping the aspect ratio; else as its training validated, except where the spec sets
    sizes of its own.

    section: that of the action, None where it has no such keys; its `batch_size`, where it is
    positive, comes before `dataset.batch_size`, and the only batch that the model takes before
    both. An attempt after one that ran out of memory has no more images at once than
    `DINO_MICRO_BATCH` says.

    Raises:
        TrainerError: InvalidSpec for a size that the model does not take, or for a width alone; for
            a model of one batch that did not fit in memory; for a `DINO_MICRO_BATCH` that is no
            number.
    """
    size = _asked_size(section) or info.input_size
    if info.input_size and size != info.input_size:
        raise invalid_spec(
            f"input_width and input_height say {_in_pixels(size)}, and {info.file.uri} takes "
            f"{_in_pixels(info.input_size)} only.",
            "Leave them out, or export the model for that size.",
        )
    augmentation = info.spec.dataset.augmentation
    changes: dict[str, object] = {
        name: getattr(spec.dataset.augmentation, name)
        for name in GEOMETRY
        if name in spec.dataset.augmentation.model_fields_set
    }
    if size:
        changes["fixed_size"] = list(size)
    batch = batch_size_of(section) or spec.dataset.batch_size
    return spec.dataset.model_copy(
        update={
            "augmentation": augmentation.model_copy(update=changes),
            "batch_size": _that_fits(info.batch_size or batch, info),
        }
    )


def _that_fits(batch: int, info: ModelInfo) -> int:
    """The batch, or the smaller one that the operator asks for after a lack of memory."""
    micro_batch = micro_batch_size()
    if micro_batch is None or micro_batch >= batch:
        return batch
    if info.batch_size:
        raise invalid_spec(
            f"Memory did not suffice for {info.file.uri}, which takes batches of {batch} only: "
            f"{micro_batch} at once, as the attempt asks for, cannot be tried.",
            "Make the file with a smaller batch (export.batch_size, or for an engine "
            "gen_trt_engine.tensorrt.min_batch_size), or raise spec.resources.memory.",
        )
    return micro_batch


def _asked_size(section: object) -> tuple[int, int] | None:
    """(height, width)"""
    if not isinstance(section, ResizedSection):
        return None
    width, height = section.input_width, section.input_height
    if width is None and height is None:
        return None
    if width is None or height is None:
        raise invalid_spec(
            "Of input_width and input_height only one is set.", "Set both, or leave both out."
        )
    return height, width


def _in_pixels(size: tuple[int, int] | None) -> str:
    return f"{size[1]}x{size[0]}" if size else "any"
