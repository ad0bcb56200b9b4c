"""The operator as it runs: workers, queue, watch and client, whose requests wait for the test.

It is killed, stopped and started as often as the test wants; the loop that it runs on stands still
but where the test has it go on.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import cycle
from types import SimpleNamespace
from unittest.mock import patch

from kubernetes.aio import client as kube

from dino_operator.plan.model import Object, Settings
from dino_operator.plan.observed import objects
from dino_operator.runtime.cache import unpacked, version_of
from dino_operator.runtime.client import ApiError, Client
from dino_operator.runtime.keys import Key, Kind
from dino_operator.runtime.loop import Operator, Options
from dino_operator.runtime.metrics import OperatorMetrics
from dino_operator.runtime.reconcile import Reconciler
from tests.builders import NOON
from tests.unit.open_requests import ASKING, OpenRequests, PlanId, Request
from tests.unit.plan_operator import ANSWERS, AtOnce, Event, Interrupted
from tests.unit.plan_world import World
from tests.unit.still_loop import StillLoop

WORKERS = 3
NEVER = 1e9
MANY = 5000
"""Requests that no round needs: more are asked without an end."""


class Uncounted(OperatorMetrics):
    """Many operators one after the other."""

    def watch(self, kind: str, resources: Callable[[], object]) -> None:
        """Nobody reads them."""


METRICS = Uncounted()


class Dated(Reconciler):
    """Each request knows at which version of the world the plan began that it is of."""

    world: World

    async def reconcile(self, key: Key) -> float | None:
        ASKING.set(PlanId(key, self.world.version))
        return await super().reconcile(key)


class Faults(logging.Handler):
    """What the operator logs as a bug of its own."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(logging.Formatter().format(record))


class Waiting(Interrupted):
    """An operator whose requests wait.

    tell: is told what happens to it. missed: whether an event was lost since it has begun.
    """

    def __init__(
        self, world: World, tell: Callable[[str], None], settings: Settings | None = None
    ) -> None:
        self.tell = tell
        self.faults = Faults()
        logging.getLogger("dino_operator").addHandler(self.faults)
        self.requests: OpenRequests | None = None
        self.ends = True
        self.befall(0, lambda: None)
        self.states = [(world.version, _shallow(world))]
        world.watchers.append(lambda *_: self.states.append((world.version, _shallow(world))))
        world.ever = self._ever
        super().__init__(world, settings)

    def new_loop(self) -> asyncio.AbstractEventLoop:
        made = StillLoop(lambda: (self.world.now - NOON).total_seconds())
        made.set_default_executor(AtOnce())
        made.set_exception_handler(lambda _, about: self.faults.found.append(str(about)))
        return made

    def close(self) -> None:
        """Nothing of it is left."""
        self._end_tasks()
        logging.getLogger("dino_operator").removeHandler(self.faults)
        gc.unfreeze()
        self.loop.close()

    def _ever(self, fact: Callable[[], bool]) -> bool:
        """Whether it was so at any moment since the plan began that asks now: what comes between
        the last look and a write, nobody can know."""
        if fact():
            return True
        assert self.requests is not None
        assert self.requests.serving is not None
        now = self.world.things
        try:
            for version, things in reversed(self.states):
                self.world.things = things
                if fact():
                    return True
                if version <= self.requests.serving.plan.began:
                    return False
        finally:
            self.world.things = now
        return False

    # ---- the process ----------------------------------------------------------------------------

    def restart(self) -> None:
        """A new process; it reads everything once its requests are answered."""
        self.tell("  the operator starts")
        self.requests = OpenRequests(self.world, self.tell)
        with patch.object(kube, "ApiClient", lambda _: self.requests):
            client = Client(SimpleNamespace(), METRICS)  # type: ignore[arg-type]
        self.process = Operator(client, self.settings, Options((), WORKERS, NEVER), METRICS)
        self.cache = self.process.cache
        self.process._reconciler = Dated(
            self.cache,
            client,
            self.settings,
            METRICS,
            lambda: self.world.now + timedelta(seconds=self.skew),
        )
        self.process._reconciler.world = self.world
        self._start()

    def _start(self) -> None:
        """Nothing that happened before is told: it lists what came of it."""
        self.on_the_way.clear()
        self.missed = False
        self.late: list[Event] = []
        self.stopping: asyncio.Task[None] | None = None
        self.resyncing: asyncio.Task[None] | None = None
        self.starting = self.loop.create_task(self.process.start())
        self.run()

    def kill(self, done: Sequence[bool]) -> None:
        """It ends at once. Of what it has asked for some is done, and some is not."""
        assert self.requests is not None
        self.tell("  the operator is killed")
        for request, is_done in zip(list(self.requests.open), cycle(done), strict=False):
            if is_done:
                self.requests.do(request)
        self._end_tasks()
        self.restart()

    def _end_tasks(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_idle()
        left = asyncio.all_tasks(self.loop)
        assert not left, f"not ended: {left}"

    def told_to_stop(self, for_good: bool) -> None:
        """It stops once what it has asked for is answered. Then a new process starts, or the same
        one again, as where the API server serves other kinds."""
        if self.is_ready:
            self.tell("  the operator is told to stop")
            self.ends = for_good
            if self.resyncing is not None:
                self.resyncing.cancel()
            self.stopping = self.loop.create_task(self.process.stop())
            self.run()

    @property
    def is_ready(self) -> bool:
        """Whether it works."""
        return self.process.ready and self.stopping is None

    def run(self) -> None:
        """All tasks go on until they wait for an answer, or for a later time."""
        self.loop.run_until_idle()
        if self.is_ready and self.late:
            for kind, what, thing in self.late:
                self.process.observe(kind, what, thing)
            self.late.clear()
            self.loop.run_until_idle()
        assert not self.faults.found, "\n".join(self.faults.found)
        failed = self.starting.done() and self.starting.exception()
        stopped = self.stopping is not None and self.stopping.done()
        assert self.requests is not None
        left = self.requests.writes() if stopped else []
        assert not left, f"stopped, and not answered: {', '.join(map(str, left))}"
        if stopped and not self.ends:
            self._start()
        elif stopped or isinstance(failed, ApiError):
            self._end_tasks()
            self.restart()
        elif failed:
            raise failed
        assert self.stopping or not self.process.trouble, self.process.trouble

    # ---- what befalls its requests --------------------------------------------------------------

    def pick(self, number: int) -> Request:
        """One of those that wait."""
        assert self.requests is not None
        return self.requests.open[number % len(self.requests.open)]

    @property
    def asks(self) -> bool:
        """Whether any waits."""
        return self.requests is not None and bool(self.requests.open)

    def answer(self, number: int) -> None:
        """One is done and answered."""
        assert self.requests is not None
        request = self.pick(number)
        if request.plan.key is not None:
            self.answers_left -= 1
            if not self.answers_left:
                self.befalls()
        if request in self.requests.open:
            self.requests.answer(request)
        self.run()

    def befall(self, answers: int, what: Callable[[], None]) -> None:
        """Before so many answers to plans from now on."""
        self.answers_left, self.befalls = answers + 1, what

    def do(self, number: int) -> None:
        """One is done, and not answered so far."""
        assert self.requests is not None
        self.requests.do(self.pick(number))

    def refuse(self, number: int, answer: str) -> None:
        """One is refused; what was done already is not undone."""
        assert self.requests is not None
        self.requests.refuse(self.pick(number), ApiError(*ANSWERS[answer]))
        self.run()

    def answer_all(self) -> None:
        """In the order in which they come, until none is left."""
        self.run()
        for _ in range(MANY):
            if not self.asks:
                return
            self.answer(0)
        raise AssertionError("it asks without an end")

    def answer_until(self, words: str) -> int:
        """Answers all but the first request that says so; returns which it is."""
        self.run()
        for _ in range(MANY):
            assert self.requests is not None
            for number, request in enumerate(self.requests.open):
                if words in str(request):
                    return number
            self.answer(0)
        raise AssertionError(f"never asked: {words}")

    def agrees(self) -> None:
        """Once everything is answered and told, the operator knows what there is, and no more."""
        for kind in Kind:
            there = {name: version_of(each) for name, each in self.world.things[kind].items()}
            kept = map(unpacked, self.cache._things[kind].values())
            known = {objects.name_of(each): version_of(each) for each in kept}
            assert known == there, f"{kind}: known {known}, there {there}"

    # ---- as an operator whose requests do not wait ----------------------------------------------

    def reconcile(self, key: Key) -> None:
        """One plan is to be made. It goes on as its requests are answered."""
        if self.is_ready:
            self.process.queue.add(key)
            self.run()

    def resync(self) -> None:
        """One begins, unless one is under way."""
        if self.is_ready and (self.resyncing is None or self.resyncing.done()):
            self.resyncing = self.loop.create_task(self._resync())
            self.run()

    async def _resync(self) -> None:
        try:
            await self.process.resync()
        except ApiError as error:
            self.tell(f"  the resync failed: {error}")

    def at_rest(self, go_on: Callable[[], None], rounds: int = 3) -> None:
        """Few rounds: in each it lists everything, and every plan is made twice."""
        super().at_rest(go_on, rounds)

    def deliver(self, event: Event) -> None:
        """One watch event; before it has read everything it watches nothing, and comes to know
        later."""
        kind, what, thing = event
        self.tell(f"  event: {what} {kind} {thing['metadata']['name']}")
        self.late.append(event)
        self.run()


def _shallow(world: World) -> dict[Kind, dict[str, Object]]:
    """What there is. Objects are never changed in their place."""
    return {kind: dict(things) for kind, things in world.things.items()}
