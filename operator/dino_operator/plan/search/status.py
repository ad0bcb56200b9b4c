"""What is said of a search: its conditions, its phase, and facts carried over or replaced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from dino_api.names import ConditionReason, ConditionType, EventReason, Label, Phase, Stage
from dino_api.problem import sentence
from dino_api.resources.dinoautoml import MOST_TRIALS, TrialCounts
from dino_operator.plan.model import Condition, Event, Object, Plan
from dino_operator.plan.observed.pod import Pod
from dino_operator.plan.observed.resource import DinoAutoML
from dino_operator.plan.reported import conditions, events
from dino_operator.plan.reported.conditions import State
from dino_operator.plan.search import ends
from dino_operator.plan.search.engines.contract import Step
from dino_operator.plan.search.search_view import SearchView
from dino_operator.plan.search.trials import best
from dino_operator.plan.search.trials.trial import LIVE, Trial, to_status

NOT_CHOSEN = Condition(False, ConditionReason.NOT_CHOSEN)
DATA_GIVEN = Condition(False, ConditionReason.DATASETS_GIVEN)
HELD = "spec.suspend is true; set it to false to go on"
POINTS = 8000
"""Points of all curves in status.history; with 500 trials it stays below some 300 kB."""
LONGEST_CURVE, SHORTEST_CURVE = 200, 8
TEXT = 30_000
"""Characters of all messages in status.history."""
LONGEST_TEXT = 256
CHECKING = "trial 0, which has the defaults, checks the data for all of them"
PROFILE = "neither datasets nor numClasses were given: the installation's smoke profile is used"
GIVEN = "datasets or numClasses were given: nothing of the smoke profile is used"


@dataclass(frozen=True)
class SearchState:
    """A state, and what only a search has: what runs it, and whose data it uses."""

    state: State
    engine: Condition = NOT_CHOSEN
    profile: Condition = DATA_GIVEN

    def conditions(self) -> Iterator[tuple[ConditionType, Condition]]:
        """All conditions in the order in which people read them."""
        yield ConditionType.ENGINE_READY, self.engine
        yield ConditionType.PROFILE_APPLIED, self.profile
        yield from self.state.conditions()


def with_known(search: DinoAutoML, state: State, profile: Condition = DATA_GIVEN) -> SearchState:
    """The state of a search that is not understood any more, with what was said of engine, profile
    and data while it was. profile: where nothing was said of it."""
    engine = search.condition(ConditionType.ENGINE_READY) or NOT_CHOSEN
    data = search.condition(ConditionType.DATA_READY) or state.data
    known = search.condition(ConditionType.PROFILE_APPLIED) or profile
    return SearchState(replace(state, data=data), engine, known)


def write(
    resource: DinoAutoML,
    state: SearchState,
    now: datetime,
    facts: Object | None = None,
    requeue_after: float | None = None,
) -> Plan:
    """A plan that only writes the status, with the events of what changes by it.

    facts: replace those in the status; one that is None is removed; others stay.
    """
    desired = dict(resource.status.raw)
    desired["observedGeneration"] = resource.generation
    desired["phase"] = state.state.phase.value
    desired["conditions"] = conditions.conditions(resource, state.conditions(), now)
    for name, value in (facts or {}).items():
        desired.pop(name, None)
        if value is not None:
            desired[name] = value
    return Plan(
        status=conditions.changed(resource, desired),
        events=events.transitions(resource, state.state, facts or {}),
        requeue_after=requeue_after,
    )


def warned(view: SearchView, plan: Plan) -> Plan:
    """The plan, with an event of what is odd about the search, once for each generation.

    The same words make the same event: an edit that changes nothing of it posts nothing new.
    """
    seen = view.status.observed_generation
    if not view.search.warnings or seen == view.resource.generation:
        return plan
    message = " ".join(sentence(each) for each in view.search.warnings)
    odd = Event(EventReason.SEARCH_DOUBTFUL, message, message, warning=True)
    return replace(plan, events=(odd, *plan.events))


def waiting(reason: str, message: str) -> State:
    """No trial was made so far."""
    return conditions.waiting(reason, message, Phase.PENDING)


def holding(message: str) -> State:
    """Held: what still runs saves a checkpoint first, or nothing does any more."""
    if message:
        return conditions.suspending(message)
    return conditions.suspended(HELD)


def complete(message: str) -> State:
    """The end, with a winner."""
    ended = Condition(True, ConditionReason.SEARCH_COMPLETED, message)
    return replace(conditions.complete(message), complete=ended)


def going(view: SearchView, step: Step, trials: Sequence[Trial]) -> State:
    """The state of a search that goes on, worst first."""
    if view.wants_suspend:
        return holding(_stopping(view, step.waiting))
    if view.obstacle and not trials:
        return waiting(ConditionReason.WAITING_FOR_CHILD, view.obstacle)
    if view.refused and not trials:
        return waiting(view.refused.reason, view.refused.message)
    data = data_ready(view)
    if not data.is_true:
        return State(Phase.PREPARING, Condition(False, ConditionReason.CHECKING, data.message))
    running = [each.name for each in trials if each.state == "Running"]
    ended = sum(not each.is_live for each in trials)
    message = f"{ended} of {ends.planned(view)} trials have ended"
    reason = view.refused.reason if view.refused else ""
    if view.obstacle:
        reason = ConditionReason.WAITING_FOR_CHILD
    wait = view.obstacle or step.waiting
    if running:
        message = "; ".join(filter(None, [message, f"{_names(running)} run", wait]))
        return State(Phase.RUNNING, Condition(True, reason or ConditionReason.SEARCHING, message))
    message = "; ".join(filter(None, [message, wait or _of_trials(view)]))
    waits = Condition(False, reason or ConditionReason.WAITING_FOR_TRIALS, message)
    return State(Phase.RUNNING, waits)


def _stopping(view: SearchView, obstacle: str) -> str:
    """What still runs of a search that is held, and what keeps it from stopping; else nothing."""
    busy = still_running(view)
    if not busy:
        return ""
    if obstacle:
        return f"{_names(busy)} still run; {obstacle}"
    return f"{_names(busy)} save checkpoints and stop"


def ending(message: str) -> State:
    """The state of a search that starts no more trials, and is not at its last word."""
    return State(Phase.RUNNING, Condition(False, ConditionReason.ENDING, message))


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown


def _of_trials(view: SearchView) -> str:
    """What the first trial that waits says of itself."""
    for job in view.trial_jobs.values():
        condition = job.condition(ConditionType.RUNNING)
        if not job.is_finished and condition and condition.message:
            return f"{job.name}: {condition.message}"
    return ""


def of_trials(view: SearchView, trials: Sequence[Trial]) -> Object:
    """The fields of the status that trials decide.

    Katib makes one more for each that ended without a metric: those beyond what a history may have
    are counted, and may win.
    """
    most = max(1, view.search.max_trials)
    points = min(LONGEST_CURVE, max(SHORTEST_CURVE, POINTS // most))
    text = min(LONGEST_TEXT, TEXT // most)
    started = [each.started for each in trials if each.started]
    return {
        "trials": _counts(view, trials) if trials else None,
        "history": [to_status(each, points, text) for each in trials[:MOST_TRIALS]] or None,
        "best": best.best(view, trials),
        "startTime": view.status.start_time or min(started, default=None),
        "dataset": view.status.dataset.raw or _dataset(view),
    }


def settled(resource: DinoAutoML) -> Object:
    """The same of a search that is not understood any more: what had not ended was stopped."""
    rows, counts = resource.status.raw.get("history") or [], resource.status.raw.get("trials")
    live = sum(each["state"] in LIVE for each in rows)
    if not (live and counts):
        return {}
    most = counts["display"].partition("/")[2]
    ended = {"running": 0, "stopped": counts["stopped"] + live, "display": f"{len(rows)}/{most}"}
    stopped = [{**each, "state": "Stopped"} if each["state"] in LIVE else each for each in rows]
    return {"trials": {**counts, **ended}, "history": stopped}


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
    job = view.trial_jobs.get(0)
    return (job.status.dataset.raw or None) if job else None


def data_ready(view: SearchView) -> Condition:
    """DataReady: as the baseline says it, and True from then on."""
    known = view.resource.condition(ConditionType.DATA_READY)
    if known is not None and known.is_true:
        return known
    job = view.trial_jobs.get(0)
    of_baseline = job.condition(ConditionType.DATA_READY) if job else None
    return of_baseline or known or Condition(False, ConditionReason.CHECKING, CHECKING)


def profile_applied(view: SearchView) -> Condition:
    """ProfileApplied, in words that stay."""
    if view.search.profile_applied:
        return Condition(True, ConditionReason.PROFILE_USED, PROFILE)
    return Condition(False, ConditionReason.DATASETS_GIVEN, GIVEN)


def still_running(view: SearchView) -> list[str]:
    """Names of what may hold a GPU although the search is held: DinoJobs, and pods of Katib's."""
    jobs = [
        each.name
        for each in view.own_dinojobs
        if not each.is_finished and not each.is_true(ConditionType.SUSPENDED)
    ]
    pods = [pod.name for pod in view.children.pods if _trains(pod)]
    return jobs + pods


def _trains(pod: Pod) -> bool:
    """Whether a pod may hold a GPU. Katib's that draws has the search's label, and goes on; so does
    that of the report."""
    return pod.is_live and pod.label(Label.ACTION) not in ("", Stage.REPORT)
