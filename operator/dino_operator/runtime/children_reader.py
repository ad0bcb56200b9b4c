"""What is not watched: events of what hangs, and LimitRanges where a Job is about to be made."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Protocol

from dino_operator.plan.model import Object, Plan
from dino_operator.plan.observed.children import Children
from dino_operator.plan.observed.event import SeenEvent
from dino_operator.plan.observed.limit_range import LimitRange
from dino_operator.runtime.client import ApiError

log = logging.getLogger(__name__)
MAKES_PODS = frozenset({"Job", "Experiment"})
NOT_ALLOWED = (403, 404)


class ChildrenApi(Protocol):
    """What is asked of the API server."""

    async def events(self, namespace: str, uid: str) -> list[Object]: ...
    async def list_all(
        self, kind: str, namespace: str | None, selector: str
    ) -> tuple[list[Object], int]: ...


class ChildrenReader:
    """The children of one resource, with what was asked for since."""

    def __init__(self, api: ChildrenApi, namespace: str, children: Children) -> None:
        self._api, self._namespace, self.children = api, namespace, children

    async def answer(self, plan: Plan, fresh: bool) -> bool:
        """Reads what the plan lacks; whether it must be made again with it. Raises ApiError.

        LimitRanges are read once for each Job, where the plan is carried out: where all else is
        read anew, too.
        """
        before = self.children
        if plan.asks:
            events = {uid: await self._events(uid) for uid in plan.asks}
            self.children = replace(self.children, events=events)
        if fresh and any(each["kind"] in MAKES_PODS for each in plan.creates):
            self.children = replace(self.children, limit_ranges=await self._limit_ranges())
        return self.children is not before

    async def _events(self, uid: str) -> tuple[SeenEvent, ...]:
        """Events of the object; none where they cannot be read: they only say more."""
        try:
            return tuple(map(SeenEvent, await self._api.events(self._namespace, uid)))
        except ApiError as error:
            log.warning("Events in %s cannot be read: %s", self._namespace, error)
            return ()

    async def _limit_ranges(self) -> tuple[LimitRange, ...]:
        """LimitRanges; none where they may not be read, as with rights of an older chart."""
        try:
            ranges, _ = await self._api.list_all("limitranges", self._namespace, "")
        except ApiError as error:
            if error.status not in NOT_ALLOWED:
                raise
            log.warning("LimitRanges of %s are not looked at: %s", self._namespace, error)
            return ()
        return tuple(map(LimitRange, ranges))
