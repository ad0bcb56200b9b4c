"""Kubernetes events: told once, and never in the way of a status."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from dino_api.names import FIELD_MANAGER
from dino_operator.plan import names, observe
from dino_operator.plan.model import Event, Object
from dino_operator.runtime.client import ApiError

log = logging.getLogger(__name__)
LONGEST_EVENT = 1000
TRIES = 5


class Creator(Protocol):
    """What is asked of the API server."""

    async def create(self, thing: Object) -> Object: ...


@dataclass
class Late:
    """An event that the API server could not take so far."""

    thing: Object
    tries: int = 0


class Events:
    """Posts events. What may pass (no answer, overload) is tried again with a later plan; what the
    namespace does not take, for a quota or as it is terminating, is only logged."""

    def __init__(self, api: Creator, now: Callable[[], datetime]) -> None:
        self._api, self._now = api, now
        self._late: dict[str, dict[str, Late]] = {}

    def late(self, resource: Object) -> bool:
        """Whether some of this resource are still to be posted."""
        return observe.uid_of(resource) in self._late

    def forget(self, uids: set[str]) -> None:
        """Drops those of resources that are gone: all but these."""
        self._late = {uid: waiting for uid, waiting in self._late.items() if uid in uids}

    async def post(self, resource: Object, events: Iterable[Event]) -> None:
        """Posts these, and those that are late. Raises nothing of the API server's."""
        waiting = self._late.pop(observe.uid_of(resource), {})
        for event in events:
            thing = event_object(resource, event, self._now())
            waiting.setdefault(observe.name_of(thing), Late(thing))
        left = {name: each for name, each in waiting.items() if not await self._posted(each)}
        if left:
            self._late[observe.uid_of(resource)] = left

    async def _posted(self, one: Late) -> bool:
        """Whether there is nothing left to do about it."""
        try:
            await self._api.create(one.thing)
        except ApiError as error:
            one.tries += 1
            again = error.may_pass and one.tries < TRIES
            if not error.exists:
                then = "later again" if again else "it is left out"
                log.warning("event %s: %s; %s", observe.name_of(one.thing), error, then)
            return error.exists or not again
        return True


def event_object(resource: Object, event: Event, now: datetime) -> Object:
    """The event as the API server takes it."""
    meta = resource["metadata"]
    name = names.event_name(meta["name"], meta["uid"], event.reason, event.key)
    seen = observe.format_time(now)
    named = {key: meta[key] for key in ("name", "namespace", "uid")}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": meta["namespace"]},
        "involvedObject": {
            "apiVersion": resource["apiVersion"],
            "kind": resource["kind"],
            **named,
        },
        "reason": str(event.reason),
        "message": event.message[:LONGEST_EVENT],
        "type": "Warning" if event.warning else "Normal",
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "reportingInstance": FIELD_MANAGER,
        "firstTimestamp": seen,
        "lastTimestamp": seen,
        "count": 1,
    }
