"""The charts of an evaluation's report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dino_trainer.pages.plot import Axis, Curve, Plot
from dino_trainer.scoring.statistics import (
    AT_50,
    AT_75,
    RECALLS,
    THRESHOLDS,
    ClassScore,
    Statistics,
)

# More curves than this at once are a thicket: each class has a small one of its own in the table.
_SHOWN = 6
# More rows than this cannot be read: the page lists the largest confusions instead.
LARGEST_TABLE = 40
_RECALLS, _THRESHOLDS = RECALLS.tolist(), THRESHOLDS.tolist()
_PRECISION, _RECALL = Axis("precision", 0, 1), Axis("recall", 0, 1)


def precision_recall(statistics: Statistics) -> list[Plot]:
    """Precision over recall: the mean of all classes at three overlaps, and classes at 0.5."""
    means = (
        ("IoU 0.50", statistics.curves[AT_50]),
        ("IoU 0.75", statistics.curves[AT_75]),
        ("IoU 0.50 to 0.95", statistics.curves.mean(axis=0)),
    )
    overlaps = [
        Curve(f"all, {name}", _RECALLS, values.tolist(), tone, thick=True)
        for tone, (name, values) in enumerate(means)
    ]
    classes = [
        Curve(one.name, _RECALLS, one.curve.tolist(), tone)
        for tone, one in enumerate(_largest(statistics.classes))
    ]
    plots = [Plot("Precision over recall, all classes", _RECALL, _PRECISION, overlaps)]
    if classes:
        plots.append(Plot("Precision over recall, by class", _RECALL, _PRECISION, classes))
    return plots


def f1_by_threshold(statistics: Statistics) -> Plot:
    """F1 over the threshold: of all boxes, with the best one marked, and of the largest classes."""
    curves = [Curve("all", _THRESHOLDS, statistics.f1.tolist(), 0, thick=True)]
    for tone, one in enumerate(_largest(statistics.classes), 1):
        curves.append(Curve(one.name, _THRESHOLDS, one.f1.tolist(), tone))
    best = statistics.best
    rule = (best.threshold, f"best {best.threshold:.3f}") if best else None
    return Plot("F1 by threshold", Axis("threshold", 0, 1), Axis("F1", 0, 1), curves, rule=rule)


def _largest(classes: Sequence[ClassScore]) -> list[ClassScore]:
    """Those with most true boxes, the largest first."""
    return sorted((one for one in classes if one.truths), key=lambda one: -one.truths)[:_SHOWN]


def confusion(statistics: Statistics) -> dict[str, object] | None:
    """True class by found class: boxes, and their shares of the row.

    None for more classes than one can read.
    """
    if len(statistics.classes) > LARGEST_TABLE:
        return None
    counts = statistics.confusion.table()
    names = [f"{one.name} ({one.id})" for one in statistics.classes]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows = [
        (name, list(zip(own.tolist(), share.tolist(), strict=True)))
        for name, own, share in zip([*names, "nothing there"], counts, shares, strict=True)
    ]
    return {"columns": [*names, "not found"], "rows": rows}
