"""Whether algorithm, numbers of trials and pruning of a search go with what is searched."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from math import prod

from dino_api.experiment.paths import field_at
from dino_api.problem import Problem
from dino_api.resources.dinoautoml import Assignment, DinoAutoMLSpec, SearchParameter, Value
from dino_api.rules.resource.dinoautoml import SEARCH
from dino_api.rules.search import BY_ID
from dino_api.search.assignment import active, typed
from dino_api.search.limits import shown

_MOST_COUNTED = 10_000
_SLACK = 1e-9


def check_algorithm(
    spec: DinoAutoMLSpec, space: Sequence[SearchParameter], trials: int
) -> Iterator[Problem]:
    """What the algorithm needs of the space. Asked where the parameters are fine by themselves."""
    name = spec.algorithm.name
    if name == "grid":
        yield from _grid(space, trials)
    if name == "cmaes":
        for one in space:
            if one.choices is not None or one.when is not None:
                must = f"{one.path} has {'choices' if one.choices is not None else 'a when'}"
                yield BY_ID["cmaes-ranges"].problem(SEARCH, None, f"{must}, and cmaes takes ranges")
        if len(space) < 2:
            must = f"has {len(space)} range, and cmaes needs two"
            yield BY_ID["cmaes-two"].problem(SEARCH, None, must)
    if name == "tpe" and spec.algorithm.startup_trials >= trials - 1 > 0:
        path, count = "spec.algorithm.startupTrials", spec.algorithm.startup_trials
        must = f"leaves tpe none of the {trials} trials to learn from"
        yield BY_ID["never-learns"].problem(path, count, must)


def _grid(space: Sequence[SearchParameter], trials: int) -> Iterator[Problem]:
    endless = [one.path for one in space if one.choices is None and one.step is None]
    if endless:
        must = f"a grid needs a step or choices for {', '.join(endless)}"
        yield BY_ID["grid-steps"].problem(SEARCH, None, must)
        return
    count = grid_size(space)
    if count > trials - 1:
        must = f"is a grid of {count} combinations, and maxTrials {trials} has {trials - 1} trials"
        remedy = f"Raise maxTrials to {count + 1}, search fewer keys, or use larger steps."
        yield BY_ID["grid-size"].problem(SEARCH, None, f"{must} beside the defaults", remedy)


def grid_size(space: Sequence[SearchParameter]) -> int:
    """Combinations that differ in what counts, without the defaults', which trial 0 has.

    Above 10,000 it is the plain product, in which what does not count counts as well.
    """
    product = prod(_count(one) for one in space)
    if product > _MOST_COUNTED:
        return product
    values = [values_of(one) for one in space]
    paths = [one.path for one in space]
    rows = (dict(zip(paths, row, strict=True)) for row in itertools.product(*values))
    distinct = {_frozen(active(space, row)) for row in rows}
    return len(distinct - {_frozen(active(space, _defaults(paths)))})


def values_of(one: SearchParameter) -> list[Value]:
    """The values of a parameter with choices or a step."""
    if one.choices is not None:
        return [typed(one.path, choice) for choice in one.choices]
    low, step = one.min or 0.0, one.step or 1.0
    return [typed(one.path, low + index * step) for index in range(_count(one))]


def _count(one: SearchParameter) -> int:
    if one.choices is not None:
        return len(one.choices)
    return int(((one.max or 0.0) - (one.min or 0.0)) / (one.step or 1.0) + _SLACK) + 1


def _defaults(paths: Sequence[str]) -> dict[str, Value]:
    defaults = {path: field_at(path).get_default() for path in paths}
    return {path: value for path, value in defaults.items() if value is not None}


def _frozen(values: Assignment) -> tuple[tuple[str, str], ...]:
    return tuple((path, shown(value)) for path, value in values.items())


def check_numbers(spec: DinoAutoMLSpec, trials: int) -> Iterator[Problem]:
    """Compares parallelTrials, where it was given, with maxTrials."""
    given = "parallel_trials" in spec.model_fields_set
    if given and spec.parallel_trials > trials:
        must = f"must not exceed maxTrials, {trials}"
        yield BY_ID["parallel-in-max"].problem("spec.parallelTrials", spec.parallel_trials, must)


def check_pruning(spec: DinoAutoMLSpec, epochs: int) -> Iterator[Problem]:
    """A pruning that was asked for and cannot happen."""
    start = spec.pruning and spec.pruning.name != "none" and spec.pruning.start_epoch
    if start and start >= epochs:
        must = f"is not before the last epoch, {epochs}, so no trial is stopped early"
        yield BY_ID["never-prunes"].problem("spec.pruning.startEpoch", start, must)
