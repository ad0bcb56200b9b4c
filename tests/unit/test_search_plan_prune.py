"""Pruning by worked examples, and against Optuna's pruners."""

from __future__ import annotations

import random

import optuna
import pytest

from dino_api.resources.dinoautoml import Pruning
from dino_operator.plan.search.engines.pruning import to_stop
from dino_operator.plan.search.trials.trial import Point, Trial
from tests.unit.search_builders import a_trial

MEDIAN = Pruning(start_epoch=2, min_trials=3)
HALVING = Pruning(name="successiveHalving", start_epoch=1, reduction_factor=3)
DONE = [a_trial(n, curve=(n / 10, n / 10, n / 10, n / 10)) for n in (4, 5, 6)]
"""Three that ended; after each epoch the median is 0.5."""


def running(number: int, *curve: float) -> Trial:
    return a_trial(number, state="Running", curve=curve)


@pytest.mark.parametrize(
    "trials, pruning, stopped",
    [
        ([running(1, 0.1, 0.49)], MEDIAN, [1]),
        ([running(1, 0.1, 0.5)], MEDIAN, []),  # as good as the median is good enough
        ([running(1, 0.1)], MEDIAN, []),  # before start_epoch
        ([running(1, 0.6, 0.1)], MEDIAN, []),  # its best so far counts, not its latest
        ([running(0, 0.1, 0.1)], MEDIAN, []),  # the baseline is never stopped
        ([running(1, 0.1, 0.1)], Pruning(name="none"), []),
        ([running(1, 0.1, 0.1)], MEDIAN.model_copy(update={"min_trials": 4}), []),
        ([running(1, 0.1, 0.1), running(2, 0.2, 0.2)], MEDIAN, [1, 2]),
        ([running(1, 0.4, 0.4, 0.4, 0.4, 0.4)], MEDIAN, []),  # nobody else got so far
        ([running(1), a_trial(2, state="Pending")], MEDIAN, []),  # nothing was pushed
    ],
)
def test_median(trials: list[Trial], pruning: Pruning, stopped: list[int]) -> None:
    assert to_stop([*DONE, *trials], pruning) == stopped


def test_a_failed_trial_is_not_compared_with() -> None:
    failed = a_trial(9, state="Failed", curve=(0.9, 0.9))
    assert to_stop([*DONE[:2], failed, running(1, 0.1, 0.1)], MEDIAN) == []


def test_rungs() -> None:
    """Factor 3 from epoch 1: rungs at 1, 3, 9. Of six at a rung two go on."""
    six = [running(n, n / 10) for n in range(1, 7)]
    assert to_stop(six, HALVING) == [1, 2, 3, 4]
    later = [running(n, *[n / 10] * 3) for n in range(5, 9)]
    assert to_stop(later, HALVING) == [5, 6, 7]  # of four at epoch 3 the best one
    # All ten reached the first rung, where three go on; those at epoch 3 are judged there.
    assert to_stop([*six, *later], HALVING) == [1, 2, 3, 4, 5, 5, 6, 7]


def test_the_first_at_a_rung_goes_on() -> None:
    assert to_stop([running(1, 0.1, 0.1, 0.1)], HALVING) == []


def test_before_the_first_rung_nothing_is_stopped() -> None:
    late = HALVING.model_copy(update={"start_epoch": 3})
    assert to_stop([running(1, 0.1, 0.1), running(2, 0.9, 0.9)], late) == []


def study_of(pruner: optuna.pruners.BasePruner) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(direction="maximize", pruner=pruner)


def test_median_agrees_with_optuna() -> None:
    """Where the others ended: Optuna compares with those alone."""
    chance = random.Random(4)
    for _ in range(30):
        curves = [[chance.random() for _ in range(5)] for _ in range(6)]
        curves = [[max(each[: n + 1]) for n in range(5)] for each in curves]  # best so far
        study = study_of(optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=2))
        for each in curves[:5]:
            points = dict(enumerate(each, start=1))
            trial = optuna.trial.create_trial(value=each[-1], intermediate_values=points)
            study.add_trial(trial)
        asked = study.ask()
        for epoch, value in enumerate(curves[5][:3], start=1):
            asked.report(value, epoch)
        others = [a_trial(n, curve=tuple(each)) for n, each in enumerate(curves[:5])]
        mine = to_stop([*others, running(9, *curves[5][:3])], MEDIAN)
        assert bool(mine) == asked.should_prune()


def test_halving_agrees_with_optuna_for_who_comes_last() -> None:
    chance = random.Random(5)
    for _ in range(30):
        scores = [chance.random() for _ in range(7)]
        pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
        study = study_of(pruner)
        for value in scores:
            asked = study.ask()
            asked.report(value, 1)
            stopped = asked.should_prune()
        trials = [running(n, value) for n, value in enumerate(scores, start=1)]
        assert (7 in to_stop(trials, HALVING)) == stopped


def test_points_between_validations() -> None:
    """With a validation every second epoch a rung is met by the next one."""
    low = Trial(1, "a", "Running", curve=(Point(2, 0.1), Point(4, 0.2)))
    high = Trial(2, "b", "Running", curve=(Point(2, 0.3), Point(4, 0.4)))
    assert to_stop([low, high], HALVING.model_copy(update={"start_epoch": 3})) == [1]


@pytest.mark.parametrize("epochs, start", [(1, 1), (3, 1), (4, 2), (10, 4), (50, 17)])
def test_without_a_start_the_first_third_is_left_alone(epochs: int, start: int) -> None:
    assert Pruning().starting(epochs).start_epoch == start
    assert Pruning(start_epoch=2).starting(epochs).start_epoch == 2
