"""The charts of a search's report, as plotly figures."""

from __future__ import annotations

import warnings
from itertools import accumulate

import optuna
import plotly.graph_objects as go
from optuna.exceptions import ExperimentalWarning

from dino_api.resources.dinoautoml import Trial
from dino_api.search.record import SearchRecord
from dino_trainer.search_report.study import importances

_COLOURS = {
    "Succeeded": "#2c7a4b",
    "Pruned": "#c98a1b",
    "Stopped": "#888888",
    "Failed": "#b3261e",
}
_BEST, _OTHER = "#1f4e8c", "#c9d3de"
_LAYOUT = {"template": "plotly_white", "height": 380, "margin": {"l": 60, "r": 20, "t": 20}}


def over_trials(record: SearchRecord) -> go.Figure:
    """mAP50 of each trial by its state, and the best so far. Failed trials lie on the axis."""
    figure = go.Figure()
    for state, colour in _COLOURS.items():
        trials = [one for one in record.history if one.state == state]
        if trials:
            figure.add_scatter(
                x=[one.number for one in trials],
                y=[one.mAP50 or 0.0 for one in trials],
                text=[_hover(one) for one in trials],
                mode="markers",
                name=state,
                marker={"color": colour, "size": 9},
            )
    ended = [one for one in record.history if one.mAP50 is not None]
    if ended:
        figure.add_scatter(
            x=[one.number for one in ended],
            y=list(accumulate((one.mAP50 or 0.0 for one in ended), max)),
            mode="lines",
            name="best so far",
            line={"color": _BEST, "shape": "hv"},
        )
    return figure.update_layout(_LAYOUT, xaxis_title="trial", yaxis_title="mAP50")


def _hover(trial: Trial) -> str:
    drawn = [f"{path} = {value}" for path, value in trial.parameters.items()]
    return "<br>".join([trial.name, *(drawn or ["the defaults"])])


def parallel_coordinates(study: optuna.Study) -> go.Figure | None:
    """A line for each trial through its values; None where fewer than two have results."""
    if len(study.trials) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        figure = optuna.visualization.plot_parallel_coordinate(study, target_name="mAP50")
    return figure.update_layout(title=None, height=480, margin={"l": 90, "r": 60, "t": 60})


def importance(study: optuna.Study) -> go.Figure | None:
    """How much of what makes a trial good each parameter explains; None with too few trials."""
    shares = importances(study)
    if not shares:
        return None
    ordered = sorted(shares.items(), key=lambda pair: pair[1])
    figure = go.Figure(
        go.Bar(
            x=[share for _, share in ordered],
            y=[path for path, _ in ordered],
            orientation="h",
            marker={"color": _BEST},
        )
    )
    height = 120 + 32 * len(ordered)
    return figure.update_layout(_LAYOUT, height=height, margin_l=220, xaxis_tickformat=".0%")


def learning_curves(record: SearchRecord) -> go.Figure | None:
    """mAP50 by validation: the best trial before all others; None where no curve is known."""
    best = record.best.number if record.best else None
    known = [one for one in record.history if one.curve]
    if not known:
        return None
    figure = go.Figure()
    for one in sorted(known, key=lambda trial: trial.number == best):
        is_best = one.number == best
        figure.add_scatter(
            x=list(range(1, len(one.curve) + 1)),
            y=one.curve,
            mode="lines+markers" if is_best else "lines",
            name=f"{one.name} (best)" if is_best else one.name,
            line={"color": _BEST if is_best else _OTHER, "width": 3 if is_best else 1},
            showlegend=is_best,
        )
    return figure.update_layout(_LAYOUT, xaxis_title="validation", yaxis_title="mAP50")
