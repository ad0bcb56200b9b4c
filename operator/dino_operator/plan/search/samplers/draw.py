"""The next trial: a pure function of the seed, the trial's number and the finished trials.

Every draw starts from nothing: a study in memory gets the finished trials in the order of their
numbers and a sampler whose seed is made of the search's seed and the number. So the operator may be
killed anywhere, and trials that run next to each other differ.

Startup trials and `random` look at nothing that happened. Startup trials are spread over the prior
(`prior.py`) by a Latin hypercube: each `startup_trials` of them take every slice of every
parameter once (McKay, Beckman, Conover 1979). `random` draws evenly, as the scales say.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Sequence

from dino_api.resources.dinoautoml import Algorithm, Assignment, KnownTrial, SearchParameter, Value
from dino_api.search import active
from dino_operator.plan.search.samplers import cma_es, grid, tpe
from dino_operator.plan.search.samplers.observations import Observation, Space, observations_of
from dino_operator.plan.search.samplers.prior import Dimension, choice_at
from dino_operator.plan.search.trials.trial import Trial

TRIES = 8
"""How often a combination that was tried already is drawn anew."""


def draw(
    space: Space,
    algorithm: Algorithm,
    number: int,
    history: Iterable[Trial],
    known: Iterable[KnownTrial] = (),
) -> Assignment | None:
    """What trial `number` trains with; empty for trial 0, which has the defaults.

    None where it cannot be said yet: cmaes waits for the results of a whole generation. history:
    the finished trials; their order does not matter. known: results of other searches.
    """
    if number == 0:
        return {}
    if algorithm.name == "grid":
        return grid.cell(space, algorithm.seed, number)
    if algorithm.name == "cmaes":
        others = observations_of(space, (), known)
        return cma_es.draw(space, algorithm.seed, number, history, others)
    if algorithm.name == "random":
        return _evenly(space, algorithm, number)
    observations = observations_of(space, history, known)
    if len(observations) < algorithm.startup_trials:
        return _startup(space, algorithm, number)
    return _untried(
        space,
        observations,
        lambda again: tpe.draw(space, observations, _seed(algorithm, number, again)),
    )


def _evenly(space: Space, algorithm: Algorithm, number: int) -> Assignment:
    def share(path: str) -> float:
        return random.Random(f"{algorithm.seed}/{number}/{path}").random()

    return active(space, {each.path: at(each, share(each.path), even=True) for each in space})


def _startup(space: Space, algorithm: Algorithm, number: int) -> Assignment:
    """One of a Latin hypercube of `startup_trials` points, then of the next one."""
    slices = algorithm.startup_trials
    block, index = divmod(number - 1, slices)

    def share(path: str) -> float:
        chance = random.Random(f"{algorithm.seed}/{block}/{path}")
        order = chance.sample(range(slices), slices)
        jitter = random.Random(f"{algorithm.seed}/{number}/{path}").random()
        return (order[index] + jitter) / slices

    return active(space, {each.path: at(each, share(each.path)) for each in space})


def at(parameter: SearchParameter, share: float, even: bool = False) -> Value:
    """The value at that place of the parameter's prior."""
    if parameter.choices is not None:
        return choice_at(parameter, share, even)
    return Dimension(parameter, even).value(share)


def _untried(
    space: Space, observations: Sequence[Observation], attempt: Callable[[int], Assignment]
) -> Assignment:
    """A draw that no finished trial had: the same training would give the same result."""
    tried = [each.parameters for each in observations]
    for again in range(TRIES):
        parameters = attempt(again)
        if parameters not in tried:
            break
    return parameters


def _seed(algorithm: Algorithm, number: int, again: int) -> int:
    text = f"{algorithm.seed}/{number}/{again}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
