"""Lists of many pages, by a client of a server of HTTP: a double of the API server's lists."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest
from aiohttp import web
from kubernetes.aio import client as kube

from dino_operator.runtime.client import ApiError, Client
from dino_operator.runtime.keys import Kind
from dino_operator.runtime.metrics import OperatorMetrics
from tests.patience import LONG

PAGES = 3


class Lists:
    """Pages of one pod each. asked: by number; broken: the page that is answered with 410."""

    def __init__(self) -> None:
        self.asked = [asyncio.Event() for _ in range(PAGES)]
        self.broken: int | None = None

    async def answer(self, request: web.Request) -> web.Response:
        number = int(request.query.get("continue", "0"))
        self.asked[number].set()
        if number == self.broken:
            return web.json_response({"reason": "Expired", "message": "too old"}, status=410)
        about = {"resourceVersion": "7"}
        if number + 1 < PAGES:
            about["continue"] = str(number + 1)
        return web.json_response({"metadata": about, "items": [{"page": number}]})


@asynccontextmanager
async def listed() -> AsyncIterator[tuple[Client, Lists]]:
    """A client of such a server."""
    lists, app = Lists(), web.Application()
    app.router.add_get("/{tail:.*}", lists.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    client = Client(kube.Configuration(host=host), OperatorMetrics())
    try:
        yield client, lists
    finally:
        await client.close()
        await runner.cleanup()


async def test_pages_come_in_order_with_the_version_of_the_list() -> None:
    async with listed() as (client, _):
        found = [page async for page in client.pages(Kind.PODS, None)]
    assert found == [([{"page": number}], 7) for number in range(PAGES)]


async def test_the_next_page_is_asked_for_while_one_is_looked_at() -> None:
    async with listed() as (client, lists), aclosing(client.pages(Kind.PODS, None)) as pages:
        async for (thing,), _ in pages:
            if thing["page"] + 1 < PAGES:
                await asyncio.wait_for(lists.asked[thing["page"] + 1].wait(), LONG)
            beyond = thing["page"] + 2
            assert not any(each.is_set() for each in lists.asked[beyond:]), "one ahead, no more"


async def test_a_list_that_expires_ends_after_what_had_come() -> None:
    found = []
    async with listed() as (client, lists), aclosing(client.pages(Kind.PODS, None)) as pages:
        lists.broken = 2
        for _ in range(lists.broken):
            (thing,), _ = await anext(pages)
            found.append(thing["page"])
        with pytest.raises(ApiError, match="too old"):
            await anext(pages)
    assert found == [0, 1]


async def test_who_looks_at_one_page_alone_leaves_no_request_behind() -> None:
    before = asyncio.all_tasks()
    async with listed() as (client, _):
        async with aclosing(client.pages(Kind.PODS, None)) as pages:
            await anext(pages)
        after = asyncio.all_tasks() - before
        assert not [each for each in after if "Client.request" in repr(each)]
