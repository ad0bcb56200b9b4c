"""Keys come once, wait longer after each failure, and later when asked to."""

from __future__ import annotations

import asyncio

import pytest

from dino_operator.runtime.queue import Queue
from tests.patience import LONG


async def test_a_key_is_in_it_once() -> None:
    queue: Queue[str] = Queue()
    queue.add("x")
    queue.add("x")
    assert await queue.get() == "x"
    assert queue.depth == 0


async def test_a_key_in_work_comes_again_only_afterwards() -> None:
    queue: Queue[str] = Queue()
    queue.add("x")
    key = await queue.get()
    queue.add("x")
    assert queue.depth == 0, "two workers on one key would race"
    assert queue.working == 1
    queue.done(key)
    assert queue.working == 0
    assert queue.depth == 1, "what came meanwhile is not forgotten"
    assert await queue.get() == "x"


async def test_failures_wait_longer_each_time_and_success_forgets_them() -> None:
    queue: Queue[str] = Queue(base=1, longest=5, spread=lambda: 1)
    waits = []
    for _ in range(5):
        queue.add("x")
        waits.append(queue.failed(await queue.get()))
    assert waits == [1, 2, 4, 5, 5]
    queue.add("x")
    queue.done(await queue.get())
    queue.add("x")
    assert queue.failed(await queue.get()) == 1
    queue.close()


async def test_the_wait_is_spread() -> None:
    queue: Queue[str] = Queue(base=4, spread=lambda: 0)
    queue.add("x")
    assert queue.failed(await queue.get()) == 2
    queue.close()


async def test_the_last_word_on_when_to_look_again_counts() -> None:
    queue: Queue[str] = Queue()
    queue.add_after("x", 0.01)
    queue.add_after("x", None)
    await asyncio.sleep(0.05)
    assert queue.depth == 0
    queue.add_after("x", 0.01)
    assert await asyncio.wait_for(queue.get(), LONG) == "x"


async def test_age_is_that_of_the_longest_waiting() -> None:
    time = [0.0]
    queue: Queue[str] = Queue(clock=lambda: time[0])
    queue.add("x")
    time[0] = 3
    queue.add("y")
    assert queue.oldest == pytest.approx(3)
    await queue.get()
    assert queue.oldest == pytest.approx(0)
