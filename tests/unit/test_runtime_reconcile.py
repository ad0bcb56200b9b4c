"""Plans carried out: cut off anywhere, on a stale cache, and against someone else's objects."""

from __future__ import annotations

import copy

import pytest

from dino_api import rfc3339
from dino_api.names import EventReason
from dino_operator.plan.model import Condition, Object, Settings, is_true
from dino_operator.runtime.cache import ObjectCache
from dino_operator.runtime.client import ApiError
from dino_operator.runtime.keys import Key, Kind
from dino_operator.runtime.metrics import OperatorMetrics
from dino_operator.runtime.reconcile import Reconciler
from tests.builders import a_child, a_job, a_preflight
from tests.unit.plan_world import Countdown, Crash, World
from tests.unit.search_builders import a_search
from tests.unit.test_plan_parent import a_parent, an_heir

KEY = Key(Kind.DINOJOBS, "team", "x")
BUDGET = 10
"""Account, right, ConfigMap, two Jobs, four statuses, one event."""
BOTH = ["x-preflight-1", "x-train-1"]


class Bench:
    """A world and an operator that has read it."""

    def __init__(self) -> None:
        self.world = World()
        self.metrics = OperatorMetrics()
        self.restart()

    def restart(self) -> None:
        self.cache = ObjectCache()
        self.reconciler = Reconciler(
            self.cache, self.world, Settings("trainer:1"), self.metrics, lambda: self.world.now
        )
        self.see()

    def see(self, *kinds: Kind) -> None:
        """The cache catches up; with kinds, for those only."""
        for kind in kinds or tuple(Kind):
            things = copy.deepcopy(list(self.world.things[kind].values()))
            self.cache.replace(kind, things, self.world.version)

    async def work(self) -> None:
        """What the queue would do: again and again, whatever becomes of the process."""
        for _ in range(4):
            self.see()
            try:
                await self.reconciler.reconcile(KEY)
            except Crash:
                self.world.crash = lambda moment: None
                self.restart()
            except ApiError:
                self.world.crash = lambda moment: None

    async def live(self) -> None:
        """From creation to the end, with a pod that succeeds."""
        await self.check_data()
        await self.go_through()

    async def check_data(self) -> None:
        """From creation to the Job that trains."""
        self.world.submit()
        await self.work()
        await self.go_through()

    async def go_through(self) -> None:
        """A pod comes, runs and succeeds, and its Job is complete."""
        for step in (self.world.control_jobs, self.world.start_pod):
            step()
            await self.work()
        self.world.end_pod(0)
        await self.work()
        self.world.control_jobs()
        await self.work()


async def test_a_life_costs_ten_writes() -> None:
    bench = Bench()
    await bench.live()
    assert bench.world.writes == BUDGET
    assert bench.world.dinojob is not None
    assert bench.world.dinojob["status"]["metrics"] == {"mAP50": 0.75}
    bench.restart()
    await bench.work()
    assert bench.world.writes == BUDGET, "a new process at rest writes nothing"


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", range(1, BUDGET + 1))
@pytest.mark.parametrize("error", [Crash("killed"), ApiError(0, "Unreachable", "lost")])
async def test_cut_off_at_any_write_it_ends_the_same(
    number: int, moment: str, error: Exception
) -> None:
    bench = Bench()
    bench.world.crash = cut = Countdown(number, moment, error)
    await bench.live()
    assert cut.left <= 0, "it was cut off"
    assert bench.world.created_jobs == BOTH
    assert bench.world.dinojob is not None
    assert is_true(bench.world.dinojob, "Complete")
    assert bench.world.dinojob["status"]["dataset"] == {"images": 10, "warnings": ["w"]}
    events = [name for kind, name in bench.world.others if kind == "Event"]
    assert len(events) == 1, "told once"
    maps = [name for kind, name in bench.world.others if kind == "ConfigMap"]
    assert len(maps) == 1


async def running() -> Bench:
    bench = Bench()
    await bench.check_data()
    bench.world.control_jobs()
    bench.world.start_pod()
    await bench.work()
    return bench


async def test_a_pod_that_the_cache_has_not_seen_holds_the_next_job_back() -> None:
    bench = Bench()
    await bench.check_data()
    bench.world.control_jobs()
    bench.world.remove(Kind.JOBS, bench.world.things[Kind.JOBS]["x-train-1"])
    bench.see(Kind.JOBS)
    await bench.reconciler.reconcile(KEY)
    assert bench.world.created_jobs == BOTH, "its pod still lives"
    assert bench.world.dinojob is not None
    said = Condition.of(bench.world.dinojob, "Running")
    assert said is not None
    assert said.reason == "WaitingForChild"


async def test_a_failure_is_not_judged_before_its_pod_was_seen() -> None:
    bench = await running()
    bench.world.end_pod(76)
    bench.world.control_jobs()
    bench.see(Kind.JOBS)
    await bench.reconciler.reconcile(KEY)
    assert bench.world.dinojob is not None
    assert bench.world.dinojob["status"]["failure"]["reason"] == "Diverged"


async def test_a_late_plan_does_not_take_back_the_end() -> None:
    bench = await running()
    past = copy.deepcopy(bench.world.dinojob)
    bench.world.end_pod(0)
    bench.world.control_jobs()
    await bench.work()
    bench.restart()
    late = ObjectCache()
    late.put(Kind.DINOJOBS, past)
    late.put(Kind.JOBS, a_child(a_job().uid(past["metadata"]["uid"])).obj())
    bench.reconciler._cache = late
    with pytest.raises(ApiError, match="another version"):
        await bench.reconciler.reconcile(KEY)
    assert await bench.reconciler.reconcile(KEY) is None
    assert bench.world.dinojob is not None
    assert is_true(bench.world.dinojob, "Complete")


async def test_a_resource_that_is_gone_costs_nothing() -> None:
    bench = Bench()
    bench.world.submit()
    bench.see()
    bench.world.remove(Kind.DINOJOBS, bench.world.things[Kind.DINOJOBS]["x"])
    await bench.reconciler.reconcile(KEY)
    assert bench.world.writes == 0


async def test_the_job_of_a_stranger_is_left_alone() -> None:
    bench = Bench()
    bench.world.submit()
    stranger = a_preflight(a_job()).orphaned().complete().obj()
    stranger["metadata"]["labels"] = {"dino-operator.io/job": "other"}
    bench.world._store(Kind.JOBS, stranger)
    bench.see()
    again = await bench.reconciler.reconcile(KEY)
    assert again == Settings("").recheck
    assert bench.world.created_jobs == []
    assert bench.world.dinojob is not None
    said = Condition.of(bench.world.dinojob, "Running")
    assert said is not None
    assert said.reason == "ChildNameConflict"
    await bench.work()
    bench.world.remove(Kind.JOBS, bench.world.things[Kind.JOBS]["x-preflight-1"])
    await bench.work()
    assert bench.world.created_jobs == ["x-preflight-1"]


async def test_a_job_that_the_api_server_does_not_take_is_told_so() -> None:
    bench = Bench()
    bench.world.submit()
    bench.see()
    taking = bench.world.create

    async def create(thing: Object) -> Object:
        if thing["kind"] == "Job":
            raise ApiError(422, "Invalid", "tolerations[0].key: a b is no name")
        return await taking(thing)

    bench.world.create = create  # type: ignore[method-assign]
    await bench.reconciler.reconcile(KEY)
    assert bench.world.dinojob is not None
    failed = bench.world.dinojob["status"]["failure"]
    assert failed["reason"] == "InvalidSpec"
    assert "refuses Job x-preflight-1: tolerations[0].key: a b is no name" in failed["message"]


@pytest.mark.parametrize("status", [0, 503])
async def test_an_end_is_not_told_from_what_was_known_before_an_answer_was_lost(
    status: int,
) -> None:
    """The Job was made, its answer was lost, and the user stopped the job while it was awaited."""
    bench = Bench()
    bench.world.submit()
    bench.see()
    taking = bench.world.create

    async def create(thing: Object) -> Object:
        made = await taking(thing)
        if thing["kind"] == "Job":
            bench.world.edit(stop=True)
            bench.see(Kind.DINOJOBS)
            raise ApiError(status, "", "no answer came")
        return made

    bench.world.create = create  # type: ignore[method-assign]
    with pytest.raises(ApiError):
        await bench.reconciler.reconcile(KEY)
    assert bench.world.created_jobs == ["x-preflight-1"]
    assert bench.world.dinojob is not None
    assert not is_true(bench.world.dinojob, "Failed"), "its Job is there, and not suspended so far"
    bench.world.create = taking  # type: ignore[method-assign]
    await bench.work()
    assert is_true(bench.world.dinojob, "Failed")


async def test_a_model_is_not_taken_over_from_a_parent_that_is_gone() -> None:
    """It was deleted and made again, and the watch of it is late."""
    bench = Bench()
    bench.world._store(Kind.DINOJOBS, a_parent().obj())
    bench.world._store(Kind.DINOJOBS, an_heir().obj())
    bench.see()
    bench.world.remove(Kind.DINOJOBS, a_parent().obj())
    bench.world._store(Kind.DINOJOBS, a_job("base").uid("uid-new").obj())
    await bench.reconciler.reconcile(KEY)
    assert bench.world.dinojob is not None
    assert "inherited" not in bench.world.dinojob["status"]
    said = Condition.of(bench.world.dinojob, "ParentReady")
    assert said is not None
    assert "base has not ended yet" in said.message
    bench.world._store(Kind.DINOJOBS, a_parent().uid("uid-new").obj())
    await bench.work()
    assert bench.world.dinojob["status"]["inherited"]


async def test_results_are_not_taken_over_from_a_search_that_is_gone() -> None:
    bench = Bench()
    first = a_search("first")
    done = {"type": "Complete", "status": "True", "reason": "SearchCompleted"}
    row = {"number": 1, "name": "first-trial-1", "state": "Succeeded", "mAP50": 0.5}
    first["status"] = {"conditions": [done], "history": [row]}
    bench.world._store(Kind.DINOAUTOMLS, first)
    started = a_search(warmStartFrom=[{"name": "first"}], suspend=True)
    bench.world._store(Kind.DINOAUTOMLS, started)
    bench.see()
    bench.world.remove(Kind.DINOAUTOMLS, first)
    again = a_search("first")
    again["metadata"]["uid"] = "uid-new"
    bench.world._store(Kind.DINOAUTOMLS, again)
    await bench.reconciler.reconcile(Key(Kind.DINOAUTOMLS, "team", "x"))
    status = bench.world.things[Kind.DINOAUTOMLS]["x"]["status"]
    assert "known" not in status
    assert "engine" not in status


async def test_it_remembers_its_own_writes_before_their_events_come() -> None:
    bench = Bench()
    bench.world.submit()
    bench.see(Kind.DINOJOBS)
    await bench.reconciler.reconcile(KEY)
    before = bench.world.writes
    await bench.reconciler.reconcile(KEY)
    assert bench.world.writes == before


async def test_ends_are_counted() -> None:
    bench = await running()
    bench.world.says({"stagingSeconds": 7.5})
    bench.world.wait(60)
    bench.world.end_pod(64)
    bench.world.control_jobs()
    await bench.work()
    text = bench.metrics.text().decode()
    assert "dino_job_queue_seconds_count 1.0" in text, "once, although much was written since"
    assert "dino_job_staging_seconds_sum 7.5" in text
    assert 'dino_job_failures_total{reason="InvalidSpec"} 1.0' in text
    assert 'dino_job_duration_seconds_count{phase="Failed"} 1.0' in text


async def test_events_are_read_of_a_job_that_lacks_its_pod_and_said_once() -> None:
    bench = Bench()
    bench.world.submit()
    await bench.work()
    job = next(bench.world.jobs())
    refused = {
        "metadata": {"creationTimestamp": rfc3339.text(bench.world.now)},
        "reason": "FailedCreate",
        "message": "Error creating: exceeded quota: few",
    }
    bench.world.events_of[job["metadata"]["uid"]] = [refused]
    bench.world.wait(10)
    before = bench.world.writes
    await bench.work()
    told = bench.world.dinojob
    assert told is not None
    running = Condition.of(told, "Running") or Condition(False)
    assert running.reason == "QuotaExceeded"
    assert running.message.startswith("no pod is created: exceeded quota: few. Remedy: ")
    assert bench.world.writes - before == 2, "an event and a status, and nothing after"


async def test_a_job_is_made_within_the_limit_ranges_of_its_namespace() -> None:
    bench = Bench()
    limits = [{"type": "Container", "default": {"cpu": "200m"}}]
    bench.world.limit_ranges = [{"spec": {"limits": limits}}]
    bench.world.submit()
    await bench.work()
    pod = next(bench.world.jobs())["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["requests"] == {"cpu": "200m"}


async def test_without_the_right_to_read_them_jobs_run_all_the_same() -> None:
    bench = Bench()

    async def refuse(*_: object) -> None:
        raise ApiError(403, "Forbidden", "events is forbidden")

    bench.world.list_all = refuse  # type: ignore[assignment,method-assign]
    bench.world.events = refuse  # type: ignore[assignment,method-assign]
    bench.world.submit()
    await bench.work()
    bench.world.wait(60)
    await bench.work()
    told = bench.world.dinojob
    assert told is not None
    said = (Condition.of(told, "Running") or Condition(False)).message
    assert said == "no pod is created; kubectl describe job x-preflight-1 says why"


@pytest.mark.parametrize("status, told", [(422, 1), (400, 1), (409, 0), (503, 0)])
async def test_a_status_that_is_not_taken_for_what_is_in_it_is_told_by_one_event(
    status: int, told: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else can say it, and it is tried again and again."""
    bench, events = Bench(), []
    create = bench.world.create

    async def noted(thing: Object) -> Object:
        made = await create(thing)
        if thing["kind"] == "Event" and thing["reason"] == EventReason.REFUSED:
            events.append(thing["message"])
        return made

    async def refused(resource: Object, facts: Object) -> Object:
        raise ApiError(status, "", "spec.search: got null")

    monkeypatch.setattr(bench.world, "create", noted)
    monkeypatch.setattr(bench.world, "apply_status", refused)
    bench.world.submit()
    await bench.work()
    assert len(events) == told
    assert all("spec.search: got null. Update the CRDs" in each for each in events)
