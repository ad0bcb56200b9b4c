"""Hypothesis against all plans at once: searches with their trials, and chains of jobs.

As `test_plan_model.py`, with several resources whose plans wake each other: a search draws trials,
which are DinoJobs with Jobs and pods, prunes them, writes its report, has its winner evaluated, and
a job of a user's goes on from the winner; or two jobs go on from what a third one leaves. The
`Namespace` refuses trials too many, too late, or drawn anew. In the end everything has ended, and
with what the pods told.
"""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from dino_operator.plan.model import Object, is_true
from dino_operator.plan.observed import objects
from dino_operator.plan.observed.api_object import ApiObject
from dino_operator.runtime.keys import Kind
from tests.unit import model_rules
from tests.unit.model_runs import PARTS, episodes, run_episodes
from tests.unit.namespace_world import SEARCH, Namespace, score_of

ROUNDS = 120
SHARE, ENOUGH = 0.2, 100
"""Its part of the episodes, and in how many each way to end comes at least once."""
PRUNINGS = [
    {"name": "none"},
    {"name": "median", "startEpoch": 1, "minTrials": 1},
]
MET_BY_TRIAL_1 = score_of(f"{SEARCH}-trial-1")
"""A goal that is met while another trial runs, or is about to be made."""
SCORES = st.integers(1, 9).map(lambda tenth: tenth / 10)


class NamespaceAdversary(model_rules.Adversary):
    """One namespace, and an operator that is often interrupted."""

    world: Namespace

    def __init__(self) -> None:
        super().__init__(Namespace())

    def settle(self) -> None:
        self.rest()
        for name in self._open(Kind.DINOAUTOMLS):
            self.world.edit_any(Kind.DINOAUTOMLS, name, suspend=False)
        for name in self._open(Kind.DINOJOBS):
            policy = self.world.things[Kind.DINOJOBS][name]["spec"]["runPolicy"]
            owned = objects.controller_uid(self.world.things[Kind.DINOJOBS][name])
            if policy.get("suspend") and not owned:
                self.world.edit_any(Kind.DINOJOBS, name, runPolicy={**policy, "suspend": False})
        for _ in range(ROUNDS):
            self.cluster_goes_on()
            for _ in range(2):
                self.world.end_pod(0)
            if all(map(self._waits_or_is_over, self.world.resources())):
                break
        for _ in range(3):
            self.cluster_goes_on()
        for each in self.world.resources():
            assert self._waits_or_is_over(each), f"{objects.name_of(each)}: {each.get('status')}"
            if ApiObject(each).is_finished:
                self.has_ended_right(each)
                self._told_its_result(each)
        self.holds_nothing()
        self.operator.at_rest(self.cluster_goes_on)

    def _waits_or_is_over(self, thing: Object) -> bool:
        """Whether it has ended, or its parent is not there (any more)."""
        if ApiObject(thing).is_finished:
            return True
        parent = thing["spec"].get("parent")
        if not parent or "inherited" in thing.get("status", {}):
            return False
        kind = Kind.DINOJOBS if parent["kind"] == "DinoJob" else Kind.DINOAUTOMLS
        return parent["name"] not in self.world.things[kind]

    def _told_its_result(self, thing: Object) -> None:
        if not is_true(thing, "Complete") or objects.uid_of(thing) in self.world.unread:
            return
        told, name = thing["status"], objects.name_of(thing)
        if thing["kind"] == "DinoAutoML":
            assert told["best"]["trial"], "no winner"
        elif thing["spec"]["action"] in ("train", "evaluate"):
            assert told["metrics"] == {"mAP50": score_of(name)}, "the result is lost"

    def _open(self, kind: Kind) -> list[str]:
        things = self.world.things[kind]
        return sorted(name for name, each in things.items() if not ApiObject(each).is_finished)

    # ---- users --------------------------------------------------------------------------------

    @initialize(
        searches=st.sampled_from([True, True, False]),
        trials=st.integers(2, 3),
        parallel=st.integers(1, 2),
        pruning=st.sampled_from(PRUNINGS),
        retries=st.integers(0, 2),
        nodes=st.sampled_from([1, 1, 2]),
        goal=st.sampled_from([None, None, MET_BY_TRIAL_1]),
    )
    def begin(
        self,
        searches: bool,
        trials: int,
        parallel: int,
        pruning: Object,
        retries: int,
        nodes: int,
        goal: float | None,
    ) -> None:
        self.searches = searches
        if searches:
            asked = {"parallelTrials": parallel, "pruning": pruning, "objective": {"goal": goal}}
            self.world.submit_search(trials, **asked)
        else:
            self.world.submit_chain(retries, nodes)

    @rule(rounds=st.integers(2, 6))
    def much_goes_well(self, rounds: int) -> None:
        for _ in range(rounds):
            self.cluster_goes_on()
            self.world.end_pod(0)

    @rule(pick=model_rules.PICK, score=SCORES)
    def a_pod_reports(self, pick: int, score: float) -> None:
        jobs = self.world.things[Kind.DINOJOBS]
        running = [name for name in self._open(Kind.DINOJOBS) if jobs[name].get("status")]
        if running:
            self.world.report(running[pick % len(running)], score)

    @precondition(lambda self: self._open(Kind.DINOAUTOMLS))
    @rule(on=st.booleans())
    def user_suspends_the_search(self, on: bool) -> None:
        self.world.edit_any(Kind.DINOAUTOMLS, SEARCH, suspend=on)

    @precondition(lambda self: self._open(Kind.DINOAUTOMLS))
    @rule(parallel=st.integers(1, 2))
    def user_edits_the_search(self, parallel: int) -> None:
        self.world.edit_any(Kind.DINOAUTOMLS, SEARCH, parallelTrials=parallel)

    @precondition(lambda self: self._open(Kind.DINOJOBS))
    @rule(pick=model_rules.PICK, on=st.booleans())
    def user_suspends_a_job(self, pick: int, on: bool) -> None:
        names = self._open(Kind.DINOJOBS)
        name = names[pick % len(names)]
        policy = self.world.things[Kind.DINOJOBS][name]["spec"]["runPolicy"]
        self.world.edit_any(Kind.DINOJOBS, name, runPolicy={**policy, "suspend": on})

    @precondition(lambda self: self.world.things[Kind.DINOJOBS])
    @rule(pick=model_rules.PICK)
    def somebody_deletes_a_dinojob(self, pick: int) -> None:
        jobs = sorted(self.world.things[Kind.DINOJOBS])
        name = jobs[pick % len(jobs)]
        self.world.remove(Kind.DINOJOBS, self.world.things[Kind.DINOJOBS][name])

    @precondition(lambda self: self.world.things[Kind.DINOAUTOMLS])
    @rule(really=st.sampled_from([False, False, False, True]))
    def user_deletes_the_search(self, really: bool) -> None:
        if really:
            self.world.remove(Kind.DINOAUTOMLS, self.world.things[Kind.DINOAUTOMLS][SEARCH])

    @precondition(lambda self: self.searches and SEARCH not in self.world.things[Kind.DINOAUTOMLS])
    @rule(trials=st.integers(1, 2))
    def user_creates_it_again(self, trials: int) -> None:
        self.world.things[Kind.DINOJOBS].pop("y", None)
        self.world.submit_search(trials, parallelTrials=2, pruning={"name": "none"})


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_happens_it_ends_right(part: int) -> None:
    run_episodes(NamespaceAdversary, part, SHARE)
    ends = {f"{kind} {how}" for kind in ("DinoJob", "DinoAutoML") for how in ("Complete", "Failed")}
    if episodes(SHARE) >= ENOUGH:
        assert NamespaceAdversary.ends.keys() == ends
