"""Reads that several plans wait for at once, asked of the API server as one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

G = TypeVar("G", bound=Hashable)
A = TypeVar("A")
MOST = 50
"""Keys of one request: names are 63 characters at most, and a URL has a limit."""


class SharedReads(Generic[G, A]):
    """One request at a time for each group, for all keys that are asked for by then.

    No answer is older than its question: whoever asks while a request is under way waits for the
    next one. A plan that asks alone asks at once, for its own key.
    """

    def __init__(self, ask: Callable[[G, tuple[str, ...]], Awaitable[A]]) -> None:
        self._ask = ask
        self._waiting: dict[G, dict[str, asyncio.Future[A]]] = {}
        self._asking: dict[G, asyncio.Task[None]] = {}

    async def answer(self, group: G, key: str) -> A:
        """What was read for this key, and for others. Raises what the request raised."""
        waiting = self._waiting.setdefault(group, {})
        if key not in waiting:
            waiting[key] = asyncio.get_running_loop().create_future()
        future = waiting[key]
        if group not in self._asking:
            self._asking[group] = asyncio.create_task(self._ask_on(group))
        return await asyncio.shield(future)  # others may wait for it, too

    async def _ask_on(self, group: G) -> None:
        """Request after request, as long as somebody waits."""
        asked: dict[str, asyncio.Future[A]] = {}
        try:
            while self._waiting[group]:
                waiting = self._waiting[group]
                asked = {key: waiting.pop(key) for key in list(waiting)[:MOST]}
                await self._tell(group, asked)
        finally:  # it may be cancelled
            del self._asking[group]
            for future in (*asked.values(), *self._waiting.pop(group).values()):
                future.cancel()

    async def _tell(self, group: G, asked: dict[str, asyncio.Future[A]]) -> None:
        """One request, and its answer to all who wait for it."""
        try:
            answer = await self._ask(group, tuple(asked))
        except Exception as error:  # noqa: BLE001 -- told to all who wait, who raise it
            for future in asked.values():
                future.set_exception(error)
                future.exception()  # nobody may be left who wants to know
        else:
            for future in asked.values():
                future.set_result(answer)
