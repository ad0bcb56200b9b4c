"""report.html of an evaluation: one file that needs no other, and in which every name is text."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from dino_api.result import Metrics
from dino_trainer.evaluation import charts
from dino_trainer.evaluation.operating import Point
from dino_trainer.evaluation.statistics import ClassScore, Statistics

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:78rem;padding:0 1rem;color:#222}
table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem;font-size:.92em}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}
th.n,td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
tr.all{background:#eef4ea;font-weight:600}
.verdict{padding:.6rem 1rem;border-radius:.4rem;background:#eef4ea}
.warning{color:#8a5a00}
.pictures{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0;max-width:38rem}
figcaption{font-size:.9em;overflow-wrap:anywhere}img{max-width:100%}
.right{color:#007a5a}.confused{color:#96690a}.false{color:#b04c00}.missed{color:#1b6fa8}
"""
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
class Shown:
    """A picture of an image with mistakes, a JPEG, and how many of each kind it has."""

    name: str
    jpeg: bytes
    right: int
    missed: int
    false: int
    confused: int


def page(
    verdict: str,
    warnings: Sequence[str],
    metrics: Metrics,
    statistics: Statistics,
    shown: Sequence[Shown],
) -> str:
    """The whole page; plotly's script is in it, so that it opens anywhere (5 MB).

    verdict: what was evaluated on what, in a sentence or two.
    """
    body = "".join(_parts(verdict, warnings, metrics, statistics, shown))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>dino evaluate</title><style>{_STYLE}</style></head><body>\n{body}</body></html>\n"
    )


def _parts(
    verdict: str,
    warnings: Sequence[str],
    metrics: Metrics,
    statistics: Statistics,
    shown: Sequence[Shown],
) -> Iterator[str]:
    yield f'<h1>Evaluation</h1><p class="verdict">{escape(verdict)}</p>'
    yield "".join(f'<p class="warning">Warning: {escape(text)}</p>' for text in warnings)
    yield "<h2>COCO statistics</h2>"
    values = ((name, getattr(metrics, field)) for field, name in _ROWS)
    yield _table(("statistic", "value"), ((name, _share(value)) for name, value in values), 1)
    yield from _classes(statistics)
    yield "<h2>Precision and recall</h2>"
    yield "<p>Of single classes at IoU 0.50; a click in the legend shows or hides a curve.</p>"
    yield charts.precision_recall(statistics).to_html(full_html=False, include_plotlyjs="inline")
    yield f"<h2>F1 by threshold</h2><p>{escape(_said(statistics))}</p>"
    yield charts.f1_by_threshold(statistics).to_html(full_html=False, include_plotlyjs=False)
    yield from _confusions(statistics)
    yield from _pictures(shown, statistics.threshold)


def _classes(statistics: Statistics) -> Iterator[str]:
    yield "<h2>Classes</h2><p>The best threshold is the one with the largest F1 at IoU 0.50.</p>"
    boxes = sum(one.truths for one in statistics.classes)
    whole = ("", "all together", f"{boxes:,}", "", "", "", "", *_point(statistics.best))
    yield _table(_HEAD, [whole, *map(_class, statistics.classes)], 2, first="all")


def _class(one: ClassScore) -> Sequence[str]:
    shares = map(_share, (one.ap, one.ap50, one.ap75, one.ar))
    return (str(one.id), one.name, f"{one.truths:,}", *shares, *_point(one.best))


def _point(point: Point | None) -> tuple[str, str, str, str]:
    if point is None:
        return "", "", "", ""
    return (
        f"{point.threshold:.3f}",
        f"{point.f1:.3f}",
        f"{point.precision:.3f}",
        f"{point.recall:.3f}",
    )


def _said(statistics: Statistics) -> str:
    used, best = statistics.used, statistics.best
    said = (
        f"At {used.threshold:.3f} precision is {used.precision:.3f}, recall {used.recall:.3f} and "
        f"F1 {used.f1:.3f}."
    )
    if best is None:
        return f"No detection is right, so that no threshold is the best one. {said}"
    if best.threshold == used.threshold:
        return f"{said} No other threshold has a larger F1."
    return f"{said} F1 is largest at {best.threshold:.3f}: {best.f1:.3f}."


def _confusions(statistics: Statistics) -> Iterator[str]:
    yield (
        f"<h2>Confusions</h2><p>Detections that score at least {statistics.threshold:.3f}, at IoU "
        "0.50. Crowds count as neither.</p>"
    )
    figure = charts.confusion(statistics)
    if figure is not None:
        yield figure.to_html(full_html=False, include_plotlyjs=False)
    counts = statistics.confusion[:-1, :-1].copy()
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:_CONFUSIONS]
    pairs = [(*divmod(int(at), len(counts)), int(counts.flat[at])) for at in order]
    rows = [
        (statistics.classes[true].name, statistics.classes[found].name, f"{count:,}")
        for true, found, count in pairs
        if count
    ]
    if rows:
        yield _table(("is", "found as", "boxes"), rows, 2)
    else:
        yield "<p>No object was found as one of another class.</p>"


def _pictures(shown: Sequence[Shown], threshold: float) -> Iterator[str]:
    yield "<h2>Images with most mistakes</h2>"
    if not shown:
        yield "<p>There is no mistake in any image.</p>"
        return
    yield (
        "<p>A mistake is an object that is missed, a detection of nothing, or an object found as "
        f"one of another class, at threshold {threshold:.3f}. Of images with equally many, those "
        "in which less is right come first.</p>"
        '<div class="pictures">'
    )
    for one in shown:
        data = base64.b64encode(one.jpeg).decode()
        kinds = ("right", "missed", "false", "confused")
        counts = (f'<span class="{kind}">{getattr(one, kind)} {kind}</span>' for kind in kinds)
        yield (
            f'<figure><img alt="{escape(one.name)}" src="data:image/jpeg;base64,{data}">'
            f"<figcaption>{escape(one.name)}: {', '.join(counts)}</figcaption></figure>\n"
        )
    yield "</div>"


def _share(value: float | None) -> str:
    return "" if value is None or value < 0 else f"{value:.4f}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], texts: int, first: str = "") -> str:
    """texts: how many columns are texts, the rest numbers. first: the class of the first row."""
    kinds = iter([f' class="{first}"'] if first else [])
    body = "".join(f"<tr{next(kinds, '')}>{_cells('td', row, texts)}</tr>\n" for row in rows)
    return f"<table><tr>{_cells('th', heads, texts)}</tr>\n{body}</table>\n"


def _cells(tag: str, values: Sequence[str], texts: int) -> str:
    kinds = ("" if place < texts else ' class="n"' for place in range(len(values)))
    pairs = zip(kinds, values, strict=True)
    return "".join(f"<{tag}{kind}>{escape(text)}</{tag}>" for kind, text in pairs)
