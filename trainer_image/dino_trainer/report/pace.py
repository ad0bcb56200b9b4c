"""How far an evaluation is, and how fast."""

from __future__ import annotations

import time
from collections.abc import Callable

from dino_api.result import Progress


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
