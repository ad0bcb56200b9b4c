"""Hypothesis against the operator: whatever happens in whatever order, it ends right.

An adversary kills pods and the operator, loses answers, has the API server refuse, delays, repeats
and drops watch events, starts the operator on a stale list, sets its clock wrong, edits and deletes
children. At no time may there be a second Job, a Job after the end, or an end of nothing
(`Store._may_run`, `Store._may_end`). When the adversary stops, the DinoJob ends, with its result,
and then nothing is written.
"""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from dino_operator.plan.model import is_true
from dino_operator.plan.observed import objects
from dino_operator.plan.observed.api_object import ApiObject
from dino_operator.runtime.keys import Key, Kind
from tests.unit import model_rules
from tests.unit.model_runs import PARTS, run_episodes
from tests.unit.plan_world import World

KEY = Key(Kind.DINOJOBS, "team", "x")
ROUNDS = 60
ACTIONS = st.sampled_from(["train", "train", "evaluate", "gen_trt_engine"])
"""One with two stages that does not train, and one without data to check."""
NODES = st.sampled_from([1, 1, 2])
QUEUES = st.sampled_from([None, None, "gpus"])
CAPTURES = st.sampled_from([False, False, True])
"""Whether Kueue takes every Job for its default queue."""
DEADLINES = st.sampled_from([None, None, 10**7])
STOPS = st.sampled_from([False, False, True])
"""Seldom: little happens to a job that was stopped."""


class JobAdversary(model_rules.Adversary):
    """One DinoJob named x, its cluster, and an operator that is often interrupted."""

    def __init__(self) -> None:
        super().__init__(World())

    def keys(self) -> list[Key]:
        return [KEY]

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

    @precondition(lambda self: self.world.dinojob)
    @rule(epoch=st.integers(1, 9))
    def a_pod_reports(self, epoch: int) -> None:
        if self.world.live_pod() is not None and self.world.dinojob.get("status"):
            self.world.says({"epoch": epoch, "percent": 10 * epoch})

    @precondition(lambda self: self.world.dinojob)
    @rule(retries=st.integers(0, 4))
    def user_edits_the_retries(self, retries: int) -> None:
        self.world.edit(maxRetries=retries)

    @precondition(lambda self: self.world.dinojob)
    @rule(note=st.sampled_from(["a", "b"]))
    def somebody_labels_it(self, note: str) -> None:
        self.world.label(note)

    # ---- what must hold -----------------------------------------------------------------------

    def settle(self) -> None:
        self.rest()
        if self.world.dinojob is not None and not is_true(self.world.dinojob, "Complete"):
            self.world.edit(suspend=False)
        self.operator.until_over(self._all_goes_well, self._is_over, ROUNDS)
        job = self.world.dinojob
        if job is None:
            assert not self.world.things[Kind.JOBS]
        else:
            self.has_ended_right(job)
            self.holds_nothing()
            if is_true(job, "Complete") and objects.uid_of(job) not in self.world.unread:
                assert job["status"]["metrics"] == {"mAP50": 0.75}, "the result is lost"
        self.operator.at_rest(self.cluster_goes_on)

    def _all_goes_well(self) -> None:
        self.cluster_goes_on()
        self.world.end_pod(0)

    def _is_over(self) -> bool:
        """Whether nothing is left that may still be done, or undone."""
        job, jobs = self.world.dinojob, self.world.jobs()
        ended = not any(jobs) if job is None else ApiObject(job).is_finished
        return ended and self.world.live_pod() is None


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_happens_it_ends_right(part: int) -> None:
    run_episodes(JobAdversary, part, 0.6)
    assert JobAdversary.ends.keys() == {"DinoJob Complete", "DinoJob Failed"}
