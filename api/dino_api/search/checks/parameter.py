"""What is wrong with one parameter of a search by itself."""

from __future__ import annotations

from collections.abc import Iterator

from dino_api.experiment.paths import known_paths, nearest
from dino_api.problem import Problem
from dino_api.resources.dinoautoml import SearchParameter, Value
from dino_api.rules.search import BY_ID
from dino_api.search.assignment import typed
from dino_api.search.limits import refusal, shown
from dino_api.search.space import kind_of, unsearchable

MOST_STEPS = 1_000_000
"""Of a range: no search tells more values apart, and whoever counts them must come to an end."""


def check_parameter(one: SearchParameter, at: str) -> list[Problem]:
    """Problems of a parameter; at: where it stands, such as `spec.search[0]`."""
    if problem := _path(one.path, at):
        return [problem]
    if one.choices is not None:
        return list(_choices(one, at))
    return list(_range(one, at))


def _path(path: str, at: str) -> Problem | None:
    if path not in known_paths():
        close = nearest(path)
        remedy = f"Did you mean {' or '.join(close)}?" if close else ""
        return BY_ID["path-unknown"].problem(f"{at}.path", path, "there is no such key", remedy)
    if reason := unsearchable(path):
        return BY_ID["path-held"].problem(f"{at}.path", path, f"cannot be searched: {reason}")
    return None


def _choices(one: SearchParameter, at: str) -> Iterator[Problem]:
    if one.min is not None or one.max is not None or one.step is not None:
        must = f"{one.path} has choices and a range"
        yield BY_ID["range-or-choices"].problem(at, None, must, "Keep one of the two.")
    seen: set[Value] = set()
    for index, choice in enumerate(one.choices or ()):
        where = f"{at}.choices[{index}]"
        if reason := refusal(one.path, choice):
            yield BY_ID["choice-value"].problem(where, choice, f"{one.path} {reason}")
        elif (held := typed(one.path, choice)) in seen:
            must = f"{one.path} has this choice twice"
            yield BY_ID["choice-once"].problem(where, choice, must)
        else:
            seen.add(held)


def _range(one: SearchParameter, at: str) -> Iterator[Problem]:
    if kind_of(one.path) in ("flag", "text"):
        must = f"{one.path} is not a number, so it has no range"
        yield BY_ID["range-of-number"].problem(at, None, must)
        return
    if one.min is None or one.max is None:
        must = f"{one.path} needs min and max, or choices"
        yield BY_ID["range-or-choices"].problem(at, None, must, "Give both, or choices.")
        return
    yield from _order(one, one.min, one.max, at)
    yield from _ends(one, one.min, one.max, at)
    yield from _step(one, one.max - one.min, at)


def _order(one: SearchParameter, low: float, high: float, at: str) -> Iterator[Problem]:
    if low >= high:
        must = f"min of {one.path} must be less than its max, {shown(high)}"
        remedy = "Swap the two." if low > high else "Set it in template.experiment instead."
        yield BY_ID["range-order"].problem(f"{at}.min", low, must, remedy)
    if one.scale == "log" and low <= 0:
        must = f"min of {one.path} must be greater than 0 where scale is log"
        yield BY_ID["log-above-zero"].problem(f"{at}.min", low, must)


def _ends(one: SearchParameter, low: float, high: float, at: str) -> Iterator[Problem]:
    for name, value in (("min", low), ("max", high)):
        reason = refusal(one.path, value)
        if name == "min" and one.scale == "log" and low <= 0:
            continue  # a problem already
        if "whole" in reason:
            must = f"{name} of {one.path} {reason}"
            yield BY_ID["range-whole"].problem(f"{at}.{name}", value, must)
        elif reason:
            must = f"{name} of {one.path} {reason}"
            yield BY_ID["range-limits"].problem(f"{at}.{name}", value, must)


def _step(one: SearchParameter, width: float, at: str) -> Iterator[Problem]:
    if one.step is None:
        return
    if one.scale == "log":
        must = f"{one.path}: a step does not go with scale log"
        yield BY_ID["step-linear"].problem(f"{at}.step", one.step, must)
    elif kind_of(one.path) == "int" and one.step != int(one.step):
        must = f"step of {one.path} must be a whole number"
        yield BY_ID["range-whole"].problem(f"{at}.step", one.step, must)
    elif 0 < width < one.step:
        must = f"step of {one.path} must not exceed max - min, {shown(width)}"
        yield BY_ID["step-fits"].problem(f"{at}.step", one.step, must)
    elif width > one.step * MOST_STEPS:
        must = f"step of {one.path} must be at least a millionth of max - min"
        remedy = "Leave it out: then any value may be drawn."
        yield BY_ID["step-fits"].problem(f"{at}.step", one.step, must, remedy)
