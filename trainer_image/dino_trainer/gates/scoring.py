"""How a gate scores two models: as `dino evaluate` does by the same spec."""

from __future__ import annotations

from dataclasses import dataclass

from dino_api.experiment import ExperimentSpec
from dino_trainer.data.coco import CocoDataset
from dino_trainer.data.scorable import check_scored
from dino_trainer.model_files.info import ModelInfo
from dino_trainer.run import RunContext
from dino_trainer.scoring.classes import check_classes, scored_classes
from dino_trainer.scoring.detection import MOST_DETECTIONS


@dataclass(frozen=True)
class Scoring:
    """Which detections of both models count.

    class_ids: the categories that do, all if None. max_detections: of a class, in an image, the
    best ones.
    """

    class_ids: list[int] | None = None
    max_detections: int = MOST_DETECTIONS


def scoring(
    spec: ExperimentSpec, info: ModelInfo, dataset: CocoDataset | None, context: RunContext
) -> Scoring:
    """The scoring of the spec, for these images; says which boxes are not counted so.

    info: of the model that another is made from. dataset: None for random images, which have no
    boxes.

    Raises:
        TrainerError: InvalidSpec for a class in dataset.eval_class_ids that the data does not
            have; InvalidDataset where it has no box of those classes, or other classes than the
            model.
    """
    asked, most = spec.dataset.eval_class_ids, spec.evaluate.max_detections
    if dataset is not None and (asked or _has_boxes(dataset)):
        warnings = check_classes(info, dataset, _called(spec))
        classes = None if asked is None else list(scored_classes(asked, dataset))
        warnings += check_scored(dataset, classes, most, "evaluate.max_detections", info.num_select)
        for text in warnings:
            context.reporter.event(f"Warning: {text}")
    return Scoring(asked, most)


def _called(spec: ExperimentSpec) -> str:
    return "test data" if spec.dataset.test_data_sources else "calibration data"


def _has_boxes(dataset: CocoDataset) -> bool:
    """Of the images that an export takes from its training's data, none may have any."""
    return any(not image.crowd.all() for image in dataset.images)
