"""Whether a data set's boxes can be scored at all, and all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dino_trainer.data.coco import CocoDataset
from dino_trainer.errors import invalid_dataset

# pycocotools counts boxes of areas from 0 to this, "all" of them.
LARGEST_AREA = 1e10


def check_scored(
    dataset: CocoDataset, class_ids: Sequence[int] | None, most: int, key: str, select: int
) -> list[str]:
    """Warnings about boxes that no detector can be credited with.

    class_ids: dataset.eval_class_ids. most: detections of a class in an image that are scored, by
    `key` of the spec. select: detections of all classes in an image that the model gives.

    Raises:
        TrainerError: InvalidDataset where no box of these classes is there to be found: every
            score would be -1.
    """
    images = dataset.images
    areas = np.concatenate([image.areas for image in images])
    labels = np.concatenate([image.labels for image in images])
    kept = ~np.concatenate([image.crowd for image in images])
    kept &= np.isin(labels, list(dataset.categories if class_ids is None else class_ids))
    large = kept & (areas > LARGEST_AREA)
    if kept.any() and large.sum() == kept.sum():
        raise invalid_dataset(
            f"All {large.sum()} boxes to be scored have an area above 10^10 square pixels, and "
            "COCO's scoring counts none of those.",
            "Correct the areas in the annotations, or leave them out: width x height is taken.",
        )
    if not kept.any():
        raise invalid_dataset(
            "The data to be scored has no box of the classes in dataset.eval_class_ids "
            f"({', '.join(map(str, class_ids or ()))}).",
            "Name classes that have boxes there, or leave the key out to score all classes.",
        )
    warnings = []
    if large.any():
        warnings.append(
            f"{large.sum()} boxes have an area above 10^10 square pixels, and COCO's scoring does "
            "not count them: correct the areas in the annotations"
        )
    places = np.repeat(np.arange(len(images)), [len(image.labels) for image in images])
    kept &= ~large
    warnings += _over_most(dataset, places[kept], labels[kept], most, key)
    return warnings + _over_select(dataset, places[kept], select)


def _over_most(
    dataset: CocoDataset,
    places: NDArray[np.int64],
    labels: NDArray[np.int64],
    most: int,
    key: str,
) -> list[str]:
    pairs, counts = np.unique(np.column_stack([places, labels]), axis=0, return_counts=True)
    over = counts[counts > most]
    if not len(over):
        return []
    name = dataset.images[pairs[np.argmax(counts), 0]].file.name
    return [
        f"{len(over)} times an image has more than {most} boxes of one class ({over.max()} at "
        f"most), and the {most} best detections of a class are scored in an image ({name} has "
        f"most): no detector has a mAP above {_best_map(pairs[:, 1], counts, most):.3f}. Raise "
        f"{key} and model.num_select to count them all"
    ]


def _best_map(labels: NDArray[np.int64], counts: NDArray[np.int64], most: int) -> float:
    """Of a detector that is right about all that is scored: COCO asks at 101 values of recall."""
    _, place = np.unique(labels, return_inverse=True)
    recall = np.bincount(place, np.minimum(counts, most)) / np.bincount(place, counts)
    return float(np.mean((np.floor(100 * recall + 1e-9) + 1) / 101))


def _over_select(dataset: CocoDataset, places: NDArray[np.int64], select: int) -> list[str]:
    counts = np.bincount(places, minlength=len(dataset.images))
    lost = np.maximum(counts - select, 0)
    if not lost.any():
        return []
    name = dataset.images[int(np.argmax(counts))].file.name
    return [
        f"{(lost > 0).sum()} images have more boxes than the model gives detections, {select} "
        f"({name} has {counts.max()}): {lost.sum()} of {len(places)} boxes cannot be found. Raise "
        "model.num_select"
    ]
