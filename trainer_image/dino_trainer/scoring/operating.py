"""Precision, recall and F1 of a detector that shows what scores at least a threshold.

Shapes: n detections, k different scores among them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, and what holds with it. Shares are 0..1; 0 where nothing was found at all."""

    threshold: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class ThresholdCounts:
    """Right and wrong detections by threshold.

    thresholds: float64[k], every score that occurs, the highest first. right, wrong: int64[k],
    detections with at least that score. truths: true boxes, crowds left out.
    """

    thresholds: NDArray[np.float64]
    right: NDArray[np.int64]
    wrong: NDArray[np.int64]
    truths: int

    @classmethod
    def of(
        cls, scores: NDArray[np.float64], hits: NDArray[np.bool_], truths: int
    ) -> ThresholdCounts:
        """Counts detections in any order. hits: bool[n], whether each found a true box."""
        order = np.argsort(-scores, kind="stable")
        scores = scores[order]
        right = np.cumsum(hits[order], dtype=np.int64)
        last = np.append(np.diff(scores) != 0, np.ones(min(len(scores), 1), np.bool_))
        ends = np.flatnonzero(last)  # of equal scores all count, or none
        return cls(scores[ends], right[ends], ends + 1 - right[ends], truths)

    @property
    def f1(self) -> NDArray[np.float64]:
        """F1, float64[k]: twice the right ones as a share of all detections and all true boxes."""
        f1: NDArray[np.float64] = (
            2 * self.right / np.maximum(self.right + self.wrong + self.truths, 1)
        )
        return f1

    def best(self) -> OperatingPoint | None:
        """The highest threshold with the largest F1; None where nothing right was found."""
        if not self.truths or not self.right[-1:].any():
            return None
        return self._point(int(np.argmax(self.f1)))

    def at(self, threshold: float) -> OperatingPoint:
        """What holds with `threshold`, which need not be a score that occurs."""
        shown = int(np.searchsorted(-self.thresholds, -threshold, side="right"))
        if not shown:
            return OperatingPoint(threshold, 0.0, 0.0, 0.0)
        point = self._point(shown - 1)
        return OperatingPoint(threshold, point.precision, point.recall, point.f1)

    def curve(self, thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
        """F1 at each of `thresholds`."""
        shown = np.searchsorted(-self.thresholds, -thresholds, side="right")
        return np.concatenate([[0.0], self.f1])[shown]

    def _point(self, place: int) -> OperatingPoint:
        right, wrong = int(self.right[place]), int(self.wrong[place])
        return OperatingPoint(
            float(self.thresholds[place]),
            right / (right + wrong),
            right / self.truths if self.truths else 0.0,
            float(self.f1[place]),
        )
