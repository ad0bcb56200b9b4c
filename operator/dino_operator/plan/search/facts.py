"""What the status says of the trials: rows, counts, times, the best one, the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from dino_api.names import ConditionReason, ConditionType, Label
from dino_operator.plan.model import Object
from dino_operator.plan.observed import objects
from dino_operator.plan.reported.conditions import Verdict
from dino_operator.plan.search import ends, status
from dino_operator.plan.search.engines.contract import Trial, to_status
from dino_operator.plan.search.search_view import SearchView
from dino_operator.plan.search.trials import best

POINTS = 8000
"""Points of all curves in status.history; with 500 trials it stays below some 300 kB."""
LONGEST_CURVE, SHORTEST_CURVE = 200, 8
TEXT = 30_000
"""Characters of all messages in status.history."""
LONGEST_TEXT = 256
CHECKING = "trial 0, which has the defaults, checks the data for all of them"
PROFILE = "neither datasets nor numClasses were given: the installation's smoke profile is used"
GIVEN = "datasets or numClasses were given: nothing of the smoke profile is used"


def of_trials(view: SearchView, trials: Sequence[Trial]) -> Object:
    """The fields of the status that trials decide."""
    most = max(1, view.search.max_trials)
    points = min(LONGEST_CURVE, max(SHORTEST_CURVE, POINTS // most))
    text = min(LONGEST_TEXT, TEXT // most)
    started = [each.started for each in trials if each.started]
    return {
        "trials": _counts(view, trials) if trials else None,
        "history": [to_status(each, points, text) for each in trials] or None,
        "best": best.best(view, trials),
        "startTime": view.status.get("startTime") or min(started, default=None),
        "dataset": view.status.get("dataset") or _dataset(view),
    }


def _counts(view: SearchView, trials: Sequence[Trial]) -> Object:
    by_state = Counter(str(each.state) for each in trials)
    live = sum(each.is_live for each in trials)
    return TrialCounts(
        total=len(trials),
        running=live,
        succeeded=by_state["Succeeded"],
        pruned=by_state["Pruned"],
        failed=by_state["Failed"],
        stopped=by_state["Stopped"],
        display=f"{len(trials) - live}/{max(ends.planned(view), len(trials))}",
    ).to_dict()


def _dataset(view: SearchView) -> Object | None:
    """What the baseline's preflight found."""
    job = view.trial_jobs.get(0) or {}
    found = (job.get("status") or {}).get("dataset")
    return dict(found) if found else None


def data(view: SearchView) -> Verdict:
    """DataReady: as the baseline says it, and True from then on."""
    known = status.kept(view.resource, ConditionType.DATA_READY)
    if known is not None and known.is_true:
        return known
    job = view.trial_jobs.get(0)
    told = status.kept(job, ConditionType.DATA_READY) if job else None
    return told or known or Verdict(False, ConditionReason.CHECKING, CHECKING)


def profile(view: SearchView) -> Verdict:
    """ProfileApplied, in words that stay."""
    if view.search.profile_applied:
        return Verdict(True, ConditionReason.PROFILE_USED, PROFILE)
    return Verdict(False, ConditionReason.DATASETS_GIVEN, GIVEN)


def still_running(view: SearchView) -> list[str]:
    """Names of what may hold a GPU although the search is held: DinoJobs, and pods of Katib's."""
    jobs = [
        objects.name_of(each)
        for each in view.own_dinojobs
        if not objects.is_finished(each) and not objects.is_true(each, ConditionType.SUSPENDED)
    ]
    pods = [objects.name_of(each) for each in view.children.pods if _trains(each)]
    return jobs + pods


def _trains(pod: Object) -> bool:
    """Whether a pod may hold a GPU. Katib's that draws has the search's label, and goes on."""
    return objects.is_live(pod) and Label.ACTION.value in pod["metadata"].get("labels", {})
