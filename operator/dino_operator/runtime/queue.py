"""A queue of keys: each at most once in it, never in two hands, later and later after failures."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Queue(Generic[K]):
    """First in, first out. A key added while it is worked on comes again afterwards."""

    def __init__(
        self,
        *,
        base: float = 0.5,
        longest: float = 120,
        clock: Callable[[], float] = time.monotonic,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._base, self._longest, self._clock, self._spread = base, longest, clock, spread
        self._waiting: asyncio.Queue[K] = asyncio.Queue()
        self._since: dict[K, float] = {}
        self._working: set[K] = set()
        self._again: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}

    def add(self, key: K) -> None:
        """Now, or after whoever works on it is done."""
        if key in self._working:
            self._again.add(key)
        elif key not in self._since:
            self._since[key] = self._clock()
            self._waiting.put_nowait(key)

    def add_after(self, key: K, seconds: float | None) -> None:
        """Later; None for not at all. Replaces the time set before: the last plan knows best."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if seconds is not None:
            loop = asyncio.get_running_loop()
            self._timers[key] = loop.call_later(max(0.0, seconds), self._due, key)

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    async def get(self) -> K:
        """The next key, which is then in the caller's hands until `done`."""
        key = await self._waiting.get()
        del self._since[key]
        self._working.add(key)
        return key

    def done(self, key: K, requeue_after: float | None = None) -> None:
        """Worked on, well; look again after that time."""
        self._failures.pop(key, None)
        self._release(key)
        self.add_after(key, requeue_after)

    def failed(self, key: K) -> float:
        """Worked on, in vain. Comes again after a wait that doubles; returns that wait."""
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        wait = min(self._base * 2 ** min(count, 30), self._longest) * (0.5 + self._spread() / 2)
        self._again.discard(key)  # what came meanwhile waits as well: no way around the back-off
        self._release(key)
        self.add_after(key, wait)
        return float(wait)

    def _release(self, key: K) -> None:
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    @property
    def depth(self) -> int:
        """Keys that wait for a worker."""
        return self._waiting.qsize()

    @property
    def working(self) -> int:
        """Keys that a worker has in hand."""
        return len(self._working)

    @property
    def oldest(self) -> float:
        """Seconds the longest waiting key has waited."""
        return self._clock() - min(self._since.values()) if self._since else 0.0

    def close(self) -> None:
        """Cancels every timer."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
