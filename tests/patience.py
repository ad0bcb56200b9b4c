"""How long tests wait for real processes: seconds of an idle machine, longer on a busy one."""

from __future__ import annotations

import os
import time

LONG = 600.0
"""Seconds that a program may take which takes a few, on however busy a machine."""


class Patience:
    """`while patience.lasts(): ...`, at most so many seconds, and one look at least.

    A second in which N processes compete for each core counts as 1/N.
    """

    def __init__(self, seconds: float) -> None:
        self._left, self._looked = seconds, time.monotonic()
        self._began = self._looked

    def lasts(self) -> bool:
        """Whether there is time left."""
        lasted, now = self._left >= 0, time.monotonic()
        self._left -= (now - self._looked) / crowd()
        self._looked = now
        return lasted

    @property
    def seconds(self) -> float:
        """Since it began, by the clock."""
        return time.monotonic() - self._began


def crowd() -> float:
    """Processes that want to run, for each core; 1 where every one of them can."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
