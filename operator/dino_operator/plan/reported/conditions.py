"""The status the operator writes: conditions, phase, and facts carried over or replaced."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dino_api.names import ConditionReason as Reason
from dino_api.names import ConditionType as Type
from dino_api.names import Phase
from dino_api.resources.dinojob import Resources
from dino_operator.plan.model import Object
from dino_operator.plan.observed.objects import condition, format_time, is_true

PROGRESS = "progress"
LONGEST_MESSAGE = 4096


@dataclass(frozen=True)
class Verdict:
    """One condition: whether, why, and a sentence."""

    is_true: bool
    reason: str
    message: str = ""


@dataclass(frozen=True)
class State:
    """What the operator says of a job in one word and in its conditions."""

    phase: Phase
    running: Verdict
    data: Verdict | None = Verdict(False, Reason.CHECKING)
    suspended: Verdict = Verdict(False, Reason.NOT_SUSPENDED)
    complete: Verdict = Verdict(False, Reason.NOT_FINISHED)
    failed: Verdict = Verdict(False, Reason.NOT_FINISHED)
    routed: Verdict | None = None
    parent: Verdict | None = None

    def verdicts(self) -> Iterator[tuple[Type, Verdict]]:
        """In the order in which people read them; some only where they are asked."""
        yield Type.SUSPENDED, self.suspended
        if self.routed is not None:
            yield Type.AUTOML_ROUTED, self.routed
        if self.parent is not None:
            yield Type.PARENT_READY, self.parent
        if self.data is not None:
            yield Type.DATA_READY, self.data
        yield from (
            (Type.RUNNING, self.running),
            (Type.COMPLETE, self.complete),
            (Type.FAILED, self.failed),
        )


def not_ours(resource: Object) -> frozenset[str]:
    """What the pod writes, under its own field manager; never in what we apply.

    A job that is searched for has no pod: its progress is the search's, and ours to write. So is
    that of a job that is complete: it is written with the end, and from then on applied again.
    """
    searched = "automl" in resource.get("status", {})
    ours = searched or is_true(resource, Type.COMPLETE)
    return frozenset() if ours else frozenset({PROGRESS})


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


def stopping(message: str) -> State:
    """Asked to end for good; a pod is still there and may still train."""
    return State(Phase.RUNNING, Verdict(False, Reason.STOPPING, message))


def suspended(message: str) -> State:
    """Held, with no pod left."""
    verdict = Verdict(True, Reason.SUSPENDED, message)
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
        running=Verdict(False, reason),
        complete=Verdict(False, Reason.ENDED_WITHOUT_SUCCESS),
        failed=Verdict(True, reason, message),
    )


def render(resource: Object, state: State, now: datetime, **facts: Any) -> Object:
    """The whole status that the operator owns.

    Facts given replace those in the status; a fact given as None is removed; others stay.
    """
    old = resource.get("status", {})
    new = {key: value for key, value in old.items() if key not in not_ours(resource)}
    new["observedGeneration"] = resource["metadata"].get("generation", 0)
    new["phase"] = state.phase.value
    # For the printer column: the spec has no default written into it.
    wished = resource["spec"].get("resources", {})
    new["gpus"] = wished.get("gpus", Resources().gpus) * wished.get("nodes", 1)
    new["conditions"] = conditions(resource, state.verdicts(), now)
    for name, value in facts.items():
        new.pop(name, None)
        if value is not None:
            new[name] = value
    return new


def conditions(
    resource: Object, verdicts: Iterable[tuple[Type, Verdict]], now: datetime
) -> list[Object]:
    """All of them; the time of each changes only when its truth does."""
    found = []
    for kind, verdict in verdicts:
        told = "True" if verdict.is_true else "False"
        before = condition(resource, kind.value) or {}
        same = before.get("status") == told
        found.append(
            {
                "type": kind.value,
                "status": told,
                "reason": str(verdict.reason),
                "message": verdict.message[:LONGEST_MESSAGE],
                "observedGeneration": resource["metadata"].get("generation", 0),
                "lastTransitionTime": before["lastTransitionTime"] if same else format_time(now),
            }
        )
    return found


def seen_again(resource: Object) -> Object:
    """The status as it stands, said of the present generation, after the end.

    `kubectl wait --for=condition=Complete` believes no condition of an earlier generation.
    """
    old = {k: v for k, v in resource["status"].items() if k not in not_ours(resource)}
    generation = resource["metadata"].get("generation", 0)
    said = [{**each, "observedGeneration": generation} for each in old.get("conditions", [])]
    return {**old, "observedGeneration": generation, "conditions": said}


def changed(resource: Object, desired: Object) -> Object | None:
    """The desired status, or None where the resource has it already."""
    foreign = not_ours(resource)
    old = {k: v for k, v in resource.get("status", {}).items() if k not in foreign}
    return None if old == desired else desired


def is_over(resource: Object) -> bool:
    """Whether Complete or Failed was ever written. Nothing is run again after it."""
    found = (condition(resource, kind.value) for kind in (Type.COMPLETE, Type.FAILED))
    return any(each is not None and each.get("status") == "True" for each in found)


def kept(resource: Object, kind: Type) -> Verdict | None:
    """What was said of it before, or None."""
    found = condition(resource, kind)
    if found is None:
        return None
    return Verdict(found.get("status") == "True", found["reason"], found.get("message", ""))
