"""Hypothesis against the plan of a search: whatever happens in whatever order, it ends right.

An adversary kills the operator between any two writes, makes it plan from what it saw long ago,
ends trials in any order, deletes and holds them, and edits the numbers of trials. `SearchWorld`
refuses two DinoJobs of one number, more than parallelTrials, a number beyond maxTrials, a trial
after the end, and other parameters for a trial that is made again. When the adversary stops, the
search ends, each draw is what seed, number and the results that it knew make of it, and nothing is
written.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from dino_api.resources.dinoautoml import Algorithm
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.observed import objects
from dino_operator.plan.observed.resource import DinoAutoML
from dino_operator.plan.search.samplers.draw import draw
from dino_operator.plan.search.search_view import SearchView
from dino_operator.plan.search.trials.outcomes import of_row
from dino_operator.plan.search.trials.trial import MAY_WIN
from tests.unit.model_runs import PARTS, run_episodes
from tests.unit.search_builders import DROPOUT, LR, a_space
from tests.unit.search_world import Crash, SearchWorld

SPACE = [LR, DROPOUT]
PRUNINGS = [
    {"name": "none"},
    {"name": "median", "startEpoch": 1, "minTrials": 1},
    {"name": "successiveHalving", "startEpoch": 1, "reductionFactor": 2},
]
SCORES = st.integers(1, 9).map(lambda tenth: tenth / 10)


class SearchAdversary(RuleBasedStateMachine):
    """One DinoAutoML named x, its trials, and an operator that is often interrupted."""

    @initialize(
        name=st.sampled_from(["random", "tpe", "tpe"]),
        parallel=st.integers(1, 3),
        pruning=st.sampled_from(PRUNINGS),
        goal=st.sampled_from([None, None, 0.9]),
        checked=st.sampled_from([True, True, False]),
    )
    def begin(
        self, name: str, parallel: int, pruning: dict, goal: float | None, checked: bool
    ) -> None:
        self.algorithm = {"name": name, "seed": 5, "startupTrials": 2}
        self.world = SearchWorld(
            search=SPACE,
            algorithm=self.algorithm,
            pruning=pruning,
            maxTrials=5,
            parallelTrials=parallel,
            maxFailedTrials=2,
            objective={"goal": goal},
        )
        if checked:
            self.world.settle()
            self.world.check()
            self.world.settle()

    # ---- the operator -------------------------------------------------------------------------

    @rule(stale=st.booleans())
    def plan(self, stale: bool) -> None:
        try:
            self.world.reconcile(stale)
        except Crash:
            self.world.crash = lambda: None
            self.world.seen = self.world.look()

    @rule(after=st.integers(0, 3))
    def kill(self, after: int) -> None:
        """The operator ends before the so manyth write from now on."""
        left = [after]

        def crash() -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Crash

        self.world.crash = crash
        self.plan(False)

    # ---- trials -------------------------------------------------------------------------------

    @rule(pick=st.integers(0, 2), scores=st.lists(SCORES, min_size=1, max_size=3))
    def train(self, pick: int, scores: list[float]) -> None:
        for name in self._live(pick):
            self.world.check(name)
            self.world.run(name, *scores)

    @rule(pick=st.integers(0, 2), score=SCORES)
    def complete(self, pick: int, score: float) -> None:
        for name in self._live(pick):
            self.world.check(name)
            self.world.run(name, score)
            self.world.complete(name, score)

    @rule(pick=st.integers(0, 2), reason=st.sampled_from(["Diverged", "Crashed", "InvalidSpec"]))
    def fail(self, pick: int, reason: str) -> None:
        for name in self._live(pick):
            self.world.fail(name, reason)

    @rule(pick=st.integers(0, 2), checkpoint=st.booleans())
    def obey(self, pick: int, checkpoint: bool) -> None:
        for name in self._live(pick):
            self.world.obey(name, checkpoint)

    # ---- users --------------------------------------------------------------------------------

    @rule(pick=st.integers(0, 4), stale=st.booleans())
    def delete(self, pick: int, stale: bool) -> None:
        for name in list(self.world.dinojobs)[pick : pick + 1]:
            self.world.delete(name)
        self.plan(stale)

    @rule(on=st.booleans())
    def suspend(self, on: bool) -> None:
        self.world.edit(suspend=on)

    @rule(parallel=st.integers(1, 3))
    def parallel(self, parallel: int) -> None:
        self.world.edit(parallelTrials=parallel)

    @rule()
    def more(self) -> None:
        self.world.edit(maxTrials=min(6, self.world.automl["spec"]["maxTrials"] + 1))

    def _live(self, pick: int) -> list[str]:
        found = [objects.name_of(each) for each in self.world.live()]
        return found[pick : pick + 1]

    # ---- when the adversary stops ---------------------------------------------------------------

    def teardown(self) -> None:
        world = self.world
        world.crash = lambda: None
        world.edit(suspend=False)
        for _ in range(20):
            world.settle()
            if self._is_over():
                break
            self._let_trials_end()
        assert self._is_over(), world.automl
        assert world.plan().is_empty
        self._check_draws()
        self._check_best()

    def _is_over(self) -> bool:
        return "True" in (self.world.says("Complete")[0], self.world.says("Failed")[0])

    def _let_trials_end(self) -> None:
        for job in self.world.live():
            name = objects.name_of(job)
            if job["spec"]["runPolicy"]["stop"]:
                self.world.obey(name)
            else:
                self.world.check(name)
                self.world.complete(name, 0.35)
        if "x-report-1" in self.world.jobs and not self.world.pods:
            self.world.report()

    def _check_draws(self) -> None:
        rows = {row["number"]: row for row in self.world.automl["status"].get("history", [])}
        resource = {"status": {"history": list(rows.values())}}
        view = SearchView(DinoAutoML(resource), *[None] * 4)  # type: ignore[arg-type]
        for number, notes in self.world.drawn.items():
            drawn = json.loads(notes[Annotation.PARAMETERS.value])
            knew = [int(each) for each in notes[Annotation.KNEW.value].split(",") if each]
            history = [of_row(view.history[each]) for each in knew]
            algorithm = Algorithm.model_validate(self.algorithm)
            assert drawn == draw(a_space(*SPACE), algorithm, number, history)
            assert rows[number].get("parameters", {}) == drawn

    def _check_best(self) -> None:
        told = self.world.automl["status"]
        history = told.get("history", [])
        assert [row["number"] for row in history] == list(range(len(history)))
        assert all(row["state"] not in ("Pending", "Running") for row in history)
        scores = [row["mAP50"] for row in history if row["state"] == "Succeeded"]
        if scores:
            assert told["best"]["mAP50"] >= max(scores)
            ended = [row["mAP50"] for row in history if row["state"] in MAY_WIN and "mAP50" in row]
            assert told["best"]["mAP50"] in ended


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_happens_it_ends_right(part: int) -> None:
    run_episodes(SearchAdversary, part, 0.2)
