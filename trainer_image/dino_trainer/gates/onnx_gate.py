"""No ONNX file is published that was not compared with the checkpoint it was made from."""

from __future__ import annotations

from dataclasses import replace

from dino_api import metric
from dino_api.actions import DatasetSplit
from dino_api.experiment import ExperimentSpec
from dino_api.names import FailureReason
from dino_api.result import ModelComparison
from dino_trainer.data.coco import CocoDataset
from dino_trainer.data.splits import read_split
from dino_trainer.data.unreadable import without
from dino_trainer.errors import TrainerError
from dino_trainer.gates.compare import ComparisonPictures, all_of, likeness_in_words
from dino_trainer.model_files.info import ModelInfo
from dino_trainer.run import RunContext
from dino_trainer.scoring.classes import check_classes
from dino_trainer.spec.sections import sources_of

# float32 against float32: anything beyond is not rounding.
MAX_LOSS, LEAST_MATCHED = 0.0005, 0.99
_TEST = "test_data_sources"
# Of data that the user has not asked to be compared on.
MOST_IMAGES = 100
# The training's data may have moved since; that is no reason not to export.
_NOT_REACHED = {
    FailureReason.INPUT_NOT_FOUND,
    FailureReason.ACCESS_DENIED,
    FailureReason.STORAGE_UNAVAILABLE,
    FailureReason.INVALID_DATASET,
    FailureReason.INVALID_SPEC,
}


def pictures(spec: ExperimentSpec, info: ModelInfo, context: RunContext) -> ComparisonPictures:
    """Real images if there are any.

    All of `dataset.test_data_sources`; else at most 100 of the validation or training data that the
    checkpoint's own spec names, if it still has the classes of ``info``; else random ones. Damaged
    ones are left out as far as the spec that names the data allows it.

    Raises:
        TrainerError: those of reading `test_data_sources`, which the user has asked for.
    """
    if spec.dataset.test_data_sources:
        given = spec.dataset
        dataset = read_split(given.test_data_sources, _TEST, context, given.skip_unreadable)
        return ComparisonPictures(dataset, all_of(dataset, _TEST))
    why, share = "the checkpoint names no data", info.spec.dataset.skip_unreadable
    for part in (DatasetSplit.VALIDATION, DatasetSplit.TRAIN):
        sources = sources_of(info.spec.dataset, part)
        if not sources:
            continue
        try:
            dataset = _some(read_split(sources, part.key, context, share))
            check_classes(info, dataset, "training's data")
        except TrainerError as error:
            if error.reason not in _NOT_REACHED:
                raise
            why = f"the data of its training cannot be used ({error.message})"
            continue
        count = f"{len(dataset.images)} images of the training's {part.key}"
        return ComparisonPictures(dataset, f"{count}{without(dataset.skips)}")
    return ComparisonPictures(
        None,
        f"random images, since {why}: no mAP is compared. Name real ones as "
        "dataset.test_data_sources (datasets.test of a DinoJob)",
    )


def _some(dataset: CocoDataset) -> CocoDataset:
    """At most 100 images, evenly spread."""
    total = len(dataset.images)
    if total <= MOST_IMAGES:
        return dataset
    chosen = [dataset.images[i * total // MOST_IMAGES] for i in range(MOST_IMAGES)]
    return replace(dataset, images=tuple(chosen))


def problems(comparison: ModelComparison) -> list[str]:
    """Why the file must not be published, one sentence each; none where it may."""
    reasons = []
    if comparison.loss is not None and abs(comparison.loss) > MAX_LOSS:
        reasons.append(
            f"its mAP is {metric.text(comparison.candidate.mAP)}, the checkpoint's "
            f"{metric.text(comparison.reference.mAP)}: "
            f"they may differ by {MAX_LOSS:g}."
        )
    if comparison.matched is not None and comparison.matched < LEAST_MATCHED:
        reasons.append(
            f"it has {100 * comparison.matched:.1f} % of the checkpoint's detections, by class, "
            f"overlap and score; {100 * LEAST_MATCHED:g} % are needed."
        )
    return reasons


def summary(comparison: ModelComparison) -> str:
    """The comparison in a sentence."""
    parts = likeness_in_words(comparison)
    times = comparison.reference.latency_ms, comparison.candidate.latency_ms
    if None not in times:
        parts.append(f"{times[0]:.1f} and {times[1]:.1f} ms for one image")
    return f"Checkpoint and ONNX file on {comparison.images} images: {', '.join(parts)}."
