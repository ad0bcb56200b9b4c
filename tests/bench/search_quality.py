"""Does the search find good detectors soon? On the surrogate of surrogate.py, over 200 seeds.

Ours are the draws of the embedded engine; the peers draw as TAO's search does (scalars evenly from
the whole range of the schema: learning rates and weight decay from 0 to 1) or evenly within our own
ranges. The wall clock is simulated: epochs, not seconds.
"""

from __future__ import annotations

import os
import random
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from dino_api.resources.dinoautoml import Algorithm, Assignment, Pruning
from dino_api.search import default_space
from dino_operator.plan.search.engines import pruning
from dino_operator.plan.search.samplers.draw import draw
from dino_operator.plan.search.trials.trial import Point, Trial
from tests.bench import surrogate
from tests.bench.harness import Bench, machine

SEEDS = int(os.environ.get("DINO_BENCH_SEEDS", "200"))
TRIALS, FIRST, NEAR, PARALLEL = 20, 10, 0.8, 4
SPACE = default_space({})
PRUNING = Pruning().starting(surrogate.EPOCHS)
Draws = Callable[[int, list[Trial]], Assignment]


def ours(seed: int, name: str = "tpe") -> Draws:
    """The embedded engine's draws."""
    algorithm = Algorithm(name=name, seed=seed)

    def next_draw(number: int, history: list[Trial]) -> Assignment:
        drawn = draw(SPACE, algorithm, number, history)
        assert drawn is not None
        return drawn

    return next_draw


def tao(seed: int) -> Draws:
    """TAO 7.0.1's ranges for the same keys, drawn evenly; no trial has the defaults."""
    chance = random.Random(seed)

    def next_draw(_number: int, _history: list[Trial]) -> Assignment:
        rates = ("train.optim.lr", "train.optim.lr_backbone", "train.optim.weight_decay")
        drawn: Assignment = {path: chance.random() for path in rates}
        return {**drawn, "model.num_queries": chance.randint(1, 300)}

    return next_draw


@dataclass(frozen=True)
class SearchScores:
    """Of one search, trial after trial: good of the first ten, best of the first ten and of all."""

    good: int
    best_first: float
    best: float


def search(seed: int, draws: Draws) -> SearchScores:
    """One trial at a time, each told of all before it."""
    history: list[Trial] = []
    default = surrogate.score({}, seed)
    for number in range(TRIALS):
        values = draws(number, history)
        scored = surrogate.score(values, 1000 * seed + number)
        history.append(Trial(number, f"t{number}", "Succeeded", values, mAP50=scored))
    scores = [one.mAP50 or 0.0 for one in history]
    good = sum(score >= NEAR * default for score in scores[:FIRST])
    return SearchScores(good, max(scores[:FIRST]), max(scores))


def wall_clock(seed: int) -> float:
    """Epochs until 20 trials have ended, four at a time, with median pruning."""
    draws, trials, began = ours(seed), dict[int, Trial](), dict[int, int]()
    curves: dict[int, list[float]] = {}
    clock = 0
    while len(trials) < TRIALS or any(one.is_live for one in trials.values()):
        while len(trials) < TRIALS and sum(one.is_live for one in trials.values()) < PARALLEL:
            number = len(trials)
            values = draws(number, [one for one in trials.values() if not one.is_live])
            trials[number] = Trial(number, f"t{number}", "Running", values)
            began[number], curves[number] = clock, surrogate.curve(values, 1000 * seed + number)
        clock += 1
        for number, one in trials.items():
            if one.is_live:
                trials[number] = _after(one, curves[number], clock - began[number])
        for number in pruning.to_stop(trials.values(), PRUNING):
            trials[number] = replace(trials[number], state="Pruned")
    return float(clock)


def _after(trial: Trial, curve: list[float], epochs: int) -> Trial:
    """The trial with so many epochs of its curve."""
    reached = tuple(Point(n + 1, curve[n]) for n in range(epochs))
    return replace(
        trial,
        curve=reached,
        mAP50=max(point.mAP50 for point in reached),
        state="Succeeded" if epochs == surrogate.EPOCHS else "Running",
    )


def outcomes(draws: Callable[[int], Draws]) -> list[SearchScores]:
    return [search(seed, draws(seed)) for seed in range(SEEDS)]


def benches() -> Iterator[Bench]:
    """Good trials early; the best after 20; the time to get there."""
    known = {
        "tpe": outcomes(ours),
        "random": outcomes(lambda seed: ours(seed, "random")),
        "tao": outcomes(tao),
    }
    good = {name: statistics.median(one.good for one in found) for name, found in known.items()}
    shares = {
        name: round(statistics.mean(one.good for one in found) / FIRST, 4)
        for name, found in known.items()
    }
    yield Bench(
        "search_good_trials",
        good["tpe"],
        good["tao"],
        "trials",
        machine(),
        better="more",
        target=">= 9 of 10",
        note="Median of the first 10 trials that come within 20 % of the defaults' mAP50, on a "
        "surrogate fitted to real trainings; the peer draws from TAO's ranges.",
        parts={"seeds": SEEDS, "mean share": shares, "medians": good},
    )
    medians = {
        name: [
            round(statistics.median(one.best_first for one in found), 4),
            round(statistics.median(one.best for one in found), 4),
        ]
        for name, found in known.items()
    }
    yield Bench(
        "search_best",
        medians["tpe"][1],
        medians["tao"][1],
        "mAP50",
        machine(),
        better="more",
        note="Median of the best of 20 trials; parts are the best of the first 10 and of 20.",
        parts={"seeds": SEEDS, **medians, "defaults": round(_defaults(), 4)},
    )
    epochs = [wall_clock(seed) for seed in range(SEEDS)]
    yield Bench(
        "search_wall_clock",
        statistics.median(epochs),
        float(TRIALS * surrogate.EPOCHS),
        "epochs",
        machine(),
        target=">= 4x",
        note="20 trials of 10 epochs, 4 at a time with median pruning, against one after another.",
        parts={"seeds": SEEDS, "best": min(epochs), "worst": max(epochs)},
    )


def _defaults() -> float:
    return statistics.mean(surrogate.base_scores())


if __name__ == "__main__":
    for bench in benches():
        bench.emit()
