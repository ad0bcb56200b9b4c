"""A cheap stand-in for a training, fitted to real ones, for questions that need thousands.

What a trial scores is the score of the defaults times one factor for each searched key. A factor is
read off the curve through real trainings of surrogate_runs.json, in which that key alone was
changed: against the ratio of the value to the base's, on its logarithm (dropout on a linear axis),
straight between two measured points and flat beyond the last. Keys are taken to act independently,
and a backbone not to matter: no training of ours has measured either. Noise has the spread of the
base's own seeds. Learning curves are that of the measured training whose value was nearest.
"""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from dino_api.experiment.paths import field_at
from dino_api.resources.dinoautoml import Value

RUNS = Path(__file__).parent / "surrogate_runs.json"
EPOCHS = 10
LINEAR = frozenset({"model.dropout_ratio"})
Points = tuple[tuple[float, ...], tuple[float, ...]]


@cache
def measured() -> dict[str, Any]:
    """The real trainings."""
    found: dict[str, Any] = json.loads(RUNS.read_text())
    return found


def base_scores() -> list[float]:
    """mAP50 of the base, by seed."""
    runs = measured()["runs"]
    return [one["mAP50"] for one in runs if set(one["changed"]) == {"train.seed"}]


@cache
def points(path: str) -> Points:
    """Where the key was measured (see `place`), and the share of the base's score it had there."""
    base, whole = measured()["base"][path], statistics.mean(base_scores())
    found = {place(path, base, base): 1.0}
    for one in measured()["runs"]:
        if set(one["changed"]) == {path}:
            found[place(path, one["changed"][path], base)] = one["mAP50"] / whole
    ordered = sorted(found.items())
    return tuple(at for at, _ in ordered), tuple(share for _, share in ordered)


def place(path: str, value: float, base: float) -> float:
    """Of a value on the key's axis: powers of ten from the base, or the difference to it."""
    return value - base if path in LINEAR else math.log10(max(value, 1e-12) / base)


def factor(path: str, value: float) -> float:
    """Share of the default's score that is left with this value and all others at the default."""
    at, shares = points(path)
    default = float(field_at(path).default)
    return float(np.interp(place(path, value, default), at, shares))


def noise() -> float:
    """Standard deviation of two equal trainings, as a share of the score."""
    scores = base_scores()
    return statistics.stdev(scores) / statistics.mean(scores)


def score(values: Mapping[str, Value], seed: int) -> float:
    """mAP50 of a training with these values, others at their defaults. seed: of its noise."""
    whole = statistics.mean(base_scores())
    for path, value in values.items():
        if path in measured()["base"]:
            whole *= factor(path, float(value))
    return max(0.0, whole * random.Random(seed).gauss(1.0, noise()))


def curve(values: Mapping[str, Value], seed: int) -> list[float]:
    """mAP50 after each of 10 epochs, the last of which is the score.

    Its shape is the base's. A bad trial is bad from its first epochs, as the measured ones were.
    """
    runs = [one["curve"] for one in measured()["runs"] if set(one["changed"]) == {"train.seed"}]
    shape = np.mean(runs, axis=0) / np.mean(runs, axis=0)[-1]
    epochs = np.linspace(len(shape) / EPOCHS, len(shape), EPOCHS)
    chance = random.Random(seed + 1)
    whole = score(values, seed)
    rising = np.interp(epochs, np.arange(len(shape) + 1), [0.0, *shape])
    noisy = [share * whole * chance.gauss(1.0, noise()) for share in rising[:-1]]
    return [*(max(0.0, value) for value in noisy), whole]
