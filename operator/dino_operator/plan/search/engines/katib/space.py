"""The search space in Katib's words, and what of a search Katib cannot do.

Every value is a text: Katib's fields are texts, and a text in JSON stays what it is, where YAML
reads 5e-4 as a number that Katib then refuses.
"""

from __future__ import annotations

import re
from decimal import Decimal
from math import floor
from typing import Any

from dino_api.resources.dinoautoml import SearchParameter, Value
from dino_api.search import kind_of
from dino_operator.plan.search.search_view import SearchView

ALGORITHMS = ("tpe", "random")
"""Those of Katib's that draw by logarithm and in steps, and go on when their pod is restarted."""
MOST_VALUES = 64
"""A range in steps that Katib would round to other values becomes a list of at most so many."""
HARMLESS = re.compile(r"[A-Za-z0-9._/:@+-]+")
"""Katib pastes values into JSON and into a shell line as they are."""
QUOTABLE = re.compile(r"[^'\"\\$\n]+")
"""What stands between single quotes in a shell line, in JSON, and before the kubelet's eyes."""


def refusal(view: SearchView) -> str:
    """Why Katib cannot run this search, as one sentence; empty where it can."""
    search = view.search
    for refused in (_settings(view), *map(_parameter_refusal, search.space)):
        if refused:
            return refused
    if not QUOTABLE.fullmatch(view.output):
        return f"spec.template.output.uri: Katib cannot hand on {view.output!r} as it is"
    if search.max_trials < 2:
        return "maxTrials 1 leaves Katib no trial beside the one with the defaults"
    if not search.space:
        return "nothing is left to search"
    return ""


def _settings(view: SearchView) -> str:
    spec = view.spec
    if spec.algorithm.name not in ALGORITHMS:
        return (
            f"Katib's {spec.algorithm.name} knows no log scale, and its search does not survive a "
            f"restart of its pod; use {' or '.join(ALGORITHMS)}"
        )
    if spec.algorithm.startup_trials != type(spec.algorithm)().startup_trials:
        return "Katib's tpe takes no startupTrials: it learns from the first parallelTrials on"
    if spec.pruning is not None and spec.pruning.name != "none":
        return f"trials of Katib are not pruned by {spec.pruning.name}"
    if spec.warm_start_from:
        return "Katib cannot start from the trials of another search (warmStartFrom)"
    return ""


def _parameter_refusal(one: SearchParameter) -> str:
    for choice in one.choices or ():
        if not HARMLESS.fullmatch(text(choice)):
            return f"{one.path}: Katib cannot hand on the choice {choice!r} as it is"
    if one.step is not None and not _is_on_grid(one) and _count(one) > MOST_VALUES:
        return (
            f"{one.path}: Katib rounds to multiples of step, so min must be one of them, or the "
            f"range have at most {MOST_VALUES} values"
        )
    return ""


def feasible(one: SearchParameter) -> tuple[str, dict[str, Any]]:
    """Katib's parameterType and feasibleSpace of a parameter."""
    if one.choices is not None:
        return "categorical", {"list": [text(choice) for choice in one.choices]}
    low, high = float(one.min or 0), float(one.max or 0)
    whole = kind_of(one.path) == "int"
    if one.step is not None and not _is_on_grid(one):
        values = (_value(one, index) for index in range(_count(one)))
        return "categorical", {"list": [_number(value, whole) for value in values]}
    space = {"min": _number(low, whole), "max": _number(high, whole), "distribution": "uniform"}
    if one.scale == "log":
        space["distribution"] = "logUniform"
    if one.step is not None:
        # Katib rounds to the nearest multiple, which may lie above a max that is none.
        last = _value(one, _count(one) - 1)
        space |= {"max": _number(last, whole), "step": _number(one.step, whole)}
    return ("int" if whole else "double"), space


def text(value: Value) -> str:
    """A value as Katib passes it on; the trainer reads it back in the type of its key."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return _number(value, isinstance(value, int))
    return value


def _number(value: float, whole: bool) -> str:
    """0.00001 rather than 1e-05: no reader of it disputes that."""
    return str(round(value)) if whole else format(Decimal(repr(float(value))), "f")


def _count(one: SearchParameter) -> int:
    """Values of a range in steps. A hair more than the last step still reaches max."""
    return floor((float(one.max or 0) - float(one.min or 0)) / float(one.step or 1) + 1e-9) + 1


def _value(one: SearchParameter, index: int) -> float:
    """One of them, in decimal arithmetic: the third tenth is 0.3 and not 0.30000000000000004.

    A range may have a million: only of few are all made.
    """
    low, step = (Decimal(repr(float(part or 0))) for part in (one.min, one.step))
    return float(low + index * step)


def _is_on_grid(one: SearchParameter) -> bool:
    """Whether min is a multiple of step, as all values are then."""
    times = float(one.min or 0) / float(one.step or 1)
    return abs(times - round(times)) < 1e-9 * max(1.0, abs(times))
