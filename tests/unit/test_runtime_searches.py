"""Plans of several kinds carried out: a job's search, Katib's objects, CRDs that come later."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dino_api.names import MANAGED_BY, MANAGED_BY_LABEL, Label
from dino_operator.plan.model import Delete, Object, Plan, Settings, is_true
from dino_operator.plan.observed import objects
from dino_operator.plan.observed.children import Children
from dino_operator.runtime import loop, reconcile
from dino_operator.runtime.client import OURS, ApiError
from dino_operator.runtime.katib import Katib, KatibObjects
from dino_operator.runtime.keys import Key, Kind
from dino_operator.runtime.loop import Operator, Options
from dino_operator.runtime.metrics import OperatorMetrics
from tests.builders import a_child, a_job, at
from tests.patience import LONG
from tests.unit.plan_searches import a_search_for
from tests.unit.plan_world import Countdown, Crash
from tests.unit.test_runtime_reconcile import KEY, Bench

SEARCH = Key(Kind.DINOAUTOMLS, "team", "x")
DONE = {"type": "Complete", "status": "True", "reason": "Completed", "message": "found"}
ENDED = {
    "phase": "Complete",
    "conditions": [DONE],
    "startTime": at(0),
    "completionTime": at(60),
    "best": {"trial": "x-trial-1", "number": 1, "mAP50": 0.5, "checkpoint": {"uri": "s3://a/b"}},
}
WRITES = 4
"""The search, two statuses, one event."""


async def searched(bench: Bench) -> None:
    """A job in whose place a search runs, to its end."""
    bench.world.submit_searched()
    await bench.work()
    if "x" in bench.world.things[Kind.DINOAUTOMLS]:
        bench.world.search_says(ENDED)
    await bench.work()


async def test_a_searched_job_costs_four_writes_and_ends_with_its_search() -> None:
    bench = Bench()
    await searched(bench)
    job = bench.world.dinojob
    assert job is not None
    assert is_true(job, "Complete")
    assert job["status"]["checkpoint"] == {"uri": "s3://a/b"}
    assert bench.world.created_jobs == []
    assert bench.world.writes == WRITES
    bench.restart()
    await bench.work()
    assert bench.world.writes == WRITES, "a new process at rest writes nothing"


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", range(1, WRITES + 1))
@pytest.mark.parametrize("error", [Crash("killed"), ApiError(0, "Unreachable", "lost")])
async def test_cut_off_at_any_write_there_is_one_search(
    number: int, moment: str, error: Exception
) -> None:
    bench = Bench()
    bench.world.crash = cut = Countdown(number, moment, error)
    await searched(bench)
    assert cut.left <= 0, "it was cut off"
    born = [each["metadata"]["uid"] for each in bench.world.things[Kind.DINOAUTOMLS].values()]
    assert born == ["uid-2"]
    assert bench.world.dinojob is not None
    assert is_true(bench.world.dinojob, "Complete")


async def test_suspending_reaches_the_search() -> None:
    bench = Bench()
    bench.world.submit_searched()
    await bench.work()
    bench.world.edit(suspend=True)
    await bench.work()
    assert bench.world.things[Kind.DINOAUTOMLS]["x"]["spec"]["suspend"] is True


async def test_a_search_that_the_cache_has_not_seen_is_ours_by_its_owner() -> None:
    bench = Bench()
    bench.world.submit_searched()
    bench.see()
    assert bench.world.dinojob is not None
    made = a_search_for(a_job().uid(objects.uid_of(bench.world.dinojob))).obj()
    made["metadata"]["labels"] = {}
    bench.world._store(Kind.DINOAUTOMLS, made)
    await bench.reconciler.reconcile(KEY)
    assert bench.world.dinojob["status"]["automl"] == "x"
    assert "ChildNameConflict" not in str(bench.world.dinojob)


async def test_the_search_of_a_stranger_is_left_alone() -> None:
    bench = Bench()
    bench.world.submit_searched()
    stranger = a_search_for(a_job().uid("other")).obj()
    stranger["metadata"]["labels"] = {}
    bench.world._store(Kind.DINOAUTOMLS, stranger)
    bench.see()
    assert await bench.reconciler.reconcile(KEY) == Settings("").recheck
    assert "ChildNameConflict" in str(bench.world.dinojob)


async def test_a_job_that_only_trains_asks_for_no_search() -> None:
    bench = Bench()
    bench.world.submit()
    bench.see()
    asked = []
    listing = bench.world.children

    async def listen(kind: Kind, key: Key) -> Any:
        asked.append(kind)
        return await listing(kind, key)

    bench.world.children = listen  # type: ignore[method-assign]
    await bench.reconciler.reconcile(KEY)
    assert asked == [Kind.JOBS, Kind.PODS]


@pytest.mark.parametrize(
    "told, read",
    [
        ({}, [Kind.DINOJOBS, Kind.JOBS, Kind.PODS]),
        ({"engine": "Katib"}, [Kind.DINOJOBS, Kind.JOBS, Kind.PODS]),
        ({"engine": "Embedded"}, [Kind.DINOJOBS]),
        ({"engine": "Embedded", **ENDED}, [Kind.DINOJOBS, Kind.JOBS, Kind.PODS]),
    ],
)
async def test_an_embedded_search_has_no_jobs_of_its_own_before_its_report(
    told: Object, read: list[Kind]
) -> None:
    bench = Bench()
    bench.world._store(Kind.DINOAUTOMLS, {**a_search_for(a_job()).obj(), "status": told})
    bench.see()
    asked: list[Kind] = []

    async def listen(kind: Kind, key: Key) -> Any:
        asked.append(kind)
        return [], bench.world.version

    bench.world.children = listen  # type: ignore[method-assign]
    await bench.reconciler.refresh(SEARCH)
    assert asked == read


async def test_what_cannot_be_taken_back_in_katib_is_decided_on_what_is_there_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    bench.world.submit_searched()
    await bench.work()
    looked: list[str] = []
    gone = Plan(deletes=(Delete("dino-1", "u", "experiments"),))

    async def read(_: Katib, resource: Object, fresh: bool = False) -> KatibObjects:
        looked.append("read now" if fresh else "as known")
        return KatibObjects(True, {"kind": "Experiment"})

    async def delete(namespace: str, what: Delete) -> None:
        looked.append(f"{what.kind} deleted")

    def a_plan(resource: Object, children: Children, *_: object) -> Plan:
        return gone if children.experiment else Plan()

    monkeypatch.setattr(Katib, "read", read)
    monkeypatch.setattr(Katib, "forget", lambda *_: looked.append("forgotten"))
    monkeypatch.setattr(reconcile, "plan_search", a_plan)
    monkeypatch.setattr(bench.world, "delete", delete)
    bench.see()
    await bench.reconciler.reconcile(SEARCH)
    assert looked == ["as known", "read now", "forgotten", "experiments deleted"]


# ---- CRDs ---------------------------------------------------------------------------------------


class OldApi:
    """An API server that may not know DinoAutoMLs yet."""

    def __init__(self, *served: str) -> None:
        self.kinds = frozenset(served)
        self.listed: list[str] = []
        self.things: dict[str, list[Object]] = {}

    async def served(self, group: str = OURS) -> frozenset[str]:
        return self.kinds

    async def pages(
        self, kind: str, namespace: str | None
    ) -> AsyncIterator[tuple[list[Object], int]]:
        self.listed.append(kind)
        yield self.things.get(kind, []), 100

    async def finish_writes(self) -> None:
        """Nothing was written."""


KEY_OF_A = Key(Kind.DINOJOBS, "team", "a")


def an_operator(api: OldApi) -> Operator:
    return Operator(api, Settings("t"), Options(workers=0), OperatorMetrics())  # type: ignore[arg-type]


class PodSpec(dict[str, Any]):
    """Of a whole pod, as a page brings it; what is kept of it is made anew."""


class PagedApi(OldApi):
    """An API server with many pods. most: whole pods that were in memory at a time."""

    most = 0

    async def pages(
        self, kind: str, namespace: str | None
    ) -> AsyncIterator[tuple[list[Object], int]]:
        for page in range(20 if kind == Kind.PODS else 1):
            yield [self.pod(20 * page + number) for number in range(20)], 100
            whole = sum(type(each) is PodSpec for each in gc.get_objects())
            self.most = max(self.most, whole)

    def pod(self, number: int) -> Object:
        """One of a training."""
        labels = {MANAGED_BY_LABEL: MANAGED_BY, Label.JOB.value: f"job-{number}"}
        meta = {"name": f"pod-{number}", "namespace": "n", "uid": str(number), "labels": labels}
        return {"metadata": {**meta, "resourceVersion": "7"}, "spec": PodSpec(), "status": {}}


async def test_what_a_watch_lists_at_its_beginning_is_not_planned_a_second_time() -> None:
    job = a_job("a").obj()
    job["metadata"]["resourceVersion"] = "90"
    api = OldApi("dinojobs", "dinoautomls")
    api.things["dinojobs"] = [job]
    operator = an_operator(api)
    await operator.resync()  # as of version 100
    assert await operator.queue.get() == KEY_OF_A
    operator.queue.done(KEY_OF_A)
    operator.observe(Kind.DINOJOBS, None, job)
    assert operator.queue.depth == 0
    operator.observe(Kind.DINOJOBS, None, changed_at(job, 101))
    assert operator.queue.depth == 1, "that is news"
    assert await operator.queue.get() == KEY_OF_A
    operator.queue.done(KEY_OF_A)
    operator.observe(Kind.DINOJOBS, "MODIFIED", job)
    assert operator.queue.depth == 1, "what a watch tells later may be the answer to a write"
    await operator.stop()


def changed_at(thing: Object, version: int) -> Object:
    """The same as of another version."""
    return {**thing, "metadata": {**thing["metadata"], "resourceVersion": str(version)}}


async def test_what_is_listed_is_not_all_kept_whole() -> None:
    api = PagedApi("dinojobs", "dinoautomls")
    operator = an_operator(api)
    await operator.resync()
    assert len(list(operator.cache.resources(Kind.PODS))) == 400
    assert 0 < api.most <= 5 * 20, "a few pages at most"
    await operator.stop()


class CollectedApi(OldApi):
    """An API server whose lists note whether Python looks for cycles meanwhile."""

    def __init__(self) -> None:
        super().__init__("dinojobs")
        self.collects: list[bool] = []
        self.fails = False

    async def pages(
        self, kind: str, namespace: str | None
    ) -> AsyncIterator[tuple[list[Object], int]]:
        self.collects.append(gc.isenabled())
        if self.fails:
            raise ApiError(500, "", "no")
        yield [], 100


async def test_nothing_is_searched_for_cycles_while_lists_are_read_and_all_is_afterwards() -> None:
    api = CollectedApi()
    operator = an_operator(api)
    await operator.start()
    assert api.collects == [False] * 3
    assert gc.isenabled()
    api.fails = True
    with pytest.raises(ApiError):
        await operator.resync()
    assert gc.isenabled()
    await operator.stop()
    gc.unfreeze()


async def test_it_runs_without_the_crd_of_searches_and_notices_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "CRD_RECHECK", 0)
    api = OldApi("dinojobs")
    operator = an_operator(api)
    await operator.start()
    assert operator.ready
    assert api.listed == ["dinojobs", "jobs", "pods"]
    assert not operator.cache.children(KEY).automl_served
    api.kinds = frozenset({"dinojobs", "dinoautomls"})
    await asyncio.wait_for(operator.changed.wait(), LONG)
    await operator.stop()
    assert not operator.ready
    api.listed.clear()
    operator.changed.clear()
    await operator.start()
    assert "dinoautomls" in api.listed
    assert operator.cache.children(KEY).automl_served
    assert not operator.changed.is_set()
    await operator.stop()


async def test_searches_that_went_with_their_crd_are_forgotten() -> None:
    api = OldApi("dinojobs", "dinoautomls")
    api.things = {"dinoautomls": [a_search_for(a_job()).obj()]}
    operator = an_operator(api)
    await operator.start()
    assert operator.cache.children(KEY).automls
    api.kinds = frozenset({"dinojobs"})
    await operator._notice_crds()
    assert operator.changed.is_set()
    await operator.stop()
    operator.changed.clear()
    await operator.start()
    assert not operator.cache.children(KEY).automls
    await operator.stop()


async def test_what_was_cut_off_by_a_restart_is_worked_on_again() -> None:
    operator = an_operator(OldApi("dinojobs", "dinoautomls"))
    operator.observe(Kind.JOBS, "ADDED", a_child(a_job()).obj())
    assert await operator.queue.get() == KEY
    await operator.stop()
    operator.observe(Kind.JOBS, "MODIFIED", a_child(a_job()).obj())
    assert operator.queue.depth == 1


async def test_a_trial_wakes_its_search_and_a_parent_its_heirs() -> None:
    operator = an_operator(OldApi("dinojobs"))
    trial = a_job("x-trial-1").obj()
    trial["metadata"]["labels"] = {"dino-operator.io/automl": "x"}
    heir = a_job("heir").spec(parent={"name": "x-trial-1"}).obj()
    operator.observe(Kind.DINOJOBS, "ADDED", heir)
    operator.observe(Kind.DINOJOBS, "ADDED", trial)
    woken = {await operator.queue.get() for _ in range(operator.queue.depth)}
    jobs = {Key(Kind.DINOJOBS, "team", name) for name in ("heir", "x-trial-1")}
    assert woken == {SEARCH, *jobs}
    await operator.stop()
