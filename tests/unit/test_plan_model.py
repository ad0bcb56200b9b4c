"""Hypothesis against the operator: whatever happens in whatever order, it ends right.

An adversary kills pods and the operator, loses answers, delays, repeats and drops watch events and
starts the operator on a stale list. At no time may there be a second Job or a Job after the end
(`World._may_run`). When the adversary stops, the DinoJob ends and then nothing is written.
"""

from __future__ import annotations

import asyncio
import copy
import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dino_operator.plan.model import Object, Settings, is_finished, is_true
from dino_operator.plan.observed import objects
from dino_operator.plan.observed.pod import Pod
from dino_operator.runtime.cache import Cache
from dino_operator.runtime.client import ApiError
from dino_operator.runtime.keys import Key, Kind
from dino_operator.runtime.metrics import Metrics
from dino_operator.runtime.reconcile import Reconciler
from tests.unit.plan_world import Countdown, Crash, World

KEY = Key(Kind.DINOJOBS, "team", "x")
EPISODES = int(os.environ.get("DINO_MODEL_EPISODES", "60"))
STEPS = 50
ROUNDS = 60
METRICS = Metrics()
CODES = st.sampled_from([0, 0, 64, 69, 71, 75, 80, 137, 143])
ACTIONS = st.sampled_from(["train", "train", "evaluate", "gen_trt_engine"])
"""One with two stages that does not train, and one without data to check."""
NODES = st.sampled_from([1, 1, 2])
QUEUES = st.sampled_from([None, None, "gpus"])
CAPTURES = st.sampled_from([False, False, True])
"""Whether Kueue takes every Job for its default queue."""
DEADLINES = st.sampled_from([None, None, 10**7])
STOPS = st.sampled_from([False, False, True])
"""Seldom: little happens to a job that was stopped."""
Event = tuple[Kind, str, Object]


class Adversary(RuleBasedStateMachine):
    """One DinoJob named x, its cluster, and an operator that is often interrupted."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.world = World()
        self.world.watchers.append(lambda *event: self.on_the_way.append(event))
        self.on_the_way: list[Event] = []
        self.past: dict[Kind, list[Object]] = {kind: [] for kind in Kind}
        self.past_version = 0
        self.restart()

    def teardown(self) -> None:
        try:
            self.settle()
        finally:
            self.loop.close()

    # ---- the operator -------------------------------------------------------------------------

    def restart(self) -> None:
        """A new process, which reads everything."""
        self.cache = Cache()
        self.on_the_way.clear()
        self.reconciler = Reconciler(
            self.cache, self.world, Settings("trainer:1"), METRICS, lambda: self.world.now
        )
        self.list_all({kind: list(self.world.things[kind].values()) for kind in Kind})

    def list_all(self, things: dict[Kind, list[Object]], version: int | None = None) -> None:
        for kind in Kind:
            listed = copy.deepcopy(things[kind])
            self.cache.replace(kind, listed, self.world.version if version is None else version)

    def reconcile(self) -> float | None:
        try:
            return self.loop.run_until_complete(self.reconciler.reconcile(KEY))
        except Crash:
            self.restart()
        except ApiError:
            pass  # the queue would try again later
        finally:
            self.world.crash = lambda moment: None
        return None

    def deliver(self, event: Event) -> None:
        kind, what, thing = event
        if what == "DELETED":
            self.cache.remove(kind, copy.deepcopy(thing))
        else:
            self.cache.put(kind, copy.deepcopy(thing))

    # ---- what happens -------------------------------------------------------------------------

    @initialize(
        retries=st.integers(0, 4),
        suspended=st.booleans(),
        nodes=NODES,
        queue=QUEUES,
        may_stop=STOPS,
        action=ACTIONS,
        captures=CAPTURES,
        deadline=DEADLINES,
    )
    def submit(
        self,
        retries: int,
        suspended: bool,
        nodes: int,
        queue: str | None,
        may_stop: bool,
        action: str,
        captures: bool,
        deadline: int | None,
    ) -> None:
        self.may_stop = may_stop
        self.world.captures = captures
        self.world.submit(retries, suspended, nodes, queue, action, deadline)

    @rule()
    def operator_works(self) -> None:
        self.reconcile()

    @rule(rounds=st.integers(1, 3))
    def all_goes_well_for_a_while(self, rounds: int) -> None:
        for _ in range(rounds):
            self.cluster_goes_on()

    @rule(code=CODES)
    def an_attempt_ends(self, code: int) -> None:
        self.cluster_goes_on()
        self.world.end_pod(code)
        self.cluster_goes_on()

    @rule(after=st.integers(1, 8), moment=st.sampled_from(["before", "after"]))
    def operator_is_killed_at_a_write(self, after: int, moment: str) -> None:
        self.world.crash = Countdown(after, moment, Crash("killed"))
        self.reconcile()

    @rule(after=st.integers(1, 8), moment=st.sampled_from(["before", "after"]))
    def answer_is_lost(self, after: int, moment: str) -> None:
        self.world.crash = Countdown(after, moment, ApiError(0, "Unreachable", "lost"))
        self.reconcile()

    @rule()
    def operator_restarts(self) -> None:
        self.restart()

    @rule()
    def somebody_takes_a_picture(self) -> None:
        self.past = {kind: list(copy.deepcopy(self.world.things[kind]).values()) for kind in Kind}
        self.past_version = self.world.version

    @precondition(lambda self: self.past_version)
    @rule()
    def operator_starts_on_a_stale_list(self) -> None:
        self.restart()
        self.cache = Cache()
        self.reconciler._cache = self.cache
        self.list_all(self.past, self.past_version)

    @rule(count=st.integers(1, 6))
    def events_arrive(self, count: int) -> None:
        for event in self.on_the_way[:count]:
            self.deliver(event)
        del self.on_the_way[:count]

    @precondition(lambda self: self.on_the_way)
    @rule(data=st.data())
    def an_event_arrives_early_and_again_later(self, data: st.DataObject) -> None:
        self.deliver(data.draw(st.sampled_from(self.on_the_way)))

    @precondition(lambda self: self.on_the_way)
    @rule(data=st.data())
    def an_event_is_lost(self, data: st.DataObject) -> None:
        del self.on_the_way[data.draw(st.integers(0, len(self.on_the_way) - 1))]

    @rule()
    def resync(self) -> None:
        self.list_all({kind: list(self.world.things[kind].values()) for kind in Kind})

    @rule()
    def job_controller_works(self) -> None:
        self.world.control_jobs()

    @rule()
    def pod_starts(self) -> None:
        self.world.start_pod()

    @rule(code=CODES)
    def pod_ends(self, code: int) -> None:
        self.world.end_pod(code)

    @rule()
    def pod_is_deleted(self) -> None:
        pod = self.world.live_pod()
        if pod is not None:
            self.world.ask_to_go(pod)

    @rule()
    def node_is_drained(self) -> None:
        pod = self.world.live_pod()
        if pod is not None:
            self.world.evict(pod)

    @rule(admitted=st.booleans())
    def kueue_decides(self, admitted: bool) -> None:
        self.world.admit(admitted)

    @rule()
    def pod_vanishes(self) -> None:
        self.world.lose_pod()

    @rule()
    def pod_that_has_ended_is_deleted(self) -> None:
        self.world.forget_pod()

    @rule(code=CODES)
    def its_last_words_are_lost(self, code: int) -> None:
        self.cluster_goes_on()
        self.world.end_pod(code)
        self.world.control_jobs()
        self.world.forget_pod()

    @rule(seconds=st.sampled_from([1, 15, 120, 900]))
    def time_passes(self, seconds: int) -> None:
        self.world.wait(seconds)

    @precondition(lambda self: self.world.dinojob)
    @rule(suspended=st.booleans())
    def user_suspends_or_resumes(self, suspended: bool) -> None:
        self.world.edit(suspend=suspended)

    @precondition(lambda self: self.world.dinojob and self.may_stop)
    @rule()
    def user_stops_it(self) -> None:
        self.world.edit(stop=True)

    @precondition(lambda self: self.world.dinojob)
    @rule()
    def user_deletes_it(self) -> None:
        self.world.remove(Kind.DINOJOBS, self.world.dinojob)

    @precondition(lambda self: not self.world.dinojob)
    @rule(retries=st.integers(0, 2), nodes=NODES, queue=QUEUES, action=ACTIONS)
    def user_creates_it_again(
        self, retries: int, nodes: int, queue: str | None, action: str
    ) -> None:
        self.world.submit(retries, nodes=nodes, queue=queue, action=action)

    @precondition(lambda self: self.world.things[Kind.JOBS])
    @rule(data=st.data())
    def somebody_deletes_a_job(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.things[Kind.JOBS])))
        self.world.remove(Kind.JOBS, self.world.things[Kind.JOBS][name])

    @rule()
    def garbage_is_collected(self) -> None:
        self.world.collect_garbage()

    # ---- what must hold -----------------------------------------------------------------------

    @invariant()
    def one_job_runs(self) -> None:
        unfinished = [job for job in self.world.jobs() if not is_finished(job)]
        assert len(unfinished) <= 1
        live = [pod for pod in self.world.pods() if Pod(pod).is_live]
        assert len({objects.controller_uid(pod) for pod in live}) <= 1
        assert len({Pod(pod).index for pod in live}) == len(live)
        self.world.note_ends()

    def settle(self) -> None:
        """The adversary rests: everything ends, and then nothing is written."""
        if self.world.dinojob is not None and not is_true(self.world.dinojob, "Complete"):
            self.world.edit(suspend=False)
        for _ in range(ROUNDS):
            self.cluster_goes_on()
            self.world.end_pod(0)
        job = self.world.dinojob
        if job is not None:
            over = is_true(job, "Complete") or is_true(job, "Failed")
            assert over, f"still {job['status']}"
            assert not [pod for pod in self.world.pods() if Pod(pod).is_live], (
                "a GPU is held for ever"
            )
            assert job["status"]["observedGeneration"] == job["metadata"]["generation"]
        else:
            assert not self.world.things[Kind.JOBS]
        before = self.world.writes
        for _ in range(10):
            self.cluster_goes_on()
        assert self.world.writes == before, "it writes at rest"

    def cluster_goes_on(self) -> None:
        """Events arrive late; nothing is lost any more; time passes."""
        self.world.collect_garbage()
        self.world.control_jobs()
        self.world.start_pod()
        self.reconcile()
        self.world.admit(True)
        for event in self.on_the_way:
            self.deliver(event)
        self.on_the_way.clear()
        self.resync()
        self.reconcile()
        self.world.wait(30)


def test_whatever_happens_it_ends_right() -> None:
    run_state_machine_as_test(
        Adversary,
        settings=settings(
            max_examples=EPISODES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize="DINO_MODEL_EPISODES" not in os.environ,
            suppress_health_check=list(HealthCheck),
        ),
    )
