"""An event loop in which no time passes by itself, and nothing happens but what a test does."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable


class _NeverWaits(selectors.DefaultSelector):
    """Says when the loop would wait, in place of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.would_wait: Callable[[], None] = lambda: None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            self.would_wait()
        return super().select(0)


class StillLoop(asyncio.SelectorEventLoop):
    """now: seconds that the test's own clock shows; timers are due by it."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._shown = now
        selector = _NeverWaits()
        selector.would_wait = self.stop
        super().__init__(selector)

    def time(self) -> float:
        return self._shown()

    def run_until_idle(self) -> None:
        """Until all tasks wait, for the test or for a later time."""
        self.run_forever()
