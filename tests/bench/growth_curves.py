"""Curves: what something costs at several sizes, and the exponent with which it grows.

An exponent of 1 says in proportion, of 2 with the square. It is a ratio of runs of one session, so
that a slow machine does not change it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tests.bench.harness import Bench, Machine

# Fixed costs flatten the start of a curve: the exponent is that of the last sizes.
LAST = 3
# What is told of something that must not grow faster than in proportion; sorting does a little.
LINEAR = "<= 1.1"
_LEAST_MEGABYTES = 1.0


@dataclass(frozen=True)
class Point:
    """What one size costs: seconds of the processor, and megabytes beyond what was there before."""

    size: int
    seconds: float
    megabytes: float


def exponent(sizes: Sequence[float], values: Sequence[float], least: float = 1e-6) -> float:
    """The slope of a line through the logarithms of the last values.

    least: stands for what is less, such as memory that was there already and was used again.
    """
    x = [math.log(size) for size in sizes[-LAST:]]
    y = [math.log(max(value, least)) for value in values[-LAST:]]
    return float(np.polyfit(x, y, 1)[0])


def grown(
    name: str, of: str, points: Sequence[Point], machine: Machine, note: str, target: str = LINEAR
) -> Bench:
    """The entry of a curve. of: what its sizes count."""
    sizes = [point.size for point in points]
    seconds = [point.seconds for point in points]
    megabytes = [point.megabytes for point in points]
    return Bench(
        name,
        exponent(sizes, seconds),
        None,
        "exponent",
        machine,
        target=target,
        note=note,
        curve={
            "of": of,
            "sizes": sizes,
            "seconds": seconds,
            "megabytes": megabytes,
            "exponent of memory": exponent(sizes, megabytes, _LEAST_MEGABYTES),
        },
    )
