"""How far a walk through images is, and how fast; who hears of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

from dino_api.result import Progress

Counted = Callable[[int, int], None]
"""Told of images that are done, and of all."""


def _nobody(*_: object) -> None:
    """Hears what nobody else wants to."""


@dataclass(frozen=True)
class Watch:
    """Who may end a walk through images, and who hears how it goes: numbers, and sentences."""

    stop: Event = field(default_factory=Event)
    progress: Counted = _nobody
    say: Callable[[str], None] = _nobody


class Pace:
    """Called after each batch with images done and images in all; tells `report` of it.

    clock: seconds.
    """

    def __init__(
        self, report: Callable[[Progress], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._report, self._clock = report, clock
        self._started = clock()
        self.done = 0

    def __call__(self, done: int, total: int) -> None:
        self.done = done
        seconds = self._clock() - self._started
        speed = done / seconds if seconds > 0 else None
        self._report(
            Progress(
                step=done,
                steps=total,
                percent=100 * done // total,
                images_per_second=speed,
                eta_seconds=round((total - done) / speed) if speed else None,
            )
        )
