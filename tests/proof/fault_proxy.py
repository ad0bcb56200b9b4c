"""A proxy that spoils one moment of an operator that it knows nothing of, a process of its own.

What `faults.Line` and `faults.Run` do to our reconciler, it does on the wire: a write that the API
server does not see, an answer that does not come, watch events that are not told, old lists.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from dino_api.names import PLURAL
from tests.api.slow_requests import HOPS, WRITES, Delays, Proxy
from tests.proof.faults import AT_CHANGES, AT_WRITES, BACK, Fault, Object

WATCHED = frozenset({"jobs", PLURAL})
"""Collections whose changes are counted, and told or not."""
BESIDE = frozenset({"events", "selfsubjectaccessreviews"})
"""Writes that are not spoiled: they change nothing of a workload's."""
GONE: Object = {
    "type": "ERROR",
    "object": {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410},
}
Things = dict[str, Object]


class FaultProxy(Proxy):
    """kill: ends the operator's process at once. It is called in the proxy's own thread.

    writes, changes: so far. befell: whether the fault's moment came. blind: whether watches tell
    nothing, from the change on until `see_again`. opened: watches that were begun, so far.
    """

    def __init__(self, cluster: dict[str, Any], fault: Fault, kill: Callable[[], None]) -> None:
        super().__init__(cluster, Delays())
        self._fault, self._kill = fault, kill
        self.writes: list[str] = []
        self.changes = self.opened = 0
        self.befell = self.blind = False
        self._open: dict[web.StreamResponse, aiohttp.ClientResponse] = {}
        self._state: dict[str, tuple[Object, Things]] = {}
        self._past: list[dict[str, tuple[Object, Things]]] = []
        self._old: dict[str, tuple[Object, Things]] = {}

    def see_again(self) -> None:
        """Watches end as those that the API server has forgotten: all is listed anew."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result()

    async def _cut(self) -> None:
        self.blind = False
        for each in list(self._open.values()):
            each.close()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        plural = _plural(request.path)
        if request.method in WRITES and plural not in BESIDE:
            return await self._write(request)
        if request.method == "GET" and plural in WATCHED:
            if request.query.get("watch") in ("true", "1"):
                return await self._watch(request)
            return await self._list(request)
        return await super()._pass(request)

    async def _write(self, request: web.Request) -> web.StreamResponse:
        self.writes.append(f"{request.method} {request.path}")
        here = self._fault.what in AT_WRITES and len(self.writes) == self._fault.at
        what = self._fault.what if here else "none"
        self.befell |= here
        if what == "kill before":
            self._kill()
            return _cut_off(request)
        answer = await self._asked(request)
        if what == "kill after":
            self._kill()
        return answer if what == "none" else _cut_off(request)

    async def _asked(self, request: web.Request) -> web.Response:
        """The whole answer."""
        headers = _plainly(request)
        where = URL(f"{self._server}{request.rel_url.raw_path_qs}", encoded=True)
        body = await request.read()
        async with self._session.request(
            request.method,
            where,
            headers=headers,
            data=body or None,
            skip_auto_headers={"Content-Type"},  # the API server takes none for JSON
        ) as answer:
            told = {key: each for key, each in answer.headers.items() if key.lower() not in HOPS}
            return web.Response(status=answer.status, headers=told, body=await answer.read())

    async def _list(self, request: web.Request) -> web.Response:
        """A list, which may be an old one."""
        path = request.path
        if path in self._old:
            kept, things = self._old.pop(path)
            return web.json_response({**kept, "items": list(things.values())})
        answer = await self._asked(request)
        if answer.status == 200 and _is_collection(path):
            listed = json.loads(answer.body or b"{}")
            items = {each["metadata"]["uid"]: each for each in listed.pop("items") or ()}
            self._state[path] = (listed, items)
        return answer

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        headers = _plainly(request)
        where = URL(f"{self._server}{request.rel_url.raw_path_qs}", encoded=True)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        async with self._session.get(where, headers=headers) as answer:
            response.set_status(answer.status)
            with suppress(ConnectionError):  # the operator was killed
                await response.prepare(request)
                self._open[response] = answer
                self.opened += 1
                try:
                    await self._tell(request.path, answer, response)
                    await response.write(json.dumps(GONE).encode() + b"\n")
                finally:
                    del self._open[response]
        return response

    async def _tell(
        self, path: str, answer: aiohttp.ClientResponse, response: web.StreamResponse
    ) -> None:
        """Line by line, until the watch ends or is cut."""
        with suppress(aiohttp.ClientError):
            async for line in answer.content:
                event = json.loads(line)
                if event["type"] in ("ADDED", "MODIFIED", "DELETED"):
                    self._note(path, event)
                if not self.blind:
                    await response.write(line)

    def _note(self, path: str, event: Object) -> None:
        """One more change, at which the fault may be."""
        head, things = self._state.get(path, ({"metadata": {}}, {}))
        meta = event["object"]["metadata"]
        now = {key: each for key, each in things.items() if key != meta["uid"]}
        if event["type"] != "DELETED":
            now[meta["uid"]] = event["object"]
        version = {**head["metadata"], "resourceVersion": meta["resourceVersion"]}
        self._past.append(dict(self._state))
        self._state[path] = ({**head, "metadata": version}, now)
        self.changes += 1
        if self._fault.what in AT_CHANGES and self.changes == self._fault.at:
            self._befall()

    def _befall(self) -> None:
        self.befell = True
        if self._fault.what == "stale":
            self._old = dict(self._past[max(0, len(self._past) - BACK)])
            self._kill()
        else:
            self.blind = True


def _plural(path: str) -> str:
    """The collection that a path is about: of a namespace's things, or of the cluster's."""
    parts = path.strip("/").split("/")
    if "namespaces" in parts and len(parts) > parts.index("namespaces") + 2:
        return parts[parts.index("namespaces") + 2]
    return parts[-1]


def _is_collection(path: str) -> bool:
    return path.rsplit("/", 1)[-1] in WATCHED


def _plainly(request: web.Request) -> dict[str, str]:
    """Its headers, answered without compression: what is said is read here."""
    headers = {key: each for key, each in request.headers.items() if key.lower() not in HOPS}
    headers.pop("Accept-Encoding", None)
    return headers | {"Accept-Encoding": "identity"}


def _cut_off(request: web.Request) -> web.StreamResponse:
    """No answer: the connection is gone."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)
