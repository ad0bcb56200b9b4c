"""What the values of a search do to the experiment: nothing at all, or something it refuses."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from dino_api.experiment.paths import put
from dino_api.experiment.spec import ExperimentSpec
from dino_api.problem import Problem
from dino_api.resources.dinoautoml import SearchParameter, Value
from dino_api.rules.experiment import check
from dino_api.rules.search import BY_ID
from dino_api.search.assignment import assign, typed
from dino_api.search.knobs import BY_PATH, Knob
from dino_api.search.limits import shown
from dino_api.search.space import kind_of

Space = Mapping[str, SearchParameter]
MOST_COMBINATIONS = 1000


def check_effect(
    space: Space, experiment: Mapping[str, Any], at: Mapping[str, str]
) -> list[Problem]:
    """Dead knobs and refused values of a search whose parameters are fine by themselves.

    experiment: the template's, with what the resource decides. at: path -> where it stands.
    """
    problems = []
    for one in space.values():
        if problem := _dead(one, space, experiment, at[one.path]):
            problems.append(problem)
        problems += itertools.islice(_refused(one, space, experiment, at[one.path]), 1)
    return problems


def _dead(
    one: SearchParameter, space: Space, experiment: Mapping[str, Any], at: str
) -> Problem | None:
    knob = BY_PATH.get(one.path)
    if knob is None:
        return None
    lives = set(_lives(knob, one, space, experiment))
    if lives == {True}:
        return None
    must = f"{one.path} counts only where {knob.needs}"
    if lives == {False}:
        return BY_ID["dead-knob"].problem(f"{at}.path", one.path, f"{must}, which never is so here")
    return BY_ID["knob-sometimes-dead"].problem(f"{at}.path", one.path, must)


def _lives(
    knob: Knob, one: SearchParameter, space: Space, experiment: Mapping[str, Any]
) -> Iterator[bool]:
    """Whether the knob counts, for each combination of its switches as far as they are searched."""
    fixed = _wanted(one, space)
    switches = [path for path in knob.switches if path in space]
    values = [fixed.get(path) or samples(space[path]) for path in switches]
    for row in itertools.islice(itertools.product(*values), MOST_COMBINATIONS):
        spec = _spec(experiment, dict(zip(switches, row, strict=True)))
        if spec is not None:
            yield knob.live(spec)


def _wanted(one: SearchParameter, space: Space) -> dict[str, list[Value]]:
    """The values that the parameters above it must have for this one to be drawn."""
    values: dict[str, list[Value]] = {}
    while one.when is not None and one.when.path in space and one.when.path not in values:
        values[one.when.path] = [typed(one.when.path, value) for value in one.when.values]
        one = space[one.when.path]
    return values


def samples(one: SearchParameter) -> list[Value]:
    """The values to try: its choices; of a range both ends and the value next to the first."""
    if one.choices is not None:
        return [typed(one.path, choice) for choice in one.choices]
    low, high = one.min or 0.0, one.max or 0.0
    whole = kind_of(one.path) == "int"
    step = one.step or (1.0 if whole else 0.0)
    return [typed(one.path, value) for value in dict.fromkeys((low, min(low + step, high), high))]


def _refused(
    one: SearchParameter, space: Space, experiment: Mapping[str, Any], at: str
) -> Iterator[Problem]:
    """Values with which a rule about several keys fails, whatever the other parameters are.

    Rules that read another searched key are not asked: which values meet is known per trial only.
    """
    above = {path: values[0] for path, values in _wanted(one, space).items()}
    others = set(space) - {one.path, *above}
    for value in samples(one):
        trial = assign(space.values(), above | {one.path: value}, experiment)
        try:
            spec = ExperimentSpec.model_validate(trial)
        except ValidationError:
            continue  # the template is at fault, and has a problem of its own
        for broken in check(spec, others):
            if broken.severity == "error":
                must = f"{one.path} {shown(value)} is refused, as {broken.path} {broken.rule}"
                yield BY_ID["value-refused"].problem(at, value, must, broken.remedy)


def _spec(experiment: Mapping[str, Any], values: Mapping[str, Value]) -> ExperimentSpec | None:
    mapping = copy.deepcopy(dict(experiment))
    for path, value in values.items():
        put(mapping, path, value)
    try:
        return ExperimentSpec.model_validate(mapping)
    except ValidationError:
        return None
