"""Kubernetes events: told once, and never in the way of a status."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from dino_api import rfc3339
from dino_api.names import FIELD_MANAGER
from dino_operator.plan.model import Event, Object
from dino_operator.plan.observed import objects
from dino_operator.plan.rendered import names
from dino_operator.runtime.client import ApiError

log = logging.getLogger(__name__)
LONGEST_EVENT = 1000
MOST = 1000
TRIES = 8
FIRST_WAIT, LONGEST_WAIT = 10, 600
"""Seconds between tries after the first two; all of them take about twenty minutes."""


class Creator(Protocol):
    """What is asked of the API server."""

    async def create(self, thing: Object) -> Object: ...


@dataclass
class Late:
    """An event that the API server could not take so far. due: when it is tried again."""

    thing: Object
    due: datetime
    tries: int = 0

    def failed(self, now: datetime) -> None:
        """Tried in vain: again at once, then later and later."""
        wait = FIRST_WAIT * 2 ** (self.tries - 1) if self.tries else 0
        self.tries += 1
        self.due = now + timedelta(seconds=min(wait, LONGEST_WAIT))


class EventRecorder:
    """Posts events. What may pass (no answer, overload) is tried again with a later plan; what the
    namespace does not take, for a quota or as it is terminating, is only logged."""

    def __init__(self, api: Creator, now: Callable[[], datetime]) -> None:
        self._api, self._now = api, now
        self._late: dict[str, dict[str, Late]] = {}

    def late(self, resource: Object) -> bool:
        """Whether some of this resource are still to be posted."""
        return objects.uid_of(resource) in self._late

    async def post(self, resource: Object, events: Iterable[Event]) -> None:
        """Posts these, and those that are late. Raises nothing of the API server's."""
        waiting = self._late.pop(objects.uid_of(resource), {})
        now = self._now()
        for event in events:
            thing = event_object(resource, event, now)
            waiting.setdefault(objects.name_of(thing), Late(thing, now))
        left = {
            name: each
            for name, each in waiting.items()
            if each.due > now or not await self._posted(each)
        }
        if left:
            self._late[objects.uid_of(resource)] = left
        while len(self._late) > MOST:  # of resources that went meanwhile
            self._late.pop(next(iter(self._late)))

    async def _posted(self, one: Late) -> bool:
        """Whether there is nothing left to do about it."""
        try:
            await self._api.create(one.thing)
        except ApiError as error:
            one.failed(self._now())
            again = error.may_pass and one.tries < TRIES
            if not error.exists:
                then = "later again" if again else "it is left out"
                log.warning("event %s: %s; %s", objects.name_of(one.thing), error, then)
            return error.exists or not again
        return True


def event_object(resource: Object, event: Event, now: datetime) -> Object:
    """The event as the API server takes it."""
    meta = resource["metadata"]
    name = names.event_name(meta["name"], meta["uid"], event.reason, event.key)
    seen = rfc3339.text(now)
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
