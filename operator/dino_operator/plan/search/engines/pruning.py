"""Which running trials are not worth their GPU: pure functions of the learning curves.

median: the rule of Vizier (Golovin et al. 2017), with best values instead of averages. A trial is
stopped whose best mAP50 so far is below the median of what the others had reached by that epoch.

successiveHalving: the asynchronous form (Li et al. 2020). Rungs are at start_epoch times powers of
the reduction factor. Of the trials that reached a rung, the best one of so many goes on, at least
one. A trial is judged at the highest rung it reached, against all that reached it until now: one
that passed while few others had come may still be stopped before the next rung.

Trial 0 is compared with and never stopped: it is the measure of the search.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from dino_api.resources.dinoautoml import Pruning
from dino_operator.plan.search.trials.trial import Point, Trial


def to_stop(trials: Iterable[Trial], pruning: Pruning) -> list[int]:
    """The numbers of the trials to stop now.

    trials: all of them; those that failed are not compared with. pruning: with its start_epoch
    (`Pruning.starting`).
    """
    if pruning.name == "none":
        return []
    seen = [each for each in trials if each.curve and each.state != "Failed"]
    judged = _is_below_median if pruning.name == "median" else _is_off_its_rung
    running = [each for each in seen if each.is_live and each.number != 0]
    return [each.number for each in running if judged(each, seen, pruning)]


def _is_below_median(trial: Trial, seen: Sequence[Trial], pruning: Pruning) -> bool:
    epoch = trial.curve[-1].epoch
    if epoch < (pruning.start_epoch or 1):
        return False
    others = [
        _best(each.curve, epoch)
        for each in seen
        if each.number != trial.number and each.curve[-1].epoch >= epoch
    ]
    if len(others) < pruning.min_trials:
        return False
    return _best(trial.curve, epoch) < median(others)


def _is_off_its_rung(trial: Trial, seen: Sequence[Trial], pruning: Pruning) -> bool:
    epoch, rung = trial.curve[-1].epoch, 0
    place = pruning.start_epoch or 1
    while place <= epoch:
        rung, place = place, place * pruning.reduction_factor
    if not rung:
        return False
    there = [_best(each.curve, rung) for each in seen if each.curve[-1].epoch >= rung]
    passing = max(1, len(there) // pruning.reduction_factor)
    return _best(trial.curve, rung) < sorted(there, reverse=True)[passing - 1]


def _best(curve: Sequence[Point], epoch: int) -> float:
    """The best value up to that epoch; the first one there is where all are later."""
    reached = [point.mAP50 for point in curve if point.epoch <= epoch]
    return max(reached, default=curve[0].mAP50)
