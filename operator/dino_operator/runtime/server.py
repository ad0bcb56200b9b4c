"""The HTTP side: liveness, readiness and metrics."""

from __future__ import annotations

from aiohttp import web

from dino_operator.runtime.lease import Lease
from dino_operator.runtime.loop import Operator


class Server:
    """Serves /healthz, /readyz and /metrics on one port. Port 0 takes any free one.

    An operator that stands by is ready once it has read the Lease: it does what it is there for.
    """

    def __init__(
        self, operator: Operator, port: int, host: str = "0.0.0.0", lease: Lease | None = None
    ) -> None:
        self._operator, self._host, self.port, self._lease = operator, host, port, lease
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listens. Raises OSError where the port is taken."""
        app = web.Application()
        app.on_response_prepare.append(_end_connection)
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stops listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _health(self, _: web.Request) -> web.Response:
        trouble = self._operator.trouble
        return web.Response(text=trouble or "ok", status=500 if trouble else 200)

    async def _ready(self, _: web.Request) -> web.Response:
        if self._lease is not None and not self._lease.leads and self._lease.holder is not None:
            return web.Response(text=f"standing by: {self._lease.holder or 'nobody'} leads")
        ready = self._operator.ready
        message = "ok" if ready else "waiting for the API server, the CRD and the first list"
        return web.Response(text=message, status=200 if ready else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        text = self._operator.metrics.text()
        return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4"})


async def _end_connection(_: web.Request, response: web.StreamResponse) -> None:
    """A connection that stays is a task, for whose end kopf would wait at its own."""
    response.force_close()
    response.headers["Connection"] = "close"
