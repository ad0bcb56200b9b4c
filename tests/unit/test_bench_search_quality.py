"""The surrogate agrees with the trainings it is fitted to; the bench of searches counts right."""

from __future__ import annotations

import statistics

import pytest

from dino_api.resources.dinoautoml import Assignment
from dino_operator.plan.search.trials.trial import Trial
from tests.bench import search_quality, surrogate


def test_defaults_score_what_the_base_scored() -> None:
    measured = surrogate.base_scores()
    scores = [surrogate.score({}, seed) for seed in range(300)]
    assert statistics.mean(scores) == pytest.approx(statistics.mean(measured), rel=0.01)
    assert surrogate.curve({}, 3)[-1] == surrogate.score({}, 3)


@pytest.mark.parametrize("ratio, changed", [(0.25, 1e-4), (2.0, 8e-4)])
def test_a_measured_rate_scores_what_was_measured(ratio: float, changed: float) -> None:
    runs = surrogate.measured()["runs"]
    one = next(run for run in runs if run["changed"] == {"train.optim.lr": changed})
    share = surrogate.factor("train.optim.lr", 0.0002 * ratio)
    assert share * statistics.mean(surrogate.base_scores()) == pytest.approx(one["mAP50"])


def test_rates_of_tao_learn_nothing() -> None:
    assert surrogate.score({"train.optim.lr": 0.5, "train.optim.lr_backbone": 0.5}, 1) < 0.02


def test_a_search_counts_the_trials_that_are_good() -> None:
    def defaults_but_three(number: int, _history: list[Trial]) -> Assignment:
        return {"train.optim.lr": 0.5} if number in (2, 5, 12) else {}

    found = search_quality.search(7, defaults_but_three)
    assert found.good == 8
    assert 0.5 < found.best_first <= found.best


def test_four_at_a_time_end_sooner_than_without_pruning() -> None:
    unpruned = search_quality.TRIALS / search_quality.PARALLEL * surrogate.EPOCHS
    assert search_quality.wall_clock(0) < unpruned
