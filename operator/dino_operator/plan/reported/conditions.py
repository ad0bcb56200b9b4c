"""The status the operator writes: conditions, phase, and facts carried over or replaced."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dino_api import rfc3339
from dino_api.names import ConditionReason as Reason
from dino_api.names import ConditionType as Type
from dino_api.names import Phase
from dino_operator.plan.model import Condition, Object
from dino_operator.plan.observed.resource import DinoJob, Resource

PROGRESS = "progress"
LONGEST_MESSAGE = 4096


@dataclass(frozen=True)
class State:
    """What the operator says of a job in one word and in its conditions."""

    phase: Phase
    running: Condition
    data: Condition | None = Condition(False, Reason.CHECKING)
    suspended: Condition = Condition(False, Reason.NOT_SUSPENDED)
    complete: Condition = Condition(False, Reason.NOT_FINISHED)
    failed: Condition = Condition(False, Reason.NOT_FINISHED)
    routed: Condition | None = None
    parent: Condition | None = None

    def conditions(self) -> Iterator[tuple[Type, Condition]]:
        """All conditions in the order in which people read them; some only where they are asked."""
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


def not_ours(resource: Resource) -> frozenset[str]:
    """What the pod writes, under its own field manager; never in what we apply.

    A job that is searched for has no pod: its progress is the search's, and ours to write. So is
    that of a job that is complete: it is written with the end, and from then on applied again.
    """
    searched = "automl" in resource.status
    theirs = not searched and not resource.is_true(Type.COMPLETE)
    return frozenset({PROGRESS}) if theirs else frozenset()


def ours(resource: Resource) -> Object:
    """The status without what the pod writes."""
    foreign = not_ours(resource)
    return {key: each for key, each in resource.status.raw.items() if key not in foreign}


def waiting(reason: str, message: str, phase: Phase = Phase.QUEUED) -> State:
    """The state of a job that does not run, and is not at its end."""
    return State(phase, Condition(False, reason, message))


def running(*messages: str) -> State:
    """The trainer's pods run, and what else is worth a look."""
    return State(Phase.RUNNING, Condition(True, Reason.STARTED, "; ".join(filter(None, messages))))


def suspending(message: str) -> State:
    """Asked to stop; a pod is still there and may still train."""
    going = Condition(False, Reason.SUSPENDING, message)
    return State(Phase.RUNNING, going, suspended=going)


def stopping(message: str) -> State:
    """Asked to end for good; a pod is still there and may still train."""
    return State(Phase.RUNNING, Condition(False, Reason.STOPPING, message))


def suspended(message: str) -> State:
    """Held, with no pod left."""
    held = Condition(True, Reason.SUSPENDED, message)
    return State(Phase.SUSPENDED, Condition(False, Reason.SUSPENDED), suspended=held)


def complete(message: str) -> State:
    """The end, with success."""
    return State(
        Phase.COMPLETE,
        running=Condition(False, Reason.FINISHED),
        complete=Condition(True, Reason.COMPLETED, message),
        failed=Condition(False, Reason.COMPLETED),
    )


def failed(reason: str, message: str) -> State:
    """The end, without success."""
    return State(
        Phase.FAILED,
        running=Condition(False, reason),
        complete=Condition(False, Reason.ENDED_WITHOUT_SUCCESS),
        failed=Condition(True, reason, message),
    )


def render(resource: DinoJob, state: State, now: datetime, **facts: Any) -> Object:
    """The whole status that the operator owns.

    Facts given replace those in the status; a fact given as None is removed; others stay.
    """
    new = ours(resource)
    new["observedGeneration"] = resource.generation
    new["phase"] = state.phase.value
    # For the printer column: the spec has no default written into it.
    new["gpus"] = resource.gpus * resource.nodes
    new["conditions"] = conditions(resource, state.conditions(), now)
    for name, value in facts.items():
        new.pop(name, None)
        if value is not None:
            new[name] = value
    return new


def conditions(
    resource: Resource, made: Iterable[tuple[Type, Condition]], now: datetime
) -> list[Object]:
    """All of them; the time of each changes only when its truth does."""
    rendered, generation = [], resource.generation
    for kind, each in made:
        before = resource.condition(kind.value)
        same = before is not None and before.is_true == each.is_true
        rendered.append(
            {
                "type": kind.value,
                "status": "True" if each.is_true else "False",
                "reason": str(each.reason),
                "message": each.message[:LONGEST_MESSAGE],
                "observedGeneration": generation,
                "lastTransitionTime": before.since if before and same else rfc3339.text(now),
            }
        )
    return rendered


def seen_again(resource: Resource) -> Object:
    """The status as it stands, said of the present generation, after the end.

    `kubectl wait --for=condition=Complete` believes no condition of an earlier generation.
    """
    generation = resource.generation
    conditions = [{**each, "observedGeneration": generation} for each in resource.status.conditions]
    return {**ours(resource), "observedGeneration": generation, "conditions": conditions}


def changed(resource: Resource, desired: Object) -> Object | None:
    """The desired status, or None where the resource has it already."""
    return None if ours(resource) == desired else desired
