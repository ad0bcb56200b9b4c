"""report.html of an evaluation: what its template shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dino_api import metric
from dino_api.result import Metrics
from dino_trainer.evaluation import charts
from dino_trainer.pages import chart, render
from dino_trainer.scoring.operating import OperatingPoint
from dino_trainer.scoring.statistics import ClassScore, Statistics

_HEAD = (
    "id",
    "class",
    "boxes",
    "AP",
    "AP50",
    "AP75",
    "AR100",
    "best threshold",
    "F1 there",
    "precision there",
    "recall there",
)
_ROWS = (
    ("mAP", "AP, IoU 0.50 to 0.95"),
    ("mAP50", "AP50"),
    ("mAP75", "AP75"),
    ("mAPSmall", "AP, small boxes"),
    ("mAPMedium", "AP, medium boxes"),
    ("mAPLarge", "AP, large boxes"),
    ("AR1", "recall, 1 detection"),
    ("AR10", "recall, 10 detections"),
    ("AR100", "recall, 100 detections"),
    ("ARSmall", "recall, small boxes"),
    ("ARMedium", "recall, medium boxes"),
    ("ARLarge", "recall, large boxes"),
)
_CONFUSIONS = 20


@dataclass(frozen=True)
class MistakePicture:
    """A picture of an image with mistakes, a JPEG, and how many of each kind it has."""

    name: str
    jpeg: bytes
    right: int
    missed: int
    false: int
    confused: int


def evaluation_page(
    verdict: str,
    warnings: Sequence[str],
    metrics: Metrics,
    statistics: Statistics,
    shown: Sequence[MistakePicture],
) -> str:
    """The whole page; plotly's script is in it, so that it opens anywhere (5 MB).

    verdict: what was evaluated on what, in a sentence or two.
    """
    figure = charts.confusion(statistics)
    return render(
        "evaluation",
        verdict=verdict,
        warnings=warnings,
        metrics=[(name, _share(getattr(metrics, field))) for field, name in _ROWS],
        heads=_HEAD,
        classes=[_all(statistics), *map(_class, statistics.classes)],
        precision_recall=chart(charts.precision_recall(statistics), script=True),
        best=_thresholds(statistics),
        f1_by_threshold=chart(charts.f1_by_threshold(statistics)),
        threshold=statistics.threshold,
        confusion="" if figure is None else chart(figure),
        confusions=list(_confusions(statistics)),
        shown=shown,
    )


def _all(statistics: Statistics) -> Sequence[str]:
    boxes = sum(one.truths for one in statistics.classes)
    return ("", "all together", f"{boxes:,}", "", "", "", "", *_point(statistics.best))


def _class(one: ClassScore) -> Sequence[str]:
    shares = map(_share, (one.ap, one.ap50, one.ap75, one.ar))
    return (str(one.id), one.name, f"{one.truths:,}", *shares, *_point(one.best))


def _point(point: OperatingPoint | None) -> tuple[str, str, str, str]:
    if point is None:
        return "", "", "", ""
    return (
        f"{point.threshold:.3f}",
        f"{point.f1:.3f}",
        f"{point.precision:.3f}",
        f"{point.recall:.3f}",
    )


def _thresholds(statistics: Statistics) -> str:
    used, best = statistics.used, statistics.best
    sentence = (
        f"At {used.threshold:.3f} precision is {used.precision:.3f}, recall {used.recall:.3f} and "
        f"F1 {used.f1:.3f}."
    )
    if best is None:
        return f"No detection is right, so that no threshold is the best one. {sentence}"
    if best.threshold == used.threshold:
        return f"{sentence} No other threshold has a larger F1."
    return f"{sentence} F1 is largest at {best.threshold:.3f}: {best.f1:.3f}."


def _confusions(statistics: Statistics) -> Iterator[tuple[str, str, str]]:
    """True class, found class, boxes: the most frequent mistakes first."""
    counts = statistics.confusion[:-1, :-1].copy()
    np.fill_diagonal(counts, 0)
    for at in np.argsort(-counts, axis=None, kind="stable")[:_CONFUSIONS]:
        true, predicted = divmod(int(at), len(counts))
        if count := int(counts[true, predicted]):
            names = statistics.classes[true].name, statistics.classes[predicted].name
            yield *names, f"{count:,}"


def _share(value: float | None) -> str:
    return "" if value is None or value < 0 else metric.text(value)
