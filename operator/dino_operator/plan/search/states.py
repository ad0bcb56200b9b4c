"""The state of a search in a word and a sentence, by what its trials do."""

from __future__ import annotations

from collections.abc import Sequence

from dino_api.names import ConditionReason, ConditionType, Phase
from dino_operator.plan.observed import objects
from dino_operator.plan.reported.conditions import State, Verdict
from dino_operator.plan.search import ends, facts, status
from dino_operator.plan.search.engines.contract import Step, Trial
from dino_operator.plan.search.search_view import SearchView


def going(view: SearchView, step: Step, found: Sequence[Trial]) -> State:
    """Of a search that goes on, worst first."""
    if view.wants_suspend:
        busy = facts.still_running(view)
        return status.holding(f"{_names(busy)} save checkpoints and stop" if busy else "")
    if view.obstacle:
        return status.waiting(ConditionReason.WAITING_FOR_CHILD, view.obstacle)
    if view.refused and not found:
        return status.waiting(view.refused.reason, view.refused.message)
    data = facts.data(view)
    if not data.is_true:
        return State(Phase.PREPARING, Verdict(False, ConditionReason.CHECKING, data.message))
    running = [each.name for each in found if each.state == "Running"]
    ended = sum(not each.is_live for each in found)
    said = f"{ended} of {ends.planned(view)} trials have ended"
    reason = view.refused.reason if view.refused else ""
    if running:
        said = "; ".join(filter(None, [said, f"{_names(running)} run", step.waiting]))
        return State(Phase.RUNNING, Verdict(True, reason or ConditionReason.SEARCHING, said))
    said = "; ".join(filter(None, [said, step.waiting or _of_trials(view)]))
    waits = Verdict(False, reason or ConditionReason.WAITING_FOR_TRIALS, said)
    return State(Phase.RUNNING, waits)


def ending(message: str) -> State:
    """Of a search that starts no more trials, and is not at its last word."""
    return State(Phase.RUNNING, Verdict(False, ConditionReason.ENDING, message))


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown


def _of_trials(view: SearchView) -> str:
    """What the first trial that waits says of itself."""
    for job in view.trial_jobs.values():
        found = objects.condition(job, ConditionType.RUNNING) or {}
        if not objects.is_finished(job) and found.get("message"):
            return f"{objects.name_of(job)}: {found['message']}"
    return ""
