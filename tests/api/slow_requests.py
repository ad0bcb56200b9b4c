"""A proxy that slows down chosen requests of the tested operator, to find what holds by luck.

DINO_TEST_DELAYS=status=2,jobs=2 puts it before the API server, for the operator alone: the tests
themselves are answered at once. What is slow arrives late, also where the operator was killed
meanwhile, as on a real network. Where nothing is slow there is no proxy.
"""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web
from yarl import URL

from tests.patience import LONG

VARIABLE = "DINO_TEST_DELAYS"
WRITES = {"POST", "PUT", "PATCH", "DELETE"}
HOPS = {"host", "connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer"}
LARGEST = 1 << 26


@dataclass(frozen=True)
class Delays:
    """Seconds by which requests are late.

    status: writes of any status. jobs: writes of Jobs. events: of Events. writes: all writes.
    all: every request. watch: what watches tell. answers: the answers to writes, which were done.
    """

    status: float = 0
    jobs: float = 0
    events: float = 0
    writes: float = 0
    all: float = 0
    watch: float = 0
    answers: float = 0

    @classmethod
    def read(cls, text: str) -> Delays:
        """Of `status=2,all=0.3`. Raises ValueError where that is not understood."""
        known = {each.name for each in fields(cls)}
        found = dict(part.partition("=")[::2] for part in text.split(",") if part)
        if not found.keys() <= known:
            unknown = ", ".join(sorted(found.keys() - known))
            raise ValueError(f"{VARIABLE}: no {unknown}; there are {', '.join(sorted(known))}")
        return cls(**{name: float(seconds) for name, seconds in found.items()})

    def before(self, verb: str, path: str) -> float:
        """How long a request waits before the API server sees it."""
        if verb not in WRITES:
            return self.all
        parts = path.split("/")
        slow = [self.writes]
        slow += [self.status] if parts[-1] == "status" else []
        slow += [self.jobs] if "jobs" in parts else []
        slow += [self.events] if "events" in parts else []
        return self.all + max(slow)


def wanted() -> Delays:
    """What DINO_TEST_DELAYS says. Raises ValueError."""
    return Delays.read(os.environ.get(VARIABLE, ""))


@contextmanager
def slowed(kubeconfig: Path) -> Iterator[Path]:
    """A kubeconfig whose requests are as late as DINO_TEST_DELAYS says; the same one without it."""
    delays = wanted()
    if delays == Delays():
        yield kubeconfig
        return
    known = yaml.safe_load(kubeconfig.read_text())
    (cluster,) = (each["cluster"] for each in known["clusters"])
    proxy = Proxy(cluster, delays)
    try:
        cluster["server"] = proxy.start()
        slow = kubeconfig.with_name("kubeconfig-slow")
        slow.write_text(yaml.safe_dump(known))
        yield slow
    finally:
        proxy.stop()


class Proxy:
    """Plain HTTP on a port of this machine; the API server is spoken to as the kubeconfig says."""

    def __init__(self, cluster: dict[str, Any], delays: Delays) -> None:
        self._server, self._delays = str(cluster["server"]).rstrip("/"), delays
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._trust = ssl.create_default_context(cadata=authority)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> str:
        """Its URL."""
        self._thread.start()
        return asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(LONG)

    def stop(self) -> None:
        """Cuts off whoever still listens."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(LONG)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> str:
        limits = aiohttp.ClientTimeout(total=None)
        connections = aiohttp.TCPConnector(ssl=self._trust, limit=0)
        self._session = aiohttp.ClientSession(
            timeout=limits, connector=connections, auto_decompress=False
        )
        application = web.Application(client_max_size=LARGEST)
        application.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(application, shutdown_timeout=0, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        return f"http://127.0.0.1:{port}"

    async def _close(self) -> None:
        ours = asyncio.all_tasks() - {asyncio.current_task()}
        for each in ours:
            each.cancel()
        await asyncio.gather(*ours, return_exceptions=True)
        await self._session.close()
        await self._runner.cleanup()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        await asyncio.sleep(self._delays.before(request.method, request.path))
        headers = {key: each for key, each in request.headers.items() if key.lower() not in HOPS}
        where = f"{self._server}{request.rel_url.raw_path_qs}"
        async with self._session.request(
            request.method, URL(where, encoded=True), headers=headers, data=body or None
        ) as answer:
            if request.method in WRITES:
                await asyncio.sleep(self._delays.answers)
            told = {key: each for key, each in answer.headers.items() if key.lower() not in HOPS}
            response = web.StreamResponse(status=answer.status, headers=told)
            is_watch = request.query.get("watch") in ("true", "1")
            with suppress(ConnectionError):  # the operator was killed
                await response.prepare(request)
                await _pour(answer, response, self._delays.watch if is_watch else 0)
            return response


async def _pour(answer: aiohttp.ClientResponse, response: web.StreamResponse, late: float) -> None:
    """Each piece so many seconds after it came, in order."""
    clock = asyncio.get_running_loop().time
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def gather() -> None:
        with suppress(aiohttp.ClientError):
            async for piece in answer.content.iter_any():
                pieces.put_nowait((clock() + late, piece))
        pieces.put_nowait((clock() + late, b""))

    gathering = asyncio.create_task(gather())
    try:
        while True:
            due, piece = await pieces.get()
            await asyncio.sleep(due - clock())
            if not piece:
                return
            await response.write(piece)
    finally:
        gathering.cancel()
