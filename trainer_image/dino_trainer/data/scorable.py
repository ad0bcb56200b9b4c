"""Whether a data set's boxes can be scored at all, and all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dino_trainer.data.coco import CocoDataset
from dino_trainer.errors import invalid_dataset


def check_scored(
    dataset: CocoDataset, class_ids: Sequence[int] | None, most: int, key: str
) -> list[str]:
    """Warnings about boxes that no detector can be credited with.

    class_ids: dataset.eval_class_ids. most: detections of a class in an image that are scored, by
    `key` of the spec.

    Raises:
        TrainerError: InvalidDataset where no box of these classes is there to be found: every
            score would be -1.
    """
    images = dataset.images
    kept = ~np.concatenate([image.crowd for image in images])
    labels = np.concatenate([image.labels for image in images])
    kept &= np.isin(labels, list(dataset.categories if class_ids is None else class_ids))
    if not kept.any():
        raise invalid_dataset(
            "The data to be scored has no box of the classes in dataset.eval_class_ids "
            f"({', '.join(map(str, class_ids or ()))}).",
            "Name classes that have boxes there, or leave the key out to score all classes.",
        )
    places = np.repeat(np.arange(len(images)), [len(image.labels) for image in images])
    pairs = np.column_stack([places[kept], labels[kept]])
    counts = np.unique(pairs, axis=0, return_counts=True)[1]
    over = counts[counts > most]
    if not len(over):
        return []
    return [
        f"{len(over)} times an image has more than {most} boxes of one class ({over.max()} at "
        f"most), and the {most} best detections of a class are scored in an image: raise {key} "
        "and model.num_select to count them all"
    ]
