"""The charts of a search's report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

from dino_api import metric
from dino_api.resources.dinoautoml import SearchParameter, TrialRecord, Value
from dino_api.search.record import SearchRecord
from dino_trainer.pages.plot import Axis, Curve, Plot

# The tone of each state's points.
_TONES = {"Succeeded": 2, "Pruned": 1, "Stopped": 6, "Failed": 4}
_BEST, _OTHER = 0, 5


def over_trials(record: SearchRecord) -> Plot:
    """mAP50 of each trial by its state, and the best so far. Failed trials lie on the axis; those
    that ended before their first validation have no place."""
    curves = []
    ended = [one for one in record.history if one.mAP50 is not None]
    if ended:
        best = list(accumulate((one.mAP50 or 0.0 for one in ended), max))
        numbers = [one.number for one in ended]
        curves.append(Curve("best so far", numbers, best, _BEST, thick=True, step=True))
    for state in _TONES:
        placed = record.history if state == "Failed" else ended
        trials = [one for one in placed if one.state == state]
        if trials:
            curves.append(_points(state, [(one.number, one) for one in trials], _TONES[state]))
    numbers = [one.number for one in record.history] or [0]
    x = Axis("trial", min(numbers) - 0.5, max(numbers) + 0.5, whole=True)
    return Plot("mAP50 over trials", x, _score_axis(record.history), curves)


def _points(name: str, trials: Sequence[tuple[float, TrialRecord]], tone: int) -> Curve:
    xs, ones = [x for x, _ in trials], [one for _, one in trials]
    scores = [one.mAP50 or 0.0 for one in ones]
    return Curve(name, xs, scores, tone, points=True, texts=[_text(one) for one in ones])


def _text(trial: TrialRecord) -> str:
    drawn = [f"{path} = {value}" for path, value in trial.parameters.items()]
    score = "" if trial.mAP50 is None else f", mAP50 {metric.text(trial.mAP50)}"
    return "\n".join([f"{trial.name}{score}", *(drawn or ["the defaults"])])


def _score_axis(trials: Sequence[TrialRecord]) -> Axis:
    """From 0 to a little above the best score."""
    scores = [score for one in trials for score in (one.mAP50 or 0.0, *one.curve)]
    return Axis("mAP50", 0, max([*scores, 0.01]) * 1.05)


def searched_values(record: SearchRecord, defaults: dict[str, Value]) -> Iterator[tuple[str, Plot]]:
    """Of each searched key the score of each trial over its value; none of fewer than two."""
    ended = [one for one in record.history if one.mAP50 is not None]
    for parameter in record.space if len(ended) > 1 else ():
        path = parameter.path
        values = [(one, one.parameters.get(path, defaults.get(path))) for one in ended]
        known = [(one, value) for one, value in values if value is not None]
        if known:
            yield path, _over_values(parameter, known, record)


def _over_values(
    parameter: SearchParameter, trials: Sequence[tuple[TrialRecord, Value]], record: SearchRecord
) -> Plot:
    axis, place = _value_axis(parameter, [value for _, value in trials])
    best = record.best.number if record.best else None
    curves = [
        _points(
            name,
            [(place(value), one) for one, value in trials if (one.number == best) == own],
            tone,
        )
        for name, own, tone in (("trials", False, _OTHER), ("best", True, _BEST))
    ]
    ended = [one for one, _ in trials]
    label = f"mAP50 over {parameter.path}"
    return Plot(label, axis, _score_axis(ended), [one for one in curves if one.xs], legend=False)


def _value_axis(
    parameter: SearchParameter, values: Sequence[Value]
) -> tuple[Axis, Callable[[Value], float]]:
    """The axis of a key, and where each value lies on it: words in the order of their choices."""
    if parameter.choices is not None:
        words = list(dict.fromkeys(str(one) for one in (*parameter.choices, *values)))
        ticks = [(place, word) for place, word in enumerate(words)]
        axis = Axis("", -0.5, len(words) - 0.5, ticks=ticks)
        return axis, lambda value: words.index(str(value))
    ends = [parameter.min or 0.0, parameter.max or 0.0, *map(float, values)]
    log = parameter.scale == "log" and min(ends) > 0
    return Axis("", min(ends), max(ends), log=log), float


def learning_curves(record: SearchRecord) -> Plot | None:
    """mAP50 by validation: the best trial before all others; None where no curve is known."""
    best = record.best.number if record.best else None
    known = [one for one in record.history if one.curve]
    if not known:
        return None
    curves = [
        Curve(
            f"{one.name} (best)" if one.number == best else one.name,
            range(1, len(one.curve) + 1),
            one.curve,
            _BEST if one.number == best else _OTHER,
            thick=one.number == best,
        )
        for one in sorted(known, key=lambda trial: trial.number == best)
    ]
    x = Axis("validation", 1, max(2, *(len(one.curve) for one in known)), whole=True)
    return Plot("Learning curves", x, _score_axis(known), curves, legend=False)
