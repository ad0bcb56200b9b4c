"""From what a sampler drew to the experiment of a trial."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

from dino_api.experiment.paths import field_at, is_set, put
from dino_api.resources.dinoautoml import Assignment, SearchParameter, Value
from dino_api.schema.describe import number
from dino_api.search.space import kind_of

_FLAGS = {"true": True, "false": False}
QUERIES, SELECT = "model.num_queries", "model.num_select"


def typed(path: str, value: Value) -> Value:
    """The value in the type of its key: 300.0 and "300" become 300 where a whole number is read.

    Raises ValueError for a value that the key cannot hold, KeyError for no key.
    """
    kind = kind_of(path)
    if kind == "flag":
        flag = value if isinstance(value, bool) else _FLAGS.get(str(value).lower())
        if flag is None:
            raise ValueError(f"{path}: must be true or false, not {value!r}")
        return flag
    if kind == "text":
        return str(value)
    return _number(path, value, whole=kind == "int")


def _number(path: str, value: Value, whole: bool) -> int | float:
    try:
        read = float(value)
    except (OverflowError, ValueError) as error:
        raise ValueError(f"{path}: must be a number, not {value!r}") from error
    if isinstance(value, bool) or not isfinite(read) or (whole and read != int(read)):
        raise ValueError(f"{path}: must be a {'whole ' * whole}number, not {value!r}")
    return int(read) if whole else read


def active(space: Iterable[SearchParameter], parameters: Mapping[str, Value]) -> Assignment:
    """What counts of a draw: values in the types of their keys, without those whose `when` is not
    met. Raises ValueError for a path that is not searched, and as `typed` does."""
    by_path = {one.path: one for one in space}
    if strange := sorted(set(parameters) - set(by_path)):
        raise ValueError(f"{', '.join(strange)}: not in the search space")
    values = {path: typed(path, value) for path, value in parameters.items()}
    return {
        path: values[path] for path in by_path if path in values and _counts(path, by_path, values)
    }


def _counts(path: str, space: Mapping[str, SearchParameter], values: Assignment) -> bool:
    """Follows `when` upwards; each parameter on the way must count and have a wanted value."""
    seen: set[str] = set()
    while (when := space[path].when) is not None:
        seen.add(path)
        if when.path in seen or when.path not in space or when.path not in values:
            return False
        if values[when.path] not in [typed(when.path, value) for value in when.values]:
            return False
        path = when.path
    return True


def assign(
    space: Iterable[SearchParameter], parameters: Mapping[str, Value], experiment: Mapping[str, Any]
) -> dict[str, Any]:
    """The experiment of a trial: a deep copy with what counts of the draw set in it.

    An empty draw gives the template as it is: trial 0. Where num_queries was drawn and num_select
    is neither drawn nor set, it follows, as it must not exceed the number of candidates.
    Raises what `active` does.
    """
    result = copy.deepcopy(dict(experiment))
    values = active(space, parameters)
    if QUERIES in values and SELECT not in values and not is_set(experiment, SELECT):
        values[SELECT] = min(int(field_at(SELECT).default), int(values[QUERIES]))
    for path, value in values.items():
        put(result, path, value)
    return result


def in_lines(space: Iterable[SearchParameter]) -> list[str]:
    """One line for each parameter, such as `train.optim.lr: 0.00001 to 0.0005, log`."""
    return [f"{one.path}: {_values(one)}{_when(one)}" for one in space]


def _values(one: SearchParameter) -> str:
    if one.choices is not None:
        return ", ".join(str(choice) for choice in one.choices)
    steps = f" in steps of {number(one.step)}" if one.step is not None else ""
    scale = ", log" if one.scale == "log" else ""
    return f"{number(one.min or 0)} to {number(one.max or 0)}{steps}{scale}"


def _when(one: SearchParameter) -> str:
    if one.when is None:
        return ""
    return f" (when {one.when.path} is {' or '.join(map(str, one.when.values))})"
