"""A proxy that writes down what one operator asks of the API server, and when."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from aiohttp import web

from tests.api.slow_requests import WRITES, Delays, Proxy


@dataclass(frozen=True)
class Write:
    """A request other than a read. at: when it came in, by this machine's clock."""

    at: float
    verb: str
    path: str

    @property
    def is_of_the_lease(self) -> bool:
        """Whether it is about who leads."""
        return "leases" in self.path.split("/")


@dataclass
class Record:
    """All that one operator wrote, in order."""

    kubeconfig: Path
    writes: list[Write] = field(default_factory=list)

    def work(self) -> list[Write]:
        """What it wrote besides its Lease."""
        return [each for each in self.writes if not each.is_of_the_lease]

    @property
    def renewed(self) -> float:
        """When it last wrote its Lease. Others see that later, never sooner."""
        return max(each.at for each in self.writes if each.is_of_the_lease)


@contextmanager
def recorded(kubeconfig: Path, name: str) -> Iterator[Record]:
    """A kubeconfig whose writes are recorded before the API server sees them."""
    known = yaml.safe_load(kubeconfig.read_text())
    (cluster,) = (each["cluster"] for each in known["clusters"])
    record = Record(kubeconfig.with_name(f"kubeconfig-{name}"))

    class Recorder(Proxy):
        async def _pass(self, request: web.Request) -> web.StreamResponse:
            if request.method in WRITES:
                record.writes.append(Write(time.monotonic(), request.method, request.path))
            return await super()._pass(request)

    proxy = Recorder(cluster, Delays())
    try:
        cluster["server"] = proxy.start()
        record.kubeconfig.write_text(yaml.safe_dump(known))
        yield record
    finally:
        proxy.stop()
