"""What may befall an operator and its cluster, as rules of a Hypothesis state machine.

A machine inherits them and adds its users. Nothing in here knows what is right: `Store` refuses
what must never be asked, and each machine says what must hold in the end.
"""

from __future__ import annotations

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dino_operator.plan.annotations import Annotation
from dino_operator.plan.model import Object
from dino_operator.plan.observed import objects
from dino_operator.plan.observed.api_object import ApiObject
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.pod import Pod
from dino_operator.runtime.keys import Key, Kind
from tests.unit.plan_operator import ANSWERS, Interrupted
from tests.unit.plan_store import queued
from tests.unit.plan_world import World

CODES = st.sampled_from([0, 0, 64, 69, 71, 75, 80, 137, 143])
MOMENTS = st.sampled_from(["before", "after"])
SKEWS = st.sampled_from([0, 0, -3600, -60, 60, 3600, 86400])
"""Seconds by which the operator's clock is wrong."""
PICK = st.integers(0, 5)
"""Which of several; taken modulo their number."""
ANSWER = st.sampled_from(sorted(ANSWERS))


class Adversary(RuleBasedStateMachine):
    """A cluster, and an operator that is often interrupted."""

    ends: Counter[str]
    """How often a resource ended how, in all episodes of a machine: one that nothing ever ends in
    would prove nothing."""

    def __init_subclass__(cls) -> None:
        cls.ends = Counter()

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        world.takes_every_spec = True
        self.operator = self.an_operator(world)

    def teardown(self) -> None:
        try:
            self.settle()
        finally:
            self.operator.close()

    def an_operator(self, world: World) -> Interrupted:
        """The one that is often interrupted."""
        return Interrupted(world)

    def keys(self) -> list[Key]:
        """The plans that are made."""
        return self.operator.keys()

    def reconcile(self, pick: int) -> None:
        """One of the plans."""
        keys = self.keys()
        if keys:
            self.operator.reconcile(keys[pick % len(keys)])

    def settle(self) -> None:
        """The adversary rests: everything ends right, and then nothing is written."""
        raise NotImplementedError

    # ---- the operator -------------------------------------------------------------------------

    @rule(pick=PICK)
    def operator_works(self, pick: int) -> None:
        self.reconcile(pick)

    @rule(pick=PICK, after=st.integers(1, 8), moment=MOMENTS)
    def operator_is_killed_at_a_write(self, pick: int, after: int, moment: str) -> None:
        self.operator.killed(after, moment)
        self.reconcile(pick)

    @rule(pick=PICK, after=st.integers(1, 8), moment=MOMENTS)
    def answer_is_lost(self, pick: int, after: int, moment: str) -> None:
        self.operator.refused(after, "lost", moment)
        self.reconcile(pick)

    @rule(pick=PICK, after=st.integers(1, 8), answer=ANSWER)
    def a_write_is_refused(self, pick: int, after: int, answer: str) -> None:
        self.operator.refused(after, answer)
        self.reconcile(pick)

    @rule(pick=PICK, after=st.integers(1, 4), answer=ANSWER)
    def a_read_is_refused(self, pick: int, after: int, answer: str) -> None:
        self.operator.unread(after, answer)
        self.reconcile(pick)

    @rule()
    def operator_restarts(self) -> None:
        self.operator.restart()

    @rule(seconds=SKEWS)
    def its_clock_jumps(self, seconds: int) -> None:
        self.operator.skew = seconds

    @rule()
    def somebody_takes_a_picture(self) -> None:
        self.operator.remember()

    @precondition(lambda self: self.operator.past_version)
    @rule()
    def operator_starts_on_a_stale_list(self) -> None:
        self.operator.restart_stale()

    @rule(count=st.integers(1, 6))
    def events_arrive(self, count: int) -> None:
        for event in self.operator.on_the_way[:count]:
            self.operator.deliver(event)
        del self.operator.on_the_way[:count]

    @precondition(lambda self: self.operator.on_the_way)
    @rule(data=st.data())
    def an_event_arrives_early_and_again_later(self, data: st.DataObject) -> None:
        self.operator.deliver(data.draw(st.sampled_from(self.operator.on_the_way)))

    @precondition(lambda self: self.operator.on_the_way)
    @rule(data=st.data())
    def an_event_is_lost(self, data: st.DataObject) -> None:
        coming = self.operator.on_the_way
        del coming[data.draw(st.integers(0, len(coming) - 1))]

    @rule()
    def resync(self) -> None:
        self.operator.resync()

    # ---- the cluster --------------------------------------------------------------------------

    @rule(rounds=st.integers(1, 3))
    def all_goes_well_for_a_while(self, rounds: int) -> None:
        for _ in range(rounds):
            self.cluster_goes_on()

    @rule()
    def job_controller_works(self) -> None:
        self.world.control_jobs()

    @rule()
    def pod_starts(self) -> None:
        self.world.start_pod()

    @rule(code=CODES, pick=PICK)
    def pod_ends(self, code: int, pick: int) -> None:
        self.world.end_pod(code, pick)

    @rule(code=CODES, pick=PICK)
    def an_attempt_ends(self, code: int, pick: int) -> None:
        self.cluster_goes_on()
        self.world.end_pod(code, pick)
        self.cluster_goes_on()

    @rule(code=CODES, pick=PICK)
    def its_last_words_are_lost(self, code: int, pick: int) -> None:
        self.cluster_goes_on()
        self.world.end_pod(code, pick)
        self.world.control_jobs()
        self.world.forget_pod()

    @rule(pick=PICK)
    def pod_is_deleted(self, pick: int) -> None:
        pod = self.world.live_pod(pick)
        if pod is not None:
            self.world.ask_to_go(pod)

    @rule(pick=PICK)
    def node_is_drained(self, pick: int) -> None:
        pod = self.world.live_pod(pick)
        if pod is not None:
            self.world.evict(pod)

    @rule(admitted=st.booleans())
    def kueue_decides(self, admitted: bool) -> None:
        self.world.admit(admitted)

    @rule(pick=PICK)
    def pod_vanishes(self, pick: int) -> None:
        self.world.lose_pod(pick)

    @rule()
    def pod_that_has_ended_is_deleted(self) -> None:
        self.world.forget_pod()

    @rule(seconds=st.sampled_from([1, 15, 120, 900]))
    def time_passes(self, seconds: int) -> None:
        self.world.wait(seconds)

    @precondition(lambda self: self.world.things[Kind.JOBS])
    @rule(data=st.data())
    def somebody_deletes_a_job(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.things[Kind.JOBS])))
        self.world.remove(Kind.JOBS, self.world.things[Kind.JOBS][name])

    @rule(data=st.data())
    def somebody_deletes_what_pods_need(self, data: st.DataObject) -> None:
        children = sorted(each for each in self.world.others if each[0] != "Event")
        if children:
            self.world.take_away(*data.draw(st.sampled_from(children)))

    @precondition(lambda self: self.by_hand())
    @rule(pick=PICK, on=st.booleans())
    def somebody_suspends_or_resumes_a_job(self, pick: int, on: bool) -> None:
        jobs = self.by_hand()
        job = jobs[pick % len(jobs)]
        if bool(job["spec"].get("suspend")) != on:
            self.world.suspend_job(job, on)

    @rule()
    def garbage_is_collected(self) -> None:
        self.world.collect_garbage()

    # ---- what must hold -----------------------------------------------------------------------

    @invariant()
    def one_job_of_a_name_runs(self) -> None:
        for jobs in self.world.by_name(Kind.JOBS).values():
            assert len([job for job in jobs if not ApiObject(job).is_finished]) <= 1
        for pods in self.world.by_name(Kind.PODS).values():
            live = [pod for pod in pods if Pod(pod).is_live]
            assert len({objects.controller_uid(pod) for pod in live}) <= 1
            assert len({Pod(pod).index for pod in live}) == len(live)
        self.world.note_ends()

    def by_hand(self) -> list[Object]:
        """Jobs that may be suspended or resumed by hand: not Kueue's, nor those the operator holds.

        Whoever resumes what the operator holds is no adversary but a second scheduler.
        """
        jobs = (
            job for job in self.world.jobs() if not queued(job) and not ApiObject(job).is_finished
        )
        return [job for job in jobs if not Job(job).note(Annotation.HELD)]

    def rest(self) -> None:
        """The adversary stops; it puts right what nobody else may."""
        self.operator.skew = 0
        for job in self.by_hand():
            if job["spec"].get("suspend"):
                self.world.suspend_job(job, False)

    def cluster_goes_on(self) -> None:
        """Events arrive late; nothing is lost any more; time passes."""
        self.world.collect_garbage()
        self.world.control_jobs()
        self.world.start_pod()
        self.work()
        self.world.admit(True)
        self.operator.deliver_all()
        self.operator.resync()
        self.work()
        self.world.wait(30)

    def work(self) -> None:
        """Every plan once."""
        for key in self.keys():
            self.operator.reconcile(key)

    def has_ended_right(self, job: Object) -> None:
        """A DinoJob is over, and what its work brought is told."""
        assert ApiObject(job).is_finished, f"{objects.name_of(job)} is still {job.get('status')}"
        assert job["status"]["observedGeneration"] == job["metadata"]["generation"]
        self.ends[f"{job['kind']} {job['status']['phase']}"] += 1

    def holds_nothing(self) -> None:
        """No pod is left that holds a GPU."""
        live = [pod for pod in self.world.pods() if Pod(pod).is_live]
        assert not live, "a GPU is held for ever"
