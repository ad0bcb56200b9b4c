"""The learning curve of a training, over all of its attempts."""

from __future__ import annotations

import json
import math
from pathlib import Path

from dino_api import metric
from dino_api.result import Metrics, Validation

LONGEST = 200
EVALUATED = "Eval metrics generated."


class ValidationCurve:
    """Validation mAP50 by epoch: the latest 200, each epoch once."""

    def __init__(self, points: list[Validation] | None = None) -> None:
        self._points = points or []

    @classmethod
    def of_status_file(cls, path: Path) -> ValidationCurve:
        """What earlier attempts noted in `status.json`; empty where there is none.

        A line that another program wrote, or that a full disk cut, is passed over.
        """
        curve = cls()
        if not path.exists():
            return curve
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if EVALUATED in line:
                curve._take(line)
        return curve

    def _take(self, line: str) -> None:
        try:
            noted = json.loads(line)
            self.add(int(noted["epoch"]), Metrics(mAP50=noted["kpi"]["val_mAP50"]))
        except (KeyError, RecursionError, TypeError, ValueError):
            return

    def add(self, epoch: int, metrics: Metrics) -> None:
        """A validation after `epoch` finished epochs.

        Points of that epoch and of later ones are dropped: they are of an attempt that went on
        from an older checkpoint.
        """
        value = metrics.mAP50
        if value is None or not math.isfinite(value):
            return
        kept = [point for point in self._points if point.epoch < epoch]
        self._points = [*kept, Validation(epoch=epoch, mAP50=metric.rounded(value))][-LONGEST:]

    @property
    def points(self) -> list[Validation] | None:
        """The points by epoch; None before the first."""
        return self._points or None
