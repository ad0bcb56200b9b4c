"""All numbers of an evaluation but the twelve statistics, from arrays.

Shapes: t 10 overlaps (IoU 0.50, 0.55 … 0.95), r 101 recalls (0, 0.01 … 1), c classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dino_trainer.scoring.detection import MOST_DETECTIONS
from dino_trainer.scoring.matching import NOBODY, BoxSet
from dino_trainer.scoring.operating import OperatingPoint, ThresholdCounts
from dino_trainer.scoring.verdict import (
    ConfusionMatrix,
    Hits,
    Mistakes,
    Verdict,
    confusion_matrix,
    hits,
    judge,
    mistakes,
)

RECALLS = np.linspace(0, 1, 101)
THRESHOLDS = np.linspace(0, 1, 101)
AT_50, AT_75 = 0, 5


@dataclass(frozen=True)
class PrecisionRecall:
    """What pycocotools' accumulate() leaves, for boxes of all sizes and the most detections.

    precision: float64[t, r, c]. recall: float64[t, c]. -1 in both for classes without a true box.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]

    @classmethod
    def of(cls, evaluated: Mapping[str, NDArray[np.float64]]) -> PrecisionRecall:
        """Takes the arrays of pycocotools, which have sizes and numbers of detections last."""
        return cls(
            np.asarray(evaluated["precision"])[:, :, :, 0, -1],
            np.asarray(evaluated["recall"])[:, :, 0, -1],
        )

    def overall(self) -> NDArray[np.float64]:
        """The mean float64[t, r] of the classes that have a true box; zeros without any."""
        known = (self.precision > -1).all(axis=(0, 1))
        if not known.any():
            return np.zeros(self.precision.shape[:2])
        mean: NDArray[np.float64] = self.precision[:, :, known].mean(axis=2)
        return mean


@dataclass(frozen=True)
class ClassScore:
    """One class. AP, AP50, AP75 and AR (at the most detections) are None without a true box.

    truths: true boxes, crowds left out. best: at the threshold with the largest F1, None where
    nothing was found. used: at the threshold of the whole evaluation.
    curve: precision at RECALLS at IoU 0.5. f1: F1 at THRESHOLDS.
    """

    id: int
    name: str
    truths: int
    ap: float | None
    ap50: float | None
    ap75: float | None
    ar: float | None
    best: OperatingPoint | None
    used: OperatingPoint
    curve: NDArray[np.float64]
    f1: NDArray[np.float64]


@dataclass(frozen=True)
class Statistics:
    """All numbers of an evaluation but COCO's twelve.

    best: the threshold for all classes together with the largest F1 (of all boxes, not a mean).
    threshold: what `used`, `confusion`, `verdict` and `mistakes` are about: the given one, or best.
    curves: float64[t, r], the mean of the classes. f1: F1 at THRESHOLDS of all classes together.
    confusion: true by found classes, by their places in `classes`.
    """

    classes: tuple[ClassScore, ...]
    best: OperatingPoint | None
    used: OperatingPoint
    curves: NDArray[np.float64]
    f1: NDArray[np.float64]
    confusion: ConfusionMatrix
    verdict: Verdict
    mistakes: Mistakes

    @property
    def threshold(self) -> float:
        return self.used.threshold


@dataclass(frozen=True)
class Truth:
    """What there is to find: the true boxes of the scored classes in so many images.

    names: of those classes by category id, sorted by id.
    """

    boxes: BoxSet
    names: Mapping[int, str]
    images: int


def detection_statistics(
    detections: BoxSet,
    truth: Truth,
    accumulated: PrecisionRecall,
    threshold: float | None = None,
    most: int = MOST_DETECTIONS,
) -> Statistics:
    """Judges boxes that all belong to classes of `truth`, whose order is that of `accumulated`.

    threshold: None takes the one with the largest F1; 0.5 where nothing right was found.
    most: detections of a class in an image that count.
    """
    class_ids = np.array(list(truth.names), np.int64)
    matched = hits(detections, truth.boxes, most=most)
    tallies, whole = _tallies(detections, truth.boxes, matched, class_ids)
    best = whole.best()
    if threshold is None:
        threshold = best.threshold if best else 0.5
    verdict = judge(detections, truth.boxes, matched, threshold)
    return Statistics(
        tuple(_scores(tallies, accumulated, truth.names, threshold)),
        best,
        whole.at(threshold),
        accumulated.overall(),
        whole.curve(THRESHOLDS),
        confusion_matrix(detections, truth.boxes, verdict, class_ids),
        verdict,
        mistakes(detections, truth.boxes, verdict, truth.images),
    )


def _tallies(
    detections: BoxSet, truth: BoxSet, matched: Hits, class_ids: NDArray[np.int64]
) -> tuple[list[ThresholdCounts], ThresholdCounts]:
    """Of each class, and of all together."""
    counted, partners = matched
    rows = np.flatnonzero(counted)
    rows = rows[np.argsort(detections.labels[rows], kind="stable")]
    scores, right = detections.scores[rows], partners[rows] != NOBODY
    cuts = np.searchsorted(detections.labels[rows], class_ids, side="right")[:-1]
    truths = np.searchsorted(class_ids, truth.labels[~truth.crowd])
    counts = np.bincount(truths, minlength=len(class_ids)).tolist()
    parts = zip(np.split(scores, cuts), np.split(right, cuts), counts, strict=True)
    return [ThresholdCounts.of(*part) for part in parts], ThresholdCounts.of(
        scores, right, sum(counts)
    )


def _scores(
    tallies: Sequence[ThresholdCounts],
    accumulated: PrecisionRecall,
    names: Mapping[int, str],
    threshold: float,
) -> list[ClassScore]:
    precision, recall = accumulated.precision, accumulated.recall
    scores = []
    for place, ((number, name), tally) in enumerate(zip(names.items(), tallies, strict=True)):
        own = precision[:, :, place]
        scores.append(
            ClassScore(
                id=number,
                name=name,
                truths=tally.truths,
                ap=_mean(own),
                ap50=_mean(own[AT_50]),
                ap75=_mean(own[AT_75]),
                ar=_mean(recall[:, place]),
                best=tally.best(),
                used=tally.at(threshold),
                curve=np.maximum(own[AT_50], 0),
                f1=tally.curve(THRESHOLDS),
            )
        )
    return scores


def _mean(values: NDArray[np.float64]) -> float | None:
    """None where pycocotools says -1: there is nothing to find."""
    return None if (values < 0).any() else float(values.mean())
