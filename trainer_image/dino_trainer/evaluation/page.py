"""report.html of an evaluation: what its template shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dino_api import metric
from dino_api.result import Metrics
from dino_trainer.evaluation import charts
from dino_trainer.evaluation.pictures import WORST
from dino_trainer.pages import PageHead, render
from dino_trainer.pages.gallery import Gallery
from dino_trainer.pages.plot import sparkline
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
    "curve",
    "images",
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


def evaluation_page(
    verdict: str,
    warnings: Sequence[str],
    metrics: Metrics,
    statistics: Statistics,
    gallery: Gallery,
) -> str:
    """The whole page.

    verdict: what was evaluated on what, in a sentence or two. gallery: of the worst images.
    """
    used = statistics.used
    facts = (
        ("mAP50", _share(metrics.mAP50)),
        ("mAP", _share(metrics.mAP)),
        ("precision", f"{used.precision:.3f}"),
        ("recall", f"{used.recall:.3f}"),
        ("F1", f"{used.f1:.3f}"),
    )
    return render(
        "evaluation",
        PageHead("dino evaluate", "Evaluation", verdict, warnings=warnings, facts=facts),
        gallery,
        metrics=list(_statistics(metrics)),
        heads=_HEAD,
        classes=[(_all(statistics), "", []), *(_row(one, gallery) for one in statistics.classes)],
        precision_recall=charts.precision_recall(statistics),
        best=_thresholds(statistics),
        f1_by_threshold=charts.f1_by_threshold(statistics),
        threshold=statistics.threshold,
        matrix=charts.confusion(statistics),
        confusions=list(_confusions(statistics, gallery)),
        worst=WORST,
    )


def _statistics(metrics: Metrics) -> Iterator[tuple[str, str, float]]:
    """Name, text and share of each of COCO's twelve."""
    for field, name in _ROWS:
        value = getattr(metrics, field)
        yield name, _share(value), value or 0.0


def _row(one: ClassScore, gallery: Gallery) -> tuple[Sequence[str], str, list[int]]:
    """The numbers of a class, its curve, and its images."""
    return _class(one), sparkline(one.curve.tolist()) if one.truths else "", gallery.about(one.name)


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


def _confusions(
    statistics: Statistics, gallery: Gallery
) -> Iterator[tuple[str, str, int, list[int]]]:
    """True class, found class, boxes, images: the most frequent mistakes first."""
    for true, predicted, count in statistics.confusion.most_frequent(_CONFUSIONS):
        is_a, found_as = statistics.classes[true], statistics.classes[predicted]
        yield is_a.name, found_as.name, count, gallery.about((is_a.id, found_as.id))


def _share(value: float | None) -> str:
    return "" if value is None or value < 0 else metric.text(value)
