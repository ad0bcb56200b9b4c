"""An operator in memory that a test interrupts: killed, cut off, stale, refused, its clock wrong.

It is the real one, from its cache on: plans, reads and writes go to a `World`. What that tells lies
`on_the_way` until the test delivers it, in whatever order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from dino_operator.plan.model import Object, Settings
from dino_operator.runtime.cache import ObjectCache
from dino_operator.runtime.client import ApiError
from dino_operator.runtime.keys import Key, Kind
from dino_operator.runtime.metrics import OperatorMetrics
from dino_operator.runtime.reconcile import Reconciler
from tests.unit.plan_world import Countdown, Crash, World

Event = tuple[Kind, str, Object]
METRICS = OperatorMetrics()
QUOTA = "exceeded quota: gpus, requested: count/jobs.batch=1, used: 1, limited: 1"
ANSWERS = {
    "conflict": (409, "Conflict", "the object has been modified"),
    "slow down": (429, "TooManyRequests", "please try again later"),
    "internal": (500, "InternalError", "etcdserver: request timed out"),
    "away": (503, "ServiceUnavailable", "the server is currently unable to handle the request"),
    "quota": (403, "Forbidden", QUOTA),
    "lost": (0, "Unreachable", "no answer"),
}
"""What the API server says where it does not do what it was asked for."""


class AtOnce(ThreadPoolExecutor):
    """Works where it is asked to. Plans of searches are made in a thread, for which an operator
    that does nothing else would only wait."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 -- told to whoever waits, who raises it
            done.set_exception(error)
        return done


class Interrupted:
    """The operator, and what is on its way to it. skew: seconds by which its clock is wrong."""

    def __init__(self, world: World, settings: Settings | None = None) -> None:
        self.world, self.settings = world, settings or Settings("trainer:1")
        self.loop = self.new_loop()
        self.on_the_way: list[Event] = []
        self.skew = 0.0
        self.past: dict[Kind, list[Object]] = {}
        self.past_version = 0
        world.watchers.append(lambda *event: self.on_the_way.append(event))
        self.restart()

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """What it runs on."""
        made = asyncio.new_event_loop()
        made.set_default_executor(AtOnce())
        return made

    def close(self) -> None:
        """Nothing of it is left."""
        self.loop.close()

    def restart(self) -> None:
        """A new process, which reads everything."""
        self.begin(ObjectCache())
        self.on_the_way.clear()
        self.resync()

    def begin(self, cache: ObjectCache) -> None:
        """A process that knows what is in the cache."""
        self.cache = cache
        self.reconciler = Reconciler(
            cache,
            self.world,
            self.settings,
            METRICS,
            lambda: self.world.now + timedelta(seconds=self.skew),
        )

    def resync(self) -> None:
        """Lists everything as it is; shared objects are made sure of again."""
        self._list({kind: list(self.world.things[kind].values()) for kind in Kind})
        self.cache.forget_known()

    def _list(self, things: dict[Kind, list[Object]], version: int | None = None) -> None:
        for kind in Kind:
            known = self.world.version if version is None else version
            self.cache.replace(kind, things[kind], known)

    def remember(self) -> None:
        """What a stale list will say."""
        self.past = {kind: list(self.world.things[kind].values()) for kind in Kind}
        self.past_version = self.world.version

    def restart_stale(self) -> None:
        """A new process whose first lists are old."""
        self.begin(ObjectCache())
        self.on_the_way.clear()
        self._list(self.past, self.past_version)

    def keys(self) -> list[Key]:
        """Every plan that there is."""
        return sorted(self.cache.all_keys())

    def reconcile(self, key: Key) -> None:
        """One plan; whatever was to befall it is over then."""
        try:
            self.loop.run_until_complete(self.reconciler.reconcile(key))
        except Crash:
            self.restart()
        except ApiError:
            pass  # the queue would try again later
        finally:
            self.world.crash = lambda moment: None
            self.world.read = lambda: None

    def killed(self, after: int, moment: str) -> None:
        """The next plan is killed at its so manyth write."""
        self.world.crash = Countdown(after, moment, Crash("killed"))

    def refused(self, after: int, answer: str, moment: str = "before") -> None:
        """The so manyth write of the next plan gets this answer; after: though it was done."""
        self.world.crash = Countdown(after, moment, ApiError(*ANSWERS[answer]))

    def unread(self, after: int, answer: str) -> None:
        """The so manyth read of the next plan gets this answer."""
        cut = Countdown(after, "read", ApiError(*ANSWERS[answer]))
        self.world.read = lambda: cut("read")

    def deliver(self, event: Event) -> None:
        """One watch event."""
        kind, what, thing = event
        if what == "DELETED":
            self.cache.remove(kind, thing)
        else:
            self.cache.put(kind, thing)

    def deliver_all(self) -> None:
        """All that is on its way, in order."""
        for event in self.on_the_way:
            self.deliver(event)
        self.on_the_way.clear()

    def until_over(
        self, go_on: Callable[[], None], is_over: Callable[[], bool], rounds: int
    ) -> None:
        """Rounds until all is over and a whole one has changed nothing: others would be the same
        but for the time. That of all that are left passes in one step, and one more round shows
        what it brings."""
        for left in reversed(range(rounds)):
            before = (self.world.version, self.world.writes, self.world.now)
            go_on()
            if is_over() and before[:2] == (self.world.version, self.world.writes):
                self.world.now += left * (self.world.now - before[2])
                go_on()
                break

    def at_rest(self, go_on: Callable[[], None], rounds: int = 10) -> None:
        """Fails where it writes in so many rounds."""
        before = self.world.writes
        for _ in range(rounds):
            go_on()
        assert self.world.writes == before, "it writes at rest"
