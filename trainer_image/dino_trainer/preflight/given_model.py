"""The model that an action goes on from, as far as its file says itself what it is."""

from __future__ import annotations

from dataclasses import dataclass

from dino_api.experiment import ExperimentSpec
from dino_api.formats import format_of
from dino_api.names import TRAINS, WEIGHTS_ALONE, Action
from dino_trainer.errors import TrainerError
from dino_trainer.export.input_size import input_size
from dino_trainer.model_files.info import ModelInfo, config_for
from dino_trainer.model_files.naming import model_uri
from dino_trainer.model_files.outline import outline_of
from dino_trainer.spec.sections import section_of

_LARGER = (
    "Enlarge the images: scales, test_random_resize, fixed_size of dataset.augmentation, "
    "input_width and input_height of the action, or fixed_padding True. Or take a model that was "
    "trained with fewer queries: a trained one needs all of its own."
)


@dataclass(frozen=True)
class Looker:
    """A model that looks at images as `spec` says: its structure, and how it has them prepared.

    whose: what sentences call its number of queries. remedy: in place of the rule's, if any.
    """

    spec: ExperimentSpec
    whose: str = "model.num_queries"
    remedy: str = ""


def given_model(spec: ExperimentSpec, action: Action) -> ModelInfo | None:
    """What the model of an action says of itself; None where it has none, or that says nothing.

    A training may start from the weights of any other model, so that counts for nothing.
    """
    if action == Action.TRAIN:
        return None
    try:
        return outline_of(model_uri(spec, action))
    except TrainerError:
        return None


def lookers(spec: ExperimentSpec, action: Action, model: ModelInfo | None) -> list[Looker]:
    """The models whose number of queries is known before the action begins."""
    if action == Action.TRAIN:
        return [Looker(spec)]
    if action == Action.DISTILL:
        return [Looker(spec), *_teacher(spec, model)]
    if model is None:
        known = _is_checkpoint(spec, action) and "num_queries" in spec.model.model_fields_set
        return [Looker(spec, remedy=_LARGER)] if known else []
    if model.file.format != "checkpoint":
        return []  # it was made for a size, and that size was checked then
    as_prepared = _prepared(spec, action, model)
    return [Looker(as_prepared, "the checkpoint's num_queries", _LARGER)] if as_prepared else []


def detections_per_image(
    spec: ExperimentSpec, action: Action, model: ModelInfo | None
) -> int | None:
    """How many detections of an image the scored model gives; None where nobody knows yet."""
    if action in TRAINS or "num_select" in spec.model.model_fields_set:
        return spec.model.num_select
    return model.num_select if model else None


def looks_at_images(spec: ExperimentSpec, action: Action) -> bool:
    """Whether images come to a checkpoint in sizes of their own; else in one that is made up."""
    weights = action == Action.QUANTIZE and spec.quantize.mode == WEIGHTS_ALONE
    return weights or action == Action.EVALUATE


def _teacher(spec: ExperimentSpec, model: ModelInfo | None) -> list[Looker]:
    """It sees the images that the student is trained on, in their sizes."""
    of_file = "num_queries" in spec.distill.teacher.model_fields_set
    structure = model.spec.model if model else spec.distill.teacher if of_file else None
    if structure is None:
        return []
    seen = spec.model_copy(update={"model": structure})
    return [Looker(seen, "the teacher's num_queries", _LARGER)]


def _prepared(spec: ExperimentSpec, action: Action, model: ModelInfo) -> ExperimentSpec | None:
    """With the structure and the preprocessing of the checkpoint; None where the spec asks for what
    it cannot do, which whoever opens it says."""
    try:
        dataset = config_for(model, spec, section_of(spec, action))
        if action == Action.EXPORT:
            size = list(input_size(spec, model.spec))
            augmentation = dataset.augmentation.model_copy(update={"fixed_size": size})
            dataset = dataset.model_copy(update={"augmentation": augmentation})
    except TrainerError:
        return None
    return spec.model_copy(update={"model": model.spec.model, "dataset": dataset})


def _is_checkpoint(spec: ExperimentSpec, action: Action) -> bool:
    try:
        return format_of(model_uri(spec, action)) == "checkpoint"
    except TrainerError:
        return False
