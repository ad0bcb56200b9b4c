"""Hypothesis against the operator as it runs, while its requests are open.

The adversaries, the worlds and what must hold are those of `test_plan_model.py` and
`test_namespace_model.py`; there each request is answered before anything else happens. Here the
whole process runs, with workers, queue, watch and client, and everything that may happen happens
between a question and its answer, too: edits, deletions, ends of pods, watch events, plans of other
resources, a resync, the end of the process. A request is done when the adversary wants, and
answered when it wants, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from dino_operator.runtime.keys import Kind
from tests.unit import model_rules
from tests.unit.model_runs import PARTS, episodes, run_episodes
from tests.unit.plan_world import World
from tests.unit.test_namespace_model import NamespaceAdversary
from tests.unit.test_plan_model import JobAdversary
from tests.unit.waiting_operator import Waiting

JOBS_SHARE, NAMESPACE_SHARE = 0.16, 0.02
"""Of as many episodes as the machines have whose requests are answered at once."""
ENOUGH = 100
"""Episodes in which each way to end comes at least once."""
ACTS = st.lists(st.integers(0, 11), min_size=1, max_size=2)
"""What happens, by number; taken modulo of how many things may."""


class OpenRequestRules(model_rules.Adversary):
    """What befalls requests, in place of what befalls an operator that makes one at a time."""

    operator: Waiting

    # No rules here: they are about the next request of an operator that makes one at a time.
    operator_is_killed_at_a_write = None
    answer_is_lost = None
    a_write_is_refused = None
    a_read_is_refused = None
    operator_restarts = None
    somebody_takes_a_picture = None
    operator_starts_on_a_stale_list = None

    def an_operator(self, world: World) -> Waiting:
        return Waiting(world, note)

    def cluster_acts(self) -> dict[str, Callable[[], None]]:
        """What the cluster may do while a plan waits for an answer."""
        return {
            "the Job controller works": self.world.control_jobs,
            "pods start": self.world.start_pod,
            "a pod succeeds": lambda: self.world.end_pod(0),
            "a pod fails": lambda: self.world.end_pod(76),
            "a pod vanishes": self.world.lose_pod,
            "a pod is forgotten": self.world.forget_pod,
            "garbage is collected": self.world.collect_garbage,
            "somebody deletes a Job": self._delete_a_job,
        }

    def _delete_a_job(self) -> None:
        for job in list(self.world.jobs())[-1:]:
            self.world.remove(Kind.JOBS, job)

    def user_acts(self) -> dict[str, Callable[[], None]]:
        """What users may do meanwhile."""
        raise NotImplementedError

    def happen(self, acts: list[int], by_user: bool, is_told: bool) -> None:
        """Some of it, one after the other. is_told: the operator comes to know at once."""
        for number in acts:
            known = self.user_acts() if by_user else self.cluster_acts()
            if known:
                name = sorted(known)[number % len(known)]
                note(f"  {name}")
                known[name]()
        if is_told:
            self.operator.deliver_all()

    @rule(
        answers=st.integers(0, 8),
        early=model_rules.PICK,
        acts=ACTS,
        by_user=st.booleans(),
        is_told=st.booleans(),
    )
    def something_happens_while_plans_wait(
        self, answers: int, early: int, acts: list[int], by_user: bool, is_told: bool
    ) -> None:
        """After so many answers; one more request is done by then."""
        self.operator.deliver_all()
        for key in self.keys():
            self.operator.reconcile(key)
        self.answers_come(answers)
        if self.operator.asks:
            self.operator.do(early)
        self.happen(acts, by_user, is_told)

    @rule(
        rounds=st.integers(1, 3),
        answers=st.integers(0, 15),
        acts=ACTS,
        by_user=st.booleans(),
        is_told=st.booleans(),
    )
    def something_happens_while_all_goes_well(
        self, rounds: int, answers: int, acts: list[int], by_user: bool, is_told: bool
    ) -> None:
        """After so many answers to plans."""
        self.operator.befall(answers, lambda: self.happen(acts, by_user, is_told))
        for _ in range(rounds):
            self.cluster_goes_on()
            self.world.end_pod(0)
        self.operator.befall(0, lambda: None)

    @precondition(lambda self: self.operator.asks)
    @rule(count=st.integers(1, 12))
    def answers_come(self, count: int) -> None:
        for _ in range(count):
            if self.operator.asks:
                self.operator.answer(0)

    @precondition(lambda self: self.operator.asks)
    @rule(pick=model_rules.PICK)
    def an_answer_comes_before_others(self, pick: int) -> None:
        self.operator.answer(pick)

    @precondition(lambda self: self.operator.asks)
    @rule(pick=model_rules.PICK)
    def a_request_is_done_and_answered_later(self, pick: int) -> None:
        self.operator.do(pick)

    @precondition(lambda self: self.operator.asks)
    @rule(pick=model_rules.PICK, done=st.booleans(), answer=model_rules.ANSWER)
    def a_request_is_refused(self, pick: int, done: bool, answer: str) -> None:
        """done: only the answer is lost."""
        if done:
            self.operator.do(pick)
        self.operator.refuse(pick, "lost" if done else answer)

    @rule(done=st.lists(st.booleans(), min_size=1, max_size=3))
    def operator_is_killed(self, done: list[bool]) -> None:
        self.operator.kill(done)

    @rule(for_good=st.booleans())
    def operator_is_told_to_stop(self, for_good: bool) -> None:
        self.operator.told_to_stop(for_good)

    @precondition(lambda self: self.operator.on_the_way)
    @rule(data=st.data())
    def an_event_is_lost(self, data: st.DataObject) -> None:
        super().an_event_is_lost(data)
        self.operator.missed = True

    def settle(self) -> None:
        self.operator.skew = 0
        self.operator.answer_all()
        self.operator.deliver_all()
        self.operator.answer_all()
        if self.operator.is_ready and not self.operator.missed:
            self.operator.agrees()
        super().settle()

    def work(self) -> None:
        """Every plan once, and all that is open is answered."""
        self.operator.answer_all()
        for key in self.keys():
            self.operator.reconcile(key)
        self.operator.answer_all()


class ConcurrentJobs(OpenRequestRules, JobAdversary):
    """One DinoJob named x."""

    def user_acts(self) -> dict[str, Callable[[], None]]:
        if self.world.dinojob is None:
            return {"it is created again": self.world.submit}
        policy = self.world.dinojob["spec"]["runPolicy"]
        acts = {
            "it is deleted": self.user_deletes_it,
            "a namesake takes its place": self._replace,
            "it is suspended or resumed": lambda: self.world.edit(suspend=not policy["suspend"]),
        }
        return acts | ({"it is stopped": self.user_stops_it} if self.may_stop else {})

    def _replace(self) -> None:
        self.user_deletes_it()
        self.world.submit(action="evaluate")


class ConcurrentNamespace(OpenRequestRules, NamespaceAdversary):
    """A search with its trials, or a chain of jobs."""

    def user_acts(self) -> dict[str, Callable[[], None]]:
        acts = dict[str, Callable[[], None]]()
        for name in self._open(Kind.DINOAUTOMLS):
            on = not self.world.things[Kind.DINOAUTOMLS][name]["spec"].get("suspend")
            acts[f"{name} is suspended or resumed"] = partial(
                self.world.edit_any, Kind.DINOAUTOMLS, name, suspend=on
            )
        for name, job in self.world.things[Kind.DINOJOBS].items():
            acts[f"{name} is deleted"] = partial(self.world.remove, Kind.DINOJOBS, job)
        return acts


@pytest.mark.parametrize("part", range(PARTS))
def test_one_job_ends_right_whatever_happens_before_an_answer(part: int) -> None:
    run_episodes(ConcurrentJobs, part, JOBS_SHARE)
    ends = {"DinoJob Complete", "DinoJob Failed"}
    assert ConcurrentJobs.ends.keys() == ends or episodes(JOBS_SHARE) < ENOUGH
    assert ConcurrentJobs.ends["DinoJob Complete"]


@pytest.mark.parametrize("part", range(PARTS))
def test_a_namespace_ends_right_whatever_happens_before_an_answer(part: int) -> None:
    run_episodes(ConcurrentNamespace, part, NAMESPACE_SHARE)
    assert ConcurrentNamespace.ends["DinoAutoML Complete"]
