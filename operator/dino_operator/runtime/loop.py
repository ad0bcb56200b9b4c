"""The operator without kopf: workers that reconcile, and a resync that drops ghosts."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from dino_operator.plan.model import Object, Settings
from dino_operator.runtime.cache import Cache, Key, Kind, key_of
from dino_operator.runtime.client import ApiError, Client
from dino_operator.runtime.metrics import Metrics
from dino_operator.runtime.queue import Queue
from dino_operator.runtime.reconcile import Reconciler

log = logging.getLogger(__name__)
CRD_WAIT = 5.0


@dataclass(frozen=True)
class Options:
    """How the process works. namespaces: those to serve; empty for all."""

    namespaces: Sequence[str] = ()
    workers: int = 4
    resync: float = 600
    stuck_after: float = 300


class Operator:
    """Cache, queue and workers around one client."""

    def __init__(
        self, client: Client, settings: Settings, options: Options, metrics: Metrics
    ) -> None:
        self._client, self._options, self.metrics = client, options, metrics
        self.cache = Cache()
        self.queue: Queue[Key] = Queue()
        self._reconciler = Reconciler(self.cache, client, settings, metrics)
        self._tasks: list[asyncio.Task[None]] = []
        self._synced_at: float | None = None
        metrics.watch_jobs(self.cache.resources)
        metrics.depth.set_function(lambda: self.queue.depth)
        metrics.oldest.set_function(lambda: self.queue.oldest)

    async def start(self) -> None:
        """Waits for the API server and the CRD, reads everything, then starts the workers."""
        await self._wait_for_crd()
        await self.resync()
        for _ in range(self._options.workers):
            self._tasks.append(asyncio.create_task(self._work()))
        self._tasks.append(asyncio.create_task(self._resync_for_ever()))

    async def stop(self) -> None:
        """Ends workers in mid-plan if need be: a plan may be cut anywhere."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.queue.close()
        await self._client.close()

    def observe(self, kind: Kind, event: str | None, thing: Object) -> None:
        """Takes in one watch event and has the owner looked at."""
        self.metrics.last_event.labels(kind.value).set(time.time())
        if event == "DELETED":
            self.cache.remove(kind, thing)
        else:
            self.cache.put(kind, thing)
        self.queue.add(key_of(kind, thing))

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

    async def _wait_for_crd(self) -> None:
        while True:
            try:
                if await self._client.served():
                    return
                log.warning("The DinoJob CRD is not installed; waiting for it.")
            except ApiError as error:
                if error.status in (401, 403):
                    raise
                log.warning("The API server does not answer (%s); trying again.", error)
            await asyncio.sleep(CRD_WAIT)

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            started = time.monotonic()
            try:
                again = await self._reconciler.reconcile(key)
            except ApiError as error:
                wait = self.queue.failed(key)
                log.warning("%s/%s: %s; again in %.1f s", *key, error, wait)
                self.metrics.reconciled("error", time.monotonic() - started)
            except Exception:
                wait = self.queue.failed(key)
                log.exception("%s/%s: a bug in the operator; again in %.1f s", *key, wait)
                self.metrics.reconciled("bug", time.monotonic() - started)
            else:
                self.queue.done(key, again)
                self.metrics.reconciled("ok", time.monotonic() - started)

    async def _resync_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._options.resync)
            try:
                await self.resync()
            except ApiError as error:
                log.warning("The resync failed: %s", error)

    async def resync(self) -> None:
        """Lists everything, drops what is gone, and has every job looked at. Raises ApiError.

        Watches lose deletions in their gaps; this finds them.
        """
        oldest = None
        for kind in Kind:
            for namespace in self._options.namespaces or (None,):
                version = await self._resync_kind(kind, namespace)
                oldest = version if oldest is None else min(oldest, version)
        self.cache.forget_deleted(oldest or 0)
        self.cache.forget_known()
        self._synced_at = time.monotonic()
        for key in self.cache.all_keys():
            self.queue.add(key)

    async def _resync_kind(self, kind: Kind, namespace: str | None) -> int:
        things, version = await self._client.list_all(kind, namespace)
        keys = {key for key in self.cache.all_keys() if namespace in (None, key[0])}
        for key in self.cache.replace(kind, things, version, keys):
            self.queue.add(key)
        self.metrics.last_event.labels(kind.value).set(time.time())
        return version
