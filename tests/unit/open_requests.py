"""Requests of the operator's own client that stay open until a test has them done, and answered.

It stands where the `kubernetes` package would send them. What they ask for is done by the `Store`
in one moment, which the test chooses, as it does the moment of the answer.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple

import aiohttp

from dino_operator.plan.model import Delete, Object, Patch
from dino_operator.runtime.client import OURS, ApiError
from dino_operator.runtime.keys import KINDS, Key, Kind
from tests.unit.plan_store import Store

PAGE = 3
"""Objects of one answer to a list: the others come with the next ones."""


class PlanId(NamedTuple):
    """Whose plan asks, and the version of the world when it began."""

    key: Key | None
    began: int


NO_PLAN = PlanId(None, 0)
"""Asked at the start, or by a resync."""
ASKING: ContextVar[PlanId] = ContextVar("ASKING", default=NO_PLAN)
WHERE = re.compile(
    r"/api(s/[^/]+)?/v[^/]+(/namespaces/(?P<space>[^/]+))?/(?P<plural>[a-z]+)"
    r"(/(?P<name>[^/]+))?(/(?P<sub>status))?"
)
CHOICE = re.compile(r"(?P<key>[^,=]+?)(=(?P<value>[^,]*)| in \((?P<values>[^)]*)\))")


class Place(NamedTuple):
    """What a request is about."""

    path: str
    query: dict[str, str]


@dataclass
class HttpAnswer:
    """As the `kubernetes` package gives it."""

    status: int
    body: Object

    async def read(self) -> bytes:
        return json.dumps(self.body).encode()


@dataclass(eq=False)
class Request:
    """outcome: what the API server says to it; None until it is done, or refused."""

    verb: str
    place: Place
    body: Any
    plan: PlanId
    reply: asyncio.Future[HttpAnswer]
    outcome: HttpAnswer | None = None

    def __str__(self) -> str:
        last = self.place.path.partition("/namespaces/")[2] or self.place.path
        name = "" if self.body is None or self.verb != "POST" else self.body["metadata"]["name"]
        return " ".join(part for part in (self.verb, last, name) if part)


class OpenRequests:
    """Of one process. tell: is told what happens to them, line by line."""

    def __init__(self, world: Store, tell: Callable[[str], None]) -> None:
        self.open: list[Request] = []
        self.serving: Request | None = None
        self._world, self._tell = world, tell
        self._pages: dict[str, tuple[list[Object], int]] = {}

    # ---- in place of kubernetes.aio.client.ApiClient -------------------------------------------

    async def param_serialize(
        self, method: str, path: str, query_params: Any, header_params: Any, auth_settings: Any
    ) -> tuple[str, Place, Any]:
        return method, Place(path, dict(query_params)), header_params

    async def call_api(
        self, verb: str, place: Place, headers: Any, body: Any, _request_timeout: Any
    ) -> HttpAnswer:
        reply = asyncio.get_running_loop().create_future()
        request = Request(verb, place, body, ASKING.get(), reply)
        self._in_one_hand(request)
        self.open.append(request)
        self._tell(f"  asked: {request}")
        try:
            return await reply
        finally:
            if request in self.open:  # nobody waits for it any more
                self.open.remove(request)

    def writes(self) -> list[Request]:
        """The open ones that change something."""
        return [each for each in self.open if each.verb != "GET"]

    def _in_one_hand(self, request: Request) -> None:
        """What one plan has sent is answered before another one of its key sends anything."""
        if request.verb == "GET":
            return
        for other in self.writes():
            assert other.plan.key != request.plan.key, f"{request}, and {other} is not answered"

    # ---- what a test does -----------------------------------------------------------------------

    def do(self, request: Request) -> None:
        """It is done, once; nobody is told so far."""
        if request.outcome is not None:
            return
        self.serving = request
        try:
            request.outcome = HttpAnswer(200, self._now(request))
        except ApiError as error:
            request.outcome = _refusal(error)
        finally:
            self.serving = None
        self._tell(f"  done: {request}: {request.outcome.status}")

    def answer(self, request: Request) -> None:
        """It is done, and whoever asked is told."""
        self.do(request)
        assert request.outcome is not None
        self._close(request, "answered")
        request.reply.set_result(request.outcome)

    def refuse(self, request: Request, error: ApiError) -> None:
        """It is not done, unless it is already; either way that is the answer."""
        self._close(request, f"refused with {error.status}")
        if error.status:
            request.reply.set_result(_refusal(error))
        else:
            request.reply.set_exception(aiohttp.ClientConnectionError("no answer"))

    def _close(self, request: Request, how: str) -> None:
        self.open.remove(request)
        self._tell(f"  {how}: {request}")

    # ---- the API server -------------------------------------------------------------------------

    def _now(self, request: Request) -> Object:
        """The answer of the world, in which nothing is ever waited for."""
        serving = self._serve(request)
        try:
            serving.send(None)
        except StopIteration as end:
            return end.value
        raise AssertionError("the world waits for something")

    async def _serve(self, request: Request) -> Object:
        if request.place.path == OURS:
            return {"resources": [{"name": each.value} for each in KINDS]}
        at = WHERE.fullmatch(request.place.path)
        if at is None:
            raise ApiError(404, "NotFound", request.place.path)
        space, plural, name = at["space"], at["plural"], at["name"]
        match request.verb, name:
            case "GET", None:
                return self._page(plural, request.place.query)
            case "GET", _:
                thing = await self._world.get(plural, space, name)
                if thing is None:
                    raise ApiError(404, "NotFound", name)
                return thing
            case "POST", _:
                return await self._world.create(request.body)
            case "PATCH", _ if at["sub"]:
                return await self._apply(plural, name, request.body)
            case "PATCH", _:
                uid = request.body["metadata"]["uid"]
                return await self._world.patch(space, Patch(name, uid, request.body, plural))
            case "DELETE", _:
                uid = request.body["preconditions"]["uid"]
                await self._world.delete(space, Delete(name, uid, plural))
                return {}
        raise AssertionError(f"not served: {request}")

    async def _apply(self, plural: str, name: str, body: Object) -> Object:
        """Without a version, any is fine."""
        stored = self._world.things[Kind(plural)].get(name)
        if stored is not None:
            body["metadata"].setdefault("resourceVersion", stored["metadata"]["resourceVersion"])
        return await self._world.apply_status(body, body["status"])

    def _page(self, plural: str, query: dict[str, str]) -> Object:
        """A part of a list. The whole of it is as it was when the first part was asked for."""
        if "continue" in query:
            things, version = self._pages.pop(query["continue"])
        else:
            things, version = self._chosen(plural, query), self._world.version
        about = {"resourceVersion": str(version)}
        if things[PAGE:]:
            about["continue"] = f"{plural}-{len(self._pages)}-{version}"
            self._pages[about["continue"]] = things[PAGE:], version
        return {"metadata": about, "items": things[:PAGE]}

    def _chosen(self, plural: str, query: dict[str, str]) -> list[Object]:
        if plural == "events":
            uid = query["fieldSelector"].removeprefix("involvedObject.uid=")
            return list(self._world.events_of.get(uid, []))
        if plural == "limitranges":
            return list(self._world.limit_ranges)
        wanted = list(_choices(query.get("labelSelector", "")))
        return [each for each in self._world.things[Kind(plural)].values() if _has(each, wanted)]


def _choices(selector: str) -> Iterator[tuple[str, list[str]]]:
    """Labels and the values they may have."""
    for each in CHOICE.finditer(selector):
        yield each["key"].strip(), (each["values"] or each["value"]).split(",")


def _has(thing: Object, wanted: list[tuple[str, list[str]]]) -> bool:
    labels = thing["metadata"].get("labels") or {}
    return all(labels.get(key) in values for key, values in wanted)


def _refusal(error: ApiError) -> HttpAnswer:
    return HttpAnswer(error.status, {"reason": error.reason, "message": error.message})
