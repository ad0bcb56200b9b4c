"""Which detection found which true box, by COCO's rules, for a whole data set at once.

Shapes: n detections, m true boxes, p pairs of them that overlap enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dino_trainer.data.coco import CocoDataset
from dino_trainer.scoring.detection import MOST_DETECTIONS, DetectionSet

# Pairs that are compared at once: bounds the memory of crowded data sets.
_PAIRS_AT_ONCE = 2_000_000

NOBODY = -1


@dataclass(frozen=True)
class BoxSet:
    """Boxes of a data set, true or found.

    images: int64[n], places in the data set. labels: int64[n]. boxes: float64[n, 4], (x, y, width,
    height) in pixels. scores: float64[n], higher first; ones for true boxes. crowd: bool[n], where
    a box stands for many objects.
    """

    images: NDArray[np.int64]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    crowd: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def true(cls, dataset: CocoDataset) -> Self:
        """The annotations, crowds included, in the order of the images."""
        images = dataset.images
        counts = [len(image.labels) for image in images]
        return cls(
            np.repeat(np.arange(len(images)), counts),
            np.concatenate([image.labels for image in images]),
            np.concatenate([image.boxes for image in images]).astype(np.float64),
            np.ones(sum(counts)),
            np.concatenate([image.crowd for image in images]),
        )

    @classmethod
    def of_detections(cls, detections: DetectionSet) -> Self:
        """The detections, in their order."""
        corners = detections.boxes.astype(np.float64)
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        scores = detections.scores.astype(np.float64)
        return cls(
            detections.images, detections.labels, boxes, scores, np.zeros(len(scores), np.bool_)
        )

    def at(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Self:
        """The boxes in `rows`, in their order."""
        return type(self)(
            self.images[rows],
            self.labels[rows],
            self.boxes[rows],
            self.scores[rows],
            self.crowd[rows],
        )


def match_boxes(
    detections: BoxSet, truth: BoxSet, iou: float = 0.5, *, same_class: bool = True
) -> NDArray[np.int64]:
    """Who found what: int64[n], the place of each detection's true box, or NOBODY.

    Detections choose in the order of their scores, equal ones in their own order: the box of the
    same image (and class) that overlaps most and is still free, the later of equals. One that finds
    none takes the crowd that it lies in, which is never used up. (pycocotools' evaluateImg.)

    iou: overlap from which on a box counts as found.
    """
    chosen = np.full(len(detections), NOBODY)
    order = ranked(detections)  # before the choice of pairs: equal scores keep their order
    pairs = _overlapping(detections, truth, min(iou, 1 - 1e-10), same_class)
    if not len(pairs.overlaps):
        return chosen
    position = np.empty(len(detections), np.int64)
    position[order] = np.arange(len(detections))
    turn = _turns(pairs.detections, position, _keys(detections, same_class))
    crowd = truth.crowd[pairs.truth]
    by = np.lexsort((-pairs.truth, -pairs.overlaps, crowd, pairs.detections, turn))
    d, t, crowd = pairs.detections[by], pairs.truth[by], crowd[by]
    taken = np.zeros(len(truth), np.bool_)
    for rows in np.split(np.arange(len(by)), np.flatnonzero(np.diff(turn[by])) + 1):
        # In one turn each image (and class) has one detection, so none is in another's way.
        free = rows[~taken[t[rows]]]
        best = free[np.diff(d[free], prepend=-1) != 0]
        chosen[d[best]] = t[best]
        taken[t[best]] = ~crowd[best]
    return chosen


def ranked(boxes: BoxSet) -> NDArray[np.int64]:
    """Ranks into int64[n]: places by score, the best first, equal ones in their own order."""
    return np.argsort(-boxes.scores, kind="stable")


def among_best(detections: BoxSet, most: int = MOST_DETECTIONS) -> NDArray[np.bool_]:
    """Marks bool[n] whether a detection is among the `most` best of its class in its image."""
    by = np.lexsort((-detections.scores, _keys(detections, True)))
    ranks = np.empty(len(detections), np.int64)
    ranks[by] = _places_in_group(_keys(detections, True)[by])
    return ranks < most


@dataclass(frozen=True)
class _Pairs:
    """Pairs of a detection and a true box that may match.

    detections, truth: int64[p], places. overlaps: float64[p], IoU; with a crowd, the share in it.
    """

    detections: NDArray[np.int64]
    truth: NDArray[np.int64]
    overlaps: NDArray[np.float64]


def _keys(boxes: BoxSet, same_class: bool) -> NDArray[np.int64]:
    """int64[n]: equal for boxes that may match."""
    return (boxes.images << 32) + boxes.labels if same_class else boxes.images


def _overlapping(detections: BoxSet, truth: BoxSet, iou: float, same_class: bool) -> _Pairs:
    """All pairs with an overlap of at least `iou`."""
    keys = _keys(truth, same_class)
    by_key = np.argsort(keys, kind="stable")
    own = _keys(detections, same_class)
    first = np.searchsorted(keys[by_key], own, side="left")
    counts = np.searchsorted(keys[by_key], own, side="right") - first
    cuts = np.flatnonzero(np.diff(np.cumsum(counts) // _PAIRS_AT_ONCE)) + 1
    parts = []
    for rows in np.split(np.arange(len(detections)), cuts):
        d = np.repeat(rows, counts[rows])
        t = by_key[first[d] + _places_in_group(d)]
        overlaps = overlap(detections.boxes[d], truth.boxes[t], truth.crowd[t])
        close = overlaps >= iou
        parts.append((d[close], t[close], overlaps[close]))
    return _Pairs(*(np.concatenate(one) for one in zip(*parts, strict=True)))


def overlap(
    detections: NDArray[np.float64], truth: NDArray[np.float64], crowd: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """IoU of boxes [p, 4], (x, y, width, height); for a crowd the share of the found box in it.

    The very operations of pycocotools' C code: a pair at the threshold falls on the same side.
    """
    low = np.maximum(detections[:, :2], truth[:, :2])
    high = np.minimum(detections[:, :2] + detections[:, 2:], truth[:, :2] + truth[:, 2:])
    common = np.maximum(high - low, 0).prod(axis=1)
    area = detections[:, 2] * detections[:, 3]
    union = np.where(crowd, area, area + truth[:, 2] * truth[:, 3] - common)
    iou: NDArray[np.float64] = np.divide(common, union, out=np.zeros_like(common), where=common > 0)
    return iou


def _turns(
    pairs: NDArray[np.int64], position: NDArray[np.int64], keys: NDArray[np.int64]
) -> NDArray[np.int64]:
    """int64[p]: when a pair's detection chooses among those of its key that have a pair."""
    choosing = np.unique(pairs)
    by = np.lexsort((position[choosing], keys[choosing]))
    turns = np.empty(len(position), np.int64)
    turns[choosing[by]] = _places_in_group(keys[choosing[by]])
    return turns[pairs]


def _places_in_group(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64[n]: 0, 1, 2 … within each run of equal values."""
    places = np.arange(len(groups))
    starts = np.diff(groups, prepend=groups[:1] - 1) != 0
    return places - np.maximum.accumulate(np.where(starts, places, 0))
