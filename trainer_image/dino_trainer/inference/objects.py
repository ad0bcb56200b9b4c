"""What was found in one image, and its two written forms.

Shapes: n objects.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Objects:
    """Best first. labels: int64[n]. scores: float32[n].

    boxes: float32[n, 4], (left, top, right, bottom) in pixels of the upright original.
    """

    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    boxes: NDArray[np.float32]

    def at(self, rows: NDArray[np.bool_]) -> Objects:
        """The objects where `rows` is True."""
        return Objects(self.labels[rows], self.scores[rows], self.boxes[rows])

    def __len__(self) -> int:
        return len(self.labels)


def kitti(objects: Objects, names: Sequence[str]) -> str:
    """The lines of a KITTI label file, as TAO writes them.

    Of KITTI's fields TAO fills the name, the box and the score. A name with a space is written as
    it is, as TAO does.
    """
    return "".join(_kitti_lines(objects, names))


def _kitti_lines(objects: Objects, names: Sequence[str]) -> Iterator[str]:
    zeros = "0.00 " * 7
    rows = zip(objects.labels, objects.scores, objects.boxes.tolist(), strict=True)
    for label, score, box in rows:
        corners = " ".join(f"{value:.3f}" for value in box)
        yield f"{names[label]} 0.00 0 0.00 {corners} {zeros}{score:.3f}\n"


def coco(objects: Objects, image_id: int) -> list[str]:
    """Entries of `annotations` in a COCO file, with a score, from behind their id on.

    Who writes those of all images numbers them: `{"id": 7, ` and one of these are an entry.
    """
    corners = objects.boxes.astype(np.float64)
    sides = corners[:, 2:] - corners[:, :2]
    boxes = np.concatenate([corners[:, :2], sides], axis=1).round(3)
    entries = (
        {
            "image_id": image_id,
            "category_id": int(label),
            "bbox": box,
            "area": round(box[2] * box[3], 3),
            "iscrowd": 0,
            "score": round(float(score), 6),
        }
        for label, score, box in zip(objects.labels, objects.scores, boxes.tolist(), strict=True)
    )
    return [json.dumps(entry)[1:] for entry in entries]
