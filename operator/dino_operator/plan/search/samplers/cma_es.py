"""CMA-ES (Hansen, Ostermeier 2001), by the package `cmaes`, in shares of the prior.

It draws generation by generation, each from the results of those before. The whole strategy is
played again for each draw, from its seed and the results by number, so there is nothing to store. A
trial that failed has the worst result. A trial of the next generation waits until every trial of
the one before has ended: at the edge of a generation fewer trials run than might.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dino_api.resources.dinoautoml import Assignment
from dino_api.search import active
from dino_operator.plan.search.samplers.observations import Observation, Space, defaults
from dino_operator.plan.search.samplers.prior import Dimension
from dino_operator.plan.search.trials.trial import Trial

SIGMA = 0.2
"""The first step size, in shares."""
WORST = 0.0


def draw(
    space: Space, seed: int, number: int, history: Iterable[Trial], known: Sequence[Observation]
) -> Assignment | None:
    """What trial `number` trains with, or None where results of earlier generations are missing."""
    results = {each.number: _result(each) for each in history}
    start = _start(space, known)
    strategy = _strategy(start, seed, 0)
    size = strategy.population_size
    past, index = divmod(number - 1, size)
    for generation in range(past):
        first = 1 + generation * size
        numbers = range(first, first + size)
        if any(each not in results for each in numbers):
            return None
        asked = [strategy.ask().clip(0, 1) for _ in numbers]
        strategy.tell([(x, -results[each]) for x, each in zip(asked, numbers, strict=True)])
        if strategy.should_stop():
            strategy = _strategy(start, seed, generation + 1)
    shares = [strategy.ask().clip(0, 1) for _ in range(index + 1)][-1]
    axes = zip(space, shares, strict=True)
    return active(space, {each.path: Dimension(each).value(float(share)) for each, share in axes})


def _result(trial: Trial) -> float:
    return WORST if trial.mAP50 is None or trial.state == "Failed" else trial.mAP50


def _strategy(start: Sequence[float], seed: int, restart: int) -> Any:
    # Here, as it brings numpy and most plans draw nothing. It has no types.
    from cmaes import CMA, get_warm_start_mgd  # type: ignore[import-untyped]

    # The distribution around a single point: its place, this width, and no direction preferred.
    mean, sigma, covariance = get_warm_start_mgd([(start, 0.0)], gamma=1.0, alpha=SIGMA)
    text = f"{seed}/{restart}/cmaes"
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    return CMA(mean, sigma, cov=covariance, seed=number)


def _start(space: Space, known: Sequence[Observation]) -> list[float]:
    """The best known result of other searches, and else the defaults."""
    best: Mapping[str, object] = max(known, key=lambda each: each.mAP50).parameters if known else {}
    values = {**defaults(space), **best}
    return [
        Dimension(each).share(float(str(values[each.path]))) if each.path in values else 0.5
        for each in space
    ]
