"""What is right and what is wrong with the detections that score at least a threshold.

A detection is first matched within its class, as COCO does: those matches are the right ones. What
is left over is then matched across classes: an object that was found and given another name is one
mistake, a confusion, and neither missed nor invented. Detections of an object whose class is marked
as a crowd there count as neither. Shapes: n detections, m true boxes, i images, c classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dino_trainer.scoring.detection import MOST_DETECTIONS
from dino_trainer.scoring.matching import NOBODY, BoxSet, among_best, match_boxes


class DetectionKind(IntEnum):
    """What a detection is."""

    HIDDEN = 0  # below the threshold, or not among the best of its class that are scored
    CROWD = 1
    RIGHT = 2
    CONFUSED = 3
    FALSE = 4


@dataclass(frozen=True)
class Verdict:
    """What each detection is, and which true boxes nobody found.

    kinds: int64[n], a DetectionKind each. partners: int64[n], true boxes, or NOBODY. missed:
    bool[m].
    """

    kinds: NDArray[np.int64]
    partners: NDArray[np.int64]
    missed: NDArray[np.bool_]


Hits = tuple[NDArray[np.bool_], NDArray[np.int64]]


def hits(detections: BoxSet, truth: BoxSet, iou: float = 0.5, most: int = MOST_DETECTIONS) -> Hits:
    """Decides for all thresholds which detections count, bool[n], and whom each found, int64[n].

    most: that many of a class in an image count, the best ones.

    Better detections choose first, so what scores less changes nothing about them.
    """
    scored = among_best(detections, most)
    partners = np.full(len(detections), NOBODY)
    partners[scored] = match_boxes(detections.at(scored), truth, iou)
    in_crowd = np.append(truth.crowd, False)[partners]  # the last place is NOBODY's
    return scored & ~in_crowd, partners


def judge(
    detections: BoxSet, truth: BoxSet, within: Hits, threshold: float, iou: float = 0.5
) -> Verdict:
    """Every detection and every true box in its place.

    within: the `hits` of both at that `iou`, which hold for all thresholds.
    """
    counted, partners = within
    shown = detections.scores >= threshold
    partners = np.where(shown, partners, NOBODY)
    kinds = np.full(len(detections), DetectionKind.HIDDEN)
    kinds[shown & ~counted & (partners != NOBODY)] = DetectionKind.CROWD
    shown &= counted
    kinds[shown] = np.where(partners[shown] != NOBODY, DetectionKind.RIGHT, DetectionKind.FALSE)
    missed = ~truth.crowd
    missed[partners[kinds == DetectionKind.RIGHT]] = False

    rest, lost = np.flatnonzero(kinds == DetectionKind.FALSE), np.flatnonzero(missed)
    across = match_boxes(detections.at(rest), truth.at(lost), iou, same_class=False)
    confused = across != NOBODY
    kinds[rest[confused]] = DetectionKind.CONFUSED
    partners[rest[confused]] = lost[across[confused]]
    missed[lost[across[confused]]] = False
    return Verdict(kinds, partners, missed)


@dataclass(frozen=True)
class ConfusionMatrix:
    """How often an object of one class was found as one of another: the entries that are not 0.

    A table of 10,000 classes would take 800 MB, nearly all of it zeros.

    classes: c. rows, columns: int64[k], places of the true and the found class, row after row; c is
    the background: there is nothing, or nothing was found. counts: int64[k].
    """

    classes: int
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, classes: int, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Self:
        """Counts pairs of a true and a found class."""
        keys, counts = np.unique(rows * (classes + 1) + columns, return_counts=True)
        true, detected = np.divmod(keys, classes + 1)
        return cls(classes, true, detected, counts)

    def table(self) -> NDArray[np.int64]:
        """All of it, int64[c + 1, c + 1]; for few classes."""
        table = np.zeros((self.classes + 1, self.classes + 1), np.int64)
        table[self.rows, self.columns] = self.counts
        return table

    def most_frequent(self, most: int) -> list[tuple[int, int, int]]:
        """True class, found class and count of up to `most` confusions, the most frequent first."""
        classes = (self.rows < self.classes) & (self.columns < self.classes)
        other = np.flatnonzero(classes & (self.rows != self.columns))
        first = other[np.argsort(-self.counts[other], kind="stable")[:most]]
        places = zip(self.rows[first].tolist(), self.columns[first].tolist(), strict=True)
        counts = self.counts[first].tolist()
        return [(*pair, count) for pair, count in zip(places, counts, strict=True)]


def confusion_matrix(
    detections: BoxSet, truth: BoxSet, verdict: Verdict, class_ids: NDArray[np.int64]
) -> ConfusionMatrix:
    """Counts what was found as what.

    class_ids: sorted, all that occur. Each true box that is no crowd is in one row, each detection
    that counts in one column, so that the diagonal holds the right ones of each class.
    """
    background = len(class_ids)
    predicted = np.searchsorted(class_ids, detections.labels)
    is_a = np.searchsorted(class_ids, truth.labels)
    paired = np.isin(verdict.kinds, (DetectionKind.RIGHT, DetectionKind.CONFUSED))
    false, missed = predicted[verdict.kinds == DetectionKind.FALSE], is_a[verdict.missed]
    rows = [is_a[verdict.partners[paired]], np.full(len(false), background), missed]
    columns = [predicted[paired], false, np.full(len(missed), background)]
    return ConfusionMatrix.of(background, np.concatenate(rows), np.concatenate(columns))


def mistaken(
    detections: BoxSet, truth: BoxSet, verdict: Verdict
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Image and class of every mistake, int64 each; an object of a wrong name is one of both."""
    false = verdict.kinds == DetectionKind.FALSE
    confused = verdict.kinds == DetectionKind.CONFUSED
    images = [truth.images[verdict.missed], detections.images[false]]
    labels = [truth.labels[verdict.missed], detections.labels[false]]
    images += [detections.images[confused]] * 2
    labels += [detections.labels[confused], truth.labels[verdict.partners[confused]]]
    return np.concatenate(images), np.concatenate(labels)


def confused_at(
    place: int, detections: BoxSet, truth: BoxSet, verdict: Verdict
) -> set[tuple[int, int]]:
    """True and found class of each confusion on an image."""
    own = (detections.images == place) & (verdict.kinds == DetectionKind.CONFUSED)
    is_a, found_as = truth.labels[verdict.partners[own]], detections.labels[own]
    return set(zip(is_a.tolist(), found_as.tolist(), strict=True))


@dataclass(frozen=True)
class Mistakes:
    """Counts by image, int64[i]: right detections, and the three kinds of mistakes."""

    right: NDArray[np.int64]
    missed: NDArray[np.int64]
    false: NDArray[np.int64]
    confused: NDArray[np.int64]

    @property
    def all(self) -> NDArray[np.int64]:
        """Counts int64[i] the mistakes of each image."""
        return self.missed + self.false + self.confused

    def worst(self, most: int) -> NDArray[np.int64]:
        """Up to `most` images with mistakes, int64: those with most of them first.

        A missed object, a detection of nothing and an object under a wrong name count one each. Of
        equals the one with fewer right detections comes first, then the earlier one.
        """
        order = np.lexsort((self.right, -self.all))[:most]
        return order[self.all[order] > 0]


def mistakes(detections: BoxSet, truth: BoxSet, verdict: Verdict, images: int) -> Mistakes:
    """Counts by image, for `images` of them."""

    def count(kind: DetectionKind) -> NDArray[np.int64]:
        return np.bincount(detections.images[verdict.kinds == kind], minlength=images)

    missed = np.bincount(truth.images[verdict.missed], minlength=images)
    return Mistakes(
        count(DetectionKind.RIGHT),
        missed,
        count(DetectionKind.FALSE),
        count(DetectionKind.CONFUSED),
    )
