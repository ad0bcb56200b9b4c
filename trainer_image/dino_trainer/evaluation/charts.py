"""The charts of an evaluation's report, as plotly figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from dino_trainer.scoring.statistics import (
    AT_50,
    AT_75,
    RECALLS,
    THRESHOLDS,
    ClassScore,
    Statistics,
)

_MAIN, _SECOND, _THIRD = "#1f4e8c", "#c98a1b", "#2c7a4b"
_LAYOUT = {"template": "plotly_white", "height": 460, "margin": {"l": 60, "r": 20, "t": 20}}
# More curves than this at once are a thicket: the rest is shown at a click in the legend.
_SHOWN = 8
# More rows than this cannot be read: the page lists the largest confusions instead.
LARGEST_TABLE = 40


def precision_recall(statistics: Statistics) -> go.Figure:
    """Precision over recall: the mean of all classes at three overlaps, and each class at 0.5."""
    figure = go.Figure()
    for name, values, colour in (
        ("all, IoU 0.50", statistics.curves[AT_50], _MAIN),
        ("all, IoU 0.75", statistics.curves[AT_75], _SECOND),
        ("all, IoU 0.50 to 0.95", statistics.curves.mean(axis=0), _THIRD),
    ):
        line = {"color": colour, "width": 3}
        figure.add_scatter(x=RECALLS, y=values.round(4), mode="lines", name=name, line=line)
    for one, visible in _by_size(statistics.classes):
        figure.add_scatter(
            x=RECALLS,
            y=one.curve.round(4),
            mode="lines",
            name=one.name,
            visible=visible,
            line={"width": 1},
        )
    axis = {"range": [0, 1.02]}
    return figure.update_layout(
        _LAYOUT, xaxis_title="recall", yaxis_title="precision", yaxis=axis, xaxis=axis
    )


def f1_by_threshold(statistics: Statistics) -> go.Figure:
    """F1 over the threshold: of all boxes, and of each class; the best of all is marked."""
    figure = go.Figure()
    line = {"color": _MAIN, "width": 3}
    figure.add_scatter(x=THRESHOLDS, y=statistics.f1.round(4), mode="lines", name="all", line=line)
    for one, visible in _by_size(statistics.classes):
        figure.add_scatter(
            x=THRESHOLDS,
            y=one.f1.round(4),
            mode="lines",
            name=one.name,
            visible=visible,
            line={"width": 1},
        )
    if best := statistics.best:
        figure.add_vline(x=best.threshold, line_dash="dot", annotation_text=f"{best.threshold:.3f}")
    axis = {"range": [0, 1.02]}
    return figure.update_layout(
        _LAYOUT, xaxis_title="threshold", yaxis_title="F1", yaxis=axis, xaxis={"range": [0, 1]}
    )


def _by_size(classes: Sequence[ClassScore]) -> list[tuple[ClassScore, bool | str]]:
    """Those with true boxes, the largest first, and whether each is shown from the start."""
    known = sorted((one for one in classes if one.truths), key=lambda one: -one.truths)
    return [(one, True if place < _SHOWN else "legendonly") for place, one in enumerate(known)]


def confusion(statistics: Statistics) -> go.Figure | None:
    """True class by found class: colours are shares of the row, numbers are boxes.

    None for more classes than one can read.
    """
    if len(statistics.classes) > LARGEST_TABLE:
        return None
    counts = statistics.confusion
    names = [f"{one.name} ({one.id})" for one in statistics.classes]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = go.Figure(
        go.Heatmap(
            z=shares.round(4),
            x=[*names, "not found"],
            y=[*names, "nothing there"],
            text=counts,
            texttemplate="%{text}",
            colorscale="Blues",
            zmin=0,
            zmax=1,
            hovertemplate="is %{y}, found as %{x}: %{text} (%{z:.1%})<extra></extra>",
        )
    )
    side = 160 + 34 * len(counts)
    return figure.update_layout(
        {**_LAYOUT, "height": max(360, side)},
        xaxis_title="found as",
        yaxis_title="is",
        yaxis_autorange="reversed",
    )
