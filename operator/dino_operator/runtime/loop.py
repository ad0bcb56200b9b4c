"""The operator without kopf: workers that reconcile, and a resync that drops ghosts."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from dino_operator.plan.model import Object, Settings
from dino_operator.runtime.cache import ObjectCache, version_of
from dino_operator.runtime.client import ApiError, Client
from dino_operator.runtime.keys import KINDS, Key, Kind
from dino_operator.runtime.metrics import OperatorMetrics
from dino_operator.runtime.queue import Queue
from dino_operator.runtime.reconcile import Reconciler

log = logging.getLogger(__name__)
CRD_WAIT = 5.0
CRD_RECHECK = 60.0
"""How often it is asked whether a kind that was missing is served now."""
UNREACHABLE_PAUSE = 1.0
"""Seconds that a worker lets pass where nobody answered: with thousands of keys it would ask for
one after the other, and take half a core for nothing."""
NEEDED = frozenset(Kind) - {Kind.DINOAUTOMLS}
"""Kinds without which the operator waits. Searches came later: an old installation lacks them."""


@dataclass(frozen=True)
class Options:
    """How the process works.

    namespaces: those to serve; empty for all. workers: plans carried out at the same time; each of
    them waits for the API server most of its time.
    """

    namespaces: Sequence[str] = ()
    workers: int = 16
    resync: float = 600
    stuck_after: float = 300


@contextmanager
def no_collections() -> Iterator[None]:
    """While lists are read, Python does not look for cycles: it would look at every object that is
    kept again and again, for most of the time, and what comes as JSON has none.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Operator:
    """Cache, queue and workers around one client. It may be stopped and started again.

    changed: set once the API server serves other kinds than at the start. Whoever feeds the
    operator then stops it, clears this, watches the kinds that there are, and starts it again.
    """

    def __init__(
        self, client: Client, settings: Settings, options: Options, metrics: OperatorMetrics
    ) -> None:
        self._client, self._options, self.metrics = client, options, metrics
        self.cache = ObjectCache()
        self.queue: Queue[Key] = Queue()
        self._reconciler = Reconciler(self.cache, client, settings, metrics)
        self._tasks: list[asyncio.Task[None]] = []
        self._synced_at: float | None = None
        self._listed: dict[Kind, int] = {}
        self.changed = asyncio.Event()
        for kind, name in KINDS.items():
            metrics.watch(name, partial(self.cache.resources, kind))
        metrics.depth.set_function(lambda: self.queue.depth)
        metrics.working.set_function(lambda: self.queue.working)
        metrics.oldest.set_function(lambda: self.queue.oldest)

    async def start(self) -> None:
        """Waits for the API server and the CRD, reads everything, then starts the workers."""
        self.cache.served = await self._wait_for_crd()
        missing = frozenset(Kind) - self.cache.served
        for kind in missing:
            log.warning("The CRD of %s is not installed; doing without it.", kind)
            self.cache.replace(kind, (), sys.maxsize)
        await self.resync()
        gc.freeze()  # nor later at what was there at the start
        for _ in range(self._options.workers):
            self._tasks.append(asyncio.create_task(self._work()))
        self._tasks.append(asyncio.create_task(self._resync_for_ever()))
        if missing:
            self._tasks.append(asyncio.create_task(self._await_crd()))

    async def stop(self) -> None:
        """Ends workers in mid-plan if need be: a plan may be cut anywhere.

        What they have sent is answered first: whoever comes next must not meet it.
        """
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.finish_writes()
        self._tasks.clear()
        self._synced_at = None
        self.queue.close()
        self.queue = Queue()  # the old one believes that what was cut off is still worked on

    def observe(self, kind: Kind, event: str | None, thing: Object) -> None:
        """Takes in one watch event and has the owner looked at.

        event: None for what a watch lists at its beginning. What the last resync has listed as well
        brings nothing new, and its owner was looked at then.
        """
        self.metrics.last_event.labels(kind.value).set(time.time())
        if event is None and version_of(thing) <= self._listed.get(kind, 0):
            return
        if event == "DELETED":
            self.cache.remove(kind, thing)
        else:
            self.cache.put(kind, thing)
        for key in sorted(self.cache.wakes(kind, thing)):
            self.queue.add(key)

    @property
    def ready(self) -> bool:
        """Whether everything was read once."""
        return self._synced_at is not None

    @property
    def trouble(self) -> str:
        """Why the process should be restarted; empty when it should not."""
        if self.queue.oldest > self._options.stuck_after:
            return f"a key has waited for {self.queue.oldest:.0f} s"
        age = 0.0 if self._synced_at is None else time.monotonic() - self._synced_at
        if age > 3 * self._options.resync:
            return f"the last resync was {age:.0f} s ago"
        ended = [task for task in self._tasks if task.done()]
        return f"{len(ended)} tasks ended" if ended else ""

    async def _wait_for_crd(self) -> frozenset[Kind]:
        while True:
            try:
                served = await self._served()
                if served >= NEEDED:
                    return served
                log.warning("The DinoJob CRD is not installed; waiting for it.")
            except ApiError as error:
                if error.status in (401, 403):
                    raise
                log.warning("The API server does not answer (%s); trying again.", error)
            await asyncio.sleep(CRD_WAIT)

    async def _served(self) -> frozenset[Kind]:
        """The kinds that there are. Jobs and pods always are."""
        served = await self._client.served()
        return frozenset(kind for kind in Kind if kind not in KINDS or kind in served)

    async def _await_crd(self) -> None:
        """Looks now and then whether a missing kind is there."""
        while not self.changed.is_set():
            await asyncio.sleep(CRD_RECHECK)
            try:
                await self._notice_crds()
            except ApiError as error:
                log.warning("The API server does not say what it serves: %s", error)
        await asyncio.Event().wait()

    async def _notice_crds(self) -> None:
        """Says so where kinds came or went. Raises ApiError."""
        served = await self._served()
        if served != self.cache.served and served >= NEEDED:
            log.warning("The API server serves other kinds now: %s.", ", ".join(sorted(served)))
            self.changed.set()

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            started, pause = time.monotonic(), 0.0
            try:
                again = await self._reconciler.reconcile(key)
            except ApiError as error:
                wait, result = self.queue.failed(key), "error"
                pause = UNREACHABLE_PAUSE if error.status == 0 else 0.0
                log.warning("%s: %s; again in %.1f s", key, error, wait)
            except Exception:
                wait, result = self.queue.failed(key), "bug"
                log.exception("%s: a bug in the operator; again in %.1f s", key, wait)
            else:
                result = "ok"
                self.queue.done(key, again)
            self.metrics.reconciled(KINDS[key.kind], result, time.monotonic() - started)
            if pause:
                await asyncio.sleep(pause)

    async def _resync_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._options.resync)
            try:
                await self._notice_crds()
                await self.resync()
            except ApiError as error:
                log.warning("The resync failed: %s", error)

    async def resync(self) -> None:
        """Lists everything, drops what is gone, and has every resource looked at. Raises ApiError.

        Watches lose deletions in their gaps; this finds them.
        """
        listed: dict[Kind, int] = {}
        with no_collections():
            for kind in sorted(self.cache.served):
                for namespace in self._options.namespaces or (None,):
                    version = await self._resync_kind(kind, namespace)
                    listed[kind] = min(version, listed.get(kind, version))
        # Not yet what went since the resync before: a read from before that may not be answered.
        self.cache.forget_deleted(min(self._listed.values(), default=0))
        self.cache.forget_known()
        self._synced_at = time.monotonic()
        for key in sorted(self.cache.all_keys()):  # the same order in each process
            self.queue.add(key)
        self._listed = listed

    async def _resync_kind(self, kind: Kind, namespace: str | None) -> int:
        listed, version = set[str](), 0
        # Ten thousand jobs, with their pods, are a gigabyte: no page outlives the next one.
        async for page, of_list in self._client.pages(kind, namespace):
            listed |= self.cache.put_all(kind, page)
            version = of_list
        keys = {key for key in self.cache.all_keys() if namespace in (None, key.namespace)}
        for key in sorted(self.cache.drop_ghosts(kind, listed, version, keys)):
            self.queue.add(key)
        self.metrics.last_event.labels(kind.value).set(time.time())
        return version
