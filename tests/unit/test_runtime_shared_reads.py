"""Reads that are shared: one request for all who ask, no answer older than its question."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from dino_api.names import Label
from dino_operator.plan.model import Object
from dino_operator.runtime.client import ApiError, Client
from dino_operator.runtime.keys import Key, Kind
from dino_operator.runtime.shared_reads import MOST, SharedReads


@dataclass
class Slow:
    """Answers once it is let, with the number of the request and the keys that it was for."""

    asked: list[tuple[str, ...]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None

    async def __call__(self, _: str, keys: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
        self.asked.append(keys)
        number = len(self.asked)
        await self.gate.wait()
        if self.error:
            raise self.error
        return number, keys


async def some(reads: SharedReads[str, Any], keys: Sequence[str]) -> list[asyncio.Task[Any]]:
    """Those questions, on their way."""
    tasks = [asyncio.create_task(reads.answer("group", key)) for key in keys]
    await asyncio.sleep(0.01)
    return tasks


async def test_who_asks_at_once_shares_a_request() -> None:
    slow = Slow()
    tasks = await some(SharedReads(slow), ("a", "b", "a"))
    slow.gate.set()
    assert await asyncio.gather(*tasks) == [(1, ("a", "b"))] * 3
    assert slow.asked == [("a", "b")]


async def test_who_asks_while_a_request_is_under_way_waits_for_the_next() -> None:
    slow = Slow()
    reads: SharedReads[str, Any] = SharedReads(slow)
    (first,) = await some(reads, ("a",))
    late = await some(reads, ("a", "b"))
    assert slow.asked == [("a",)], "one at a time"
    slow.gate.set()
    assert await first == (1, ("a",))
    assert await asyncio.gather(*late) == [(2, ("a", "b"))] * 2


async def test_groups_do_not_wait_for_each_other() -> None:
    slow = Slow()
    reads: SharedReads[str, Any] = SharedReads(slow)
    both = [asyncio.create_task(reads.answer(group, "a")) for group in ("one", "two")]
    await asyncio.sleep(0.01)
    assert slow.asked == [("a",), ("a",)]
    slow.gate.set()
    await asyncio.gather(*both)


async def test_a_request_has_a_limit() -> None:
    slow = Slow()
    slow.gate.set()
    keys = [str(number) for number in range(MOST + 1)]
    await asyncio.gather(*await some(SharedReads(slow), keys))
    assert [len(each) for each in slow.asked] == [MOST, 1]


async def test_a_failure_is_told_to_all_and_the_next_one_asks_again() -> None:
    slow = Slow(error=ApiError(500, "InternalError", "no"))
    slow.gate.set()
    reads: SharedReads[str, Any] = SharedReads(slow)
    failed = await asyncio.gather(*await some(reads, ("a", "b")), return_exceptions=True)
    assert [type(each) for each in failed] == [ApiError, ApiError]
    slow.error = None
    assert await reads.answer("group", "a") == (2, ("a",))


async def test_whoever_goes_takes_the_answer_from_nobody() -> None:
    slow = Slow()
    reads: SharedReads[str, Any] = SharedReads(slow)
    going, staying = await some(reads, ("a", "a"))
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    slow.gate.set()
    assert await staying == (1, ("a",))


async def test_after_a_request_was_cut_off_the_next_one_asks_again() -> None:
    slow = Slow()
    reads: SharedReads[str, Any] = SharedReads(slow)
    (cut,) = await some(reads, ("a",))
    for task in reads._asking.values():
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cut
    slow.gate.set()
    assert await reads.answer("group", "a") == (2, ("a",))


LISTED: Object = {"metadata": {"resourceVersion": "7"}}


class Listing(Client):
    """A client whose lists are made of these, as an API server would answer."""

    def __init__(self, things: Sequence[Object], about: Object = LISTED) -> None:
        self._things, self._about = things, about
        self.selectors: list[str] = []
        self._lists = SharedReads(self._list_alike)
        self._children = SharedReads(self._list_labelled)

    async def request(self, verb: str, where: str, **more: Any) -> Object:
        self.selectors.append(more["query"].get("labelSelector", ""))
        return {**self._about, "items": list(self._things)}


def a_job(owner: str) -> Object:
    return {"kind": "Job", "metadata": {"name": owner, "labels": {Label.JOB.value: owner}}}


async def test_plans_that_look_at_once_list_their_children_together() -> None:
    x, y = a_job("x"), a_job("y")
    client = Listing([x, y])
    keys = [Key(Kind.DINOJOBS, "team", name) for name in ("x", "y", "z")]
    found = await asyncio.gather(*(client.children(Kind.JOBS, key) for key in keys))
    assert found == [([x], 7), ([y], 7), ([], 7)], "each its own"
    (selector,) = client.selectors
    assert selector.endswith(",dino-operator.io/job in (x,y,z)")


async def test_the_same_list_is_asked_for_once() -> None:
    client = Listing([])
    await asyncio.gather(*(client.list_all("limitranges", "team") for _ in range(5)))
    assert client.selectors == [""]
    await client.list_all("limitranges", "team")
    assert len(client.selectors) == 2, "what was read before is not remembered"


@pytest.mark.parametrize(
    "about",
    [{}, {"metadata": None}, {"metadata": {}}, {"metadata": {"resourceVersion": "new"}}],
    ids=str,
)
async def test_an_answer_that_is_no_list_is_the_api_servers_failure(about: Object) -> None:
    """Of a proxy, say. An empty list would mean that all are gone."""
    with pytest.raises(ApiError, match="no list of limitranges") as answer:
        await Listing([], about).list_all("limitranges", "team")
    assert answer.value.may_pass
