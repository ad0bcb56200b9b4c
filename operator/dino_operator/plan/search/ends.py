"""When a search must stop: what failed too much, the goal, or the number of trials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dino_api import failures, metric
from dino_api.names import FailureReason
from dino_operator.plan.observed import failure
from dino_operator.plan.observed.failure import Cause
from dino_operator.plan.search.samplers import grid
from dino_operator.plan.search.search_view import SearchView
from dino_operator.plan.search.trials.trial import MAY_WIN, Trial

FATAL = frozenset(rule.reason.value for rule in failures.TABLE if rule.fails_every_trial)
"""What fails the baseline for one of these fails every other trial as well."""


@dataclass(frozen=True)
class End:
    """Why a search starts no more trials. failure: it ends without success, for this cause."""

    message: str
    failure: Cause | None = None


def reached(view: SearchView, trials: Sequence[Trial]) -> End | None:
    """Why no more trials may start, or None where they may. Worst first.

    trials: all of them, the baseline first. Some may still run.
    """
    if stored := failed_already(view):
        return stored
    failed = [each for each in trials if each.state == "Failed"]
    if failed and failed[0].number == 0 and failed[0].reason in FATAL:
        return _of_baseline(failed[0])
    if len(failed) > view.search.max_failed_trials:
        return _too_many(view, failed)
    goal = view.spec.objective.goal
    met = [each for each in trials if goal is not None and (_score(each) or 0.0) >= goal]
    if met:
        reached = metric.text(_score(met[0]))
        return End(f"{met[0].name} reached the goal of {goal:g} with mAP50 {reached}")
    most = planned(view)
    if len(trials) < most or any(each.is_live for each in trials):
        return None
    if all(_score(each) is None for each in trials):
        return End("", _nothing(failed))
    return End(f"all {len(trials)} trials have ended")


def failed_already(view: SearchView) -> End | None:
    """The failure that stands in the status: it is not taken back, whatever is edited since."""
    stored = view.status.failure
    return End("", Cause(rule_of(stored.reason), stored.message)) if stored else None


def planned(view: SearchView) -> int:
    """How many trials the search has in all; a grid may have fewer combinations."""
    most = view.search.max_trials
    if view.spec.algorithm.name != "grid":
        return most
    return min(most, len(grid.cells(view.search.space)) + 1)


def unchecked(baseline: Trial) -> End | None:
    """The end where the baseline ended before its data was found good; other trials need it."""
    if baseline.is_live:
        return None
    if baseline.state == "Failed":
        return _of_baseline(baseline)
    message = f"{baseline.name} was stopped before it had checked the data, without which no other "
    return End("", failure.cause(FailureReason.NO_TRIAL_SUCCEEDED, f"{message}trial begins"))


def without_checkpoint() -> Cause:
    """The end of a search in which trials have results and none left what could be used."""
    message = "trials have results, but none left a checkpoint"
    return failure.cause(FailureReason.NO_TRIAL_SUCCEEDED, message)


def most_frequent(trials: Sequence[Trial]) -> str:
    """The reason for which most of the failed trials failed; empty where none did."""
    reasons = Counter(each.reason for each in trials if each.state == "Failed" and each.reason)
    return min(reasons, key=lambda reason: (-reasons[reason], reason), default="")


def _score(trial: Trial) -> float | None:
    """What counts for the goal: of a trial that ended and may win."""
    return trial.mAP50 if trial.state in MAY_WIN else None


def _of_baseline(trial: Trial) -> End:
    message = f"{trial.name}, which has the defaults, failed: {trial.message or trial.reason}"
    return End("", Cause(rule_of(trial.reason), message))


def _too_many(view: SearchView, failed: Sequence[Trial]) -> End:
    most = view.search.max_failed_trials
    message = f"{len(failed)} trials failed, and spec.maxFailedTrials is {most}"
    return End("", _with_example(failure.cause(FailureReason.MAX_FAILED_TRIALS, message), failed))


def _nothing(failed: Sequence[Trial]) -> Cause:
    message = "no trial has a result"
    return _with_example(failure.cause(FailureReason.NO_TRIAL_SUCCEEDED, message), failed)


def _with_example(cause: Cause, failed: Sequence[Trial]) -> Cause:
    """Adds what went wrong most often, and what to do about it."""
    reason = most_frequent(failed)
    if not reason:
        return cause
    example = next(each for each in failed if each.reason == reason)
    times = sum(each.reason == reason for each in failed)
    message = f"{cause.message}; {times} of them for {reason}, such as {example.name}"
    message += f": {example.message}" if example.message else ""
    remedies = dict.fromkeys((rule_of(reason).remedy, cause.rule.remedy))
    remedy = " ".join(remedies)
    return replace(cause, message=message, remedy=remedy)


def rule_of(reason: str) -> failures.FailureRule:
    """The row of the catalogue, which has no words of Katib's and of other versions."""
    known = {rule.reason.value for rule in failures.TABLE}
    text = reason if reason in known else FailureReason.NO_TRIAL_SUCCEEDED.value
    return failures.by_reason(text)
