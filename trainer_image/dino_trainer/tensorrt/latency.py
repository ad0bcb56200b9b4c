"""How long an engine takes, by batch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

WARM_UP, RUNS = 10, 100


@dataclass(frozen=True)
class Latency:
    """Times of `RUNS` runs, host to host: median and 95th percentile in ms, images a second."""

    batch: int
    median_ms: float
    p95_ms: float
    images_per_second: float


def batches(low: int, tuned: int, high: int) -> list[int]:
    """What to measure of an engine that takes batches of `low` to `high`."""
    return sorted({low, tuned, high})


def measure(batch: int, run: Callable[[], None], clock: Callable[[], float]) -> Latency:
    """Times `run`, which is done when it returns, on `batch` images. clock: seconds."""
    for _ in range(WARM_UP):
        run()
    taken = []
    for _ in range(RUNS):
        started = clock()
        run()
        taken.append(clock() - started)
    return timing_of(batch, taken)


def timing_of(batch: int, seconds: Sequence[float]) -> Latency:
    """The timing of single runs that took so many seconds; at least two."""
    median = statistics.median(seconds)
    p95 = statistics.quantiles(seconds, n=20, method="inclusive")[-1]
    return Latency(batch, round(1e3 * median, 3), round(1e3 * p95, 3), round(batch / median, 2))


def table(timings: Iterable[Latency]) -> list[str]:
    """A table for people: a heading and a line for each batch."""
    head = f"{'batch':>6} {'median ms':>10} {'p95 ms':>9} {'images/s':>9}"
    rows = [
        f"{one.batch:>6} {one.median_ms:>10.2f} {one.p95_ms:>9.2f} {one.images_per_second:>9.1f}"
        for one in timings
    ]
    return [head, *rows]


CLOCK = time.perf_counter
