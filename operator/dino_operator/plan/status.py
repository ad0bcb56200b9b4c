"""The status the operator writes: conditions, phase, and facts carried over or replaced."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dino_api.names import ConditionReason as Reason
from dino_api.names import ConditionType as Type
from dino_api.names import Phase
from dino_api.resources import Resources
from dino_operator.plan.model import Object
from dino_operator.plan.observe import condition, format_time

NOT_OURS = frozenset({"progress"})
"""Written by the pod under its own field manager; never in what we apply."""
LONGEST_MESSAGE = 4096


@dataclass(frozen=True)
class Verdict:
    """One condition: whether, why, and a sentence."""

    is_true: bool
    reason: str
    message: str = ""


@dataclass(frozen=True)
class State:
    """What the operator says of a job in one word and in five conditions."""

    phase: Phase
    running: Verdict
    data: Verdict = Verdict(False, Reason.CHECKING)
    suspended: Verdict = Verdict(False, Reason.NOT_SUSPENDED)
    complete: Verdict = Verdict(False, Reason.NOT_FINISHED)
    failed: Verdict = Verdict(False, Reason.NOT_FINISHED)

    def verdicts(self) -> tuple[tuple[Type, Verdict], ...]:
        """In the order in which people read them."""
        return (
            (Type.SUSPENDED, self.suspended),
            (Type.DATA_READY, self.data),
            (Type.RUNNING, self.running),
            (Type.COMPLETE, self.complete),
            (Type.FAILED, self.failed),
        )


def waiting(reason: str, message: str, phase: Phase = Phase.QUEUED) -> State:
    """Not running, and not at its end."""
    return State(phase, Verdict(False, reason, message))


def running(*said: str) -> State:
    """The trainer's pods run, and what else is worth a look."""
    return State(Phase.RUNNING, Verdict(True, Reason.STARTED, "; ".join(filter(None, said))))


def suspending(message: str) -> State:
    """Asked to stop; a pod is still there and may still train."""
    verdict = Verdict(False, Reason.SUSPENDING, message)
    return State(Phase.RUNNING, Verdict(False, Reason.SUSPENDING, message), suspended=verdict)


def suspended() -> State:
    """Held, with no pod left."""
    said = "spec.runPolicy.suspend is true; set it to false to go on from the last checkpoint"
    verdict = Verdict(True, Reason.SUSPENDED, said)
    return State(Phase.SUSPENDED, Verdict(False, Reason.SUSPENDED), suspended=verdict)


def complete(message: str) -> State:
    """The end, with success."""
    return State(
        Phase.COMPLETE,
        running=Verdict(False, Reason.FINISHED),
        complete=Verdict(True, Reason.COMPLETED, message),
        failed=Verdict(False, Reason.COMPLETED),
    )


def failed(reason: str, message: str) -> State:
    """The end, without success."""
    return State(
        Phase.FAILED,
        running=Verdict(False, Reason.FINISHED),
        complete=Verdict(False, Reason.ENDED_WITHOUT_SUCCESS),
        failed=Verdict(True, reason, message),
    )


def render(resource: Object, state: State, now: datetime, **facts: Any) -> Object:
    """The whole status that the operator owns.

    Facts given replace those in the status; a fact given as None is removed; others stay.
    """
    old = resource.get("status", {})
    new = {key: value for key, value in old.items() if key not in NOT_OURS}
    new["observedGeneration"] = resource["metadata"].get("generation", 0)
    new["phase"] = state.phase.value
    # For the printer column: the spec has no default written into it.
    wished = resource["spec"].get("resources", {})
    new["gpus"] = wished.get("gpus", Resources().gpus) * wished.get("nodes", 1)
    new["conditions"] = _conditions(resource, state, now)
    for name, value in facts.items():
        new.pop(name, None)
        if value is not None:
            new[name] = value
    return new


def _conditions(resource: Object, state: State, now: datetime) -> list[Object]:
    """All five; the time of each changes only when its truth does."""
    conditions = []
    for kind, verdict in state.verdicts():
        told = "True" if verdict.is_true else "False"
        before = condition(resource, kind.value) or {}
        same = before.get("status") == told
        conditions.append(
            {
                "type": kind.value,
                "status": told,
                "reason": str(verdict.reason),
                "message": verdict.message[:LONGEST_MESSAGE],
                "observedGeneration": resource["metadata"].get("generation", 0),
                "lastTransitionTime": before["lastTransitionTime"] if same else format_time(now),
            }
        )
    return conditions


def changed(resource: Object, desired: Object) -> Object | None:
    """The desired status, or None where the resource has it already."""
    old = {k: v for k, v in resource.get("status", {}).items() if k not in NOT_OURS}
    return None if old == desired else desired


def is_over(resource: Object) -> bool:
    """Whether Complete or Failed was ever written. Nothing is run again after it."""
    found = (condition(resource, kind.value) for kind in (Type.COMPLETE, Type.FAILED))
    return any(each is not None and each.get("status") == "True" for each in found)
