"""Kinds that another product brings: whether they are served is asked, and remembered for a while.

The operator must run where that product is not installed, and notice when it is installed later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

KEPT = 60.0
"""Seconds for which an answer is believed."""


class Discovery(Protocol):
    """What is asked of the API server."""

    async def served(self, group: str) -> frozenset[str]: ...


class ServedKind:
    """A kind by its plural, and the groups and versions in which it can be read, the best first."""

    def __init__(
        self, api: Discovery, plural: str, groups: tuple[str, ...], clock: Callable[[], float]
    ) -> None:
        self._api, self._plural, self._groups, self._clock = api, plural, groups, clock
        self._answer: tuple[str, float] | None = None

    async def group(self) -> str:
        """The first of its groups that is served; empty without any. Raises ApiError."""
        if self._answer is None or self._clock() - self._answer[1] >= KEPT:
            group = await self._ask()
            self._answer = group, self._clock()
        return self._answer[0]

    async def _ask(self) -> str:
        for group in self._groups:
            if self._plural in await self._api.served(group):
                return group
        return ""
