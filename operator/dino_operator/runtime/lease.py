"""Who of several operators works: whoever holds a Lease, for as long as its own clock says so.

The protocol is that of client-go's leader election, and so is the Lease. Three things are stricter.
A hold counts from when a renewal was asked for, not answered, and ends a margin before others may
take over; it is asked for before each write; and a Lease that is gone, or that somebody emptied, is
waited for like one that is held. See docs/decisions/0024-a-lease-and-a-clock.md.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn, Protocol

from dino_operator.plan.model import Object
from dino_operator.runtime.client import ApiError, path

log = logging.getLogger(__name__)
REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
ACCOUNT = "system:serviceaccount:"
FORBIDDEN = (401, 403)
MOVED = (404, 409)
LOST = 1
"""The exit status of a process that lost its Lease."""


def boot_time() -> float:
    """Seconds that never go back, with those in which the machine slept where that is known."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def end_process(why: str) -> NoReturn:
    """Ends it at once, with whatever it has in hand: others may be at work already."""
    log.error("%s; ending at once.", why)
    os._exit(LOST)


@dataclass(frozen=True)
class Terms:
    """Which Lease, for whom, and for how long others wait for a holder that is silent."""

    namespace: str
    name: str
    identity: str
    seconds: int = 10

    @property
    def hold(self) -> float:
        """For how long the holder writes after a renewal. The rest is for what is on its way, and
        for clocks that do not run alike."""
        return self.seconds * 0.8

    @property
    def renew(self) -> float:
        """Between renewals."""
        return self.seconds / 5

    @property
    def look(self) -> float:
        """Between looks of those who wait, and tries of the holder."""
        return self.seconds / 10

    @property
    def patience(self) -> float:
        """How long an answer is waited for: a few tries must fit into one hold."""
        return self.seconds / 4


class LeaseApi(Protocol):
    """What is asked of the API server, by connections of its own: renewals must not queue."""

    async def get(self, kind: str, namespace: str, name: str) -> Object | None: ...
    async def request(
        self, verb: str, where: str, *, body: Any = None, query: dict[str, str] | None = None
    ) -> Object: ...


class Lease:
    """One Lease, waited for, kept and given back.

    holder: who had it when it was last read; empty for nobody, None before the first look.
    """

    def __init__(
        self,
        api: LeaseApi,
        terms: Terms,
        clock: Callable[[], float] = boot_time,
        end: Callable[[str], None] = end_process,
    ) -> None:
        self._api, self._terms, self._clock, self._end = api, terms, clock, end
        self._known: Object | None = None
        self._since = 0.0
        self._until: float | None = None
        self.holder: str | None = None

    def __str__(self) -> str:
        return f"Lease {self._terms.namespace}/{self._terms.name}"

    @property
    def leads(self) -> bool:
        """Whether this process may write now."""
        return self._until is not None and self._clock() < self._until

    def check(self) -> None:
        """Ends the process where it may not write. Called before each write is sent."""
        if not self.leads:
            self._end(f"{self} was not renewed in time, or is not held")

    async def acquire(self) -> None:
        """Waits until this process holds it. Raises ApiError where it may not be used."""
        while not await self._try():
            await asyncio.sleep(self._terms.look * random.uniform(0.8, 1.2))
        log.info("%s is held by this process, %s.", self, self._terms.identity)

    async def _try(self) -> bool:
        try:
            self._look(await self._read())
            return self._is_free and await self._take()
        except ApiError as error:
            if error.status in FORBIDDEN:
                raise
            log.warning("%s is not told of (%s); trying again.", self, error)
            return False

    async def _read(self) -> Object | None:
        return await self._api.get("leases", self._terms.namespace, self._terms.name)

    def _look(self, lease: Object | None) -> None:
        """Remembers since when it is as it is; whoever renews it, changes it."""
        if self.holder is None or _version(lease) != _version(self._known):
            self._since = self._clock()
        before, self._known = self.holder, lease
        self.holder = str(_spec(lease).get("holderIdentity") or "")
        if self.holder not in (before, "", self._terms.identity):
            log.info("%s is held by %s; this process stands by.", self, self.holder)

    @property
    def _is_free(self) -> bool:
        """Whether nobody can still believe that it is theirs."""
        spec = _spec(self._known)
        if self.holder == self._terms.identity:  # taken, and the answer was lost
            return True
        if not self.holder and "leaseTransitions" in spec:  # given back, as `release` does it
            return True
        promised = max(self._terms.seconds, int(spec.get("leaseDurationSeconds") or 0))
        return self._clock() - self._since >= promised

    async def _take(self) -> bool:
        spec, now = _spec(self._known), stamp()
        mine = self.holder == self._terms.identity
        taken = {
            "holderIdentity": self._terms.identity,
            "leaseDurationSeconds": self._terms.seconds,
            "acquireTime": spec.get("acquireTime", now) if mine else now,
            "renewTime": now,
            "leaseTransitions": int(spec.get("leaseTransitions") or 0) + (not mine),
        }
        return await self._hold(taken)

    async def _hold(self, spec: Object) -> bool:
        """Whether the API server took it. The hold counts from before it was asked."""
        asked = self._clock()
        if not await self._write(spec):
            return False
        self._until, self.holder = asked + self._terms.hold, self._terms.identity
        return True

    async def _write(self, spec: Object) -> bool:
        """Whether it was written; not where it has changed since it was read."""
        space, name = self._terms.namespace, self._terms.name
        try:
            if self._known is None:
                made = await self._new(spec)
                self._known = await self._api.request("POST", path("leases", space), body=made)
            else:
                changed = {**self._known, "spec": spec}
                self._known = await self._api.request(
                    "PUT", path("leases", space, name), body=changed
                )
        except ApiError as error:
            if error.status in MOVED:
                return False
            raise
        return True

    async def _new(self, spec: Object) -> Object:
        meta: Object = {"name": self._terms.name, "namespace": self._terms.namespace}
        owner = await self._account()
        if owner is not None:
            meta["ownerReferences"] = [owner]
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": meta,
            "spec": spec,
        }

    async def _account(self) -> Object | None:
        """The service account of this process, by which the Lease goes when the operator is
        uninstalled; None for people, and where the API server does not say."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        try:
            answer = await self._api.request("POST", REVIEWS, body=review)
        except ApiError:
            return None
        user = (answer.get("status") or {}).get("userInfo") or {}
        space, _, name = str(user.get("username", "")).removeprefix(ACCOUNT).partition(":")
        if space != self._terms.namespace or not name or not user.get("uid"):
            return None
        return {"apiVersion": "v1", "kind": "ServiceAccount", "name": name, "uid": user["uid"]}

    async def keep(self) -> None:
        """Renews it again and again, and ends the process where that fails for too long."""
        await asyncio.gather(self._renew_again_and_again(), self._end_in_time())

    async def _renew_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(self._terms.renew)
            while not await self._renew():
                await asyncio.sleep(self._terms.look)

    async def _end_in_time(self) -> None:
        while True:
            self.check()
            await asyncio.sleep(max(0.01, (self._until or 0) - self._clock()))

    async def _renew(self) -> bool:
        """Ends the process where somebody else holds it."""
        self.check()
        try:
            if await self._take():
                return True
            self._look(await self._read())
            if self.holder not in ("", self._terms.identity):
                self._end(f"{self} is held by {self.holder}")
            return await self._take()
        except ApiError as error:
            log.warning("%s is not renewed: %s", self, error)
            return False

    async def release(self) -> None:
        """Gives it back, so that nobody has to wait. Nothing may be written afterwards."""
        if not self.leads:
            return
        self._until = None
        try:
            done = await self._give()
            if not done:  # the last renewal was under way, and its answer is not known
                self._look(await self._read())
                done = self.holder == self._terms.identity and await self._give()
        except ApiError as error:
            log.warning("%s is not given back, and runs out by itself: %s", self, error)
            return
        log.info("%s is %s.", self, "given back" if done else "somebody else's")

    async def _give(self) -> bool:
        spec = {key: each for key, each in _spec(self._known).items() if key != "holderIdentity"}
        return await self._write({**spec, "leaseDurationSeconds": 1, "renewTime": stamp()})


def stamp() -> str:
    """Now, as Leases have it. People read it; nothing is decided by it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _spec(lease: Object | None) -> Object:
    return (lease or {}).get("spec") or {}


def _version(lease: Object | None) -> str:
    return str(lease["metadata"]["resourceVersion"]) if lease else ""
