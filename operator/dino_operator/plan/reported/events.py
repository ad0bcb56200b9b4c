"""Events of what changes by a status."""

from __future__ import annotations

from dino_api.names import ConditionReason, ConditionType, EventReason, FailureReason, Phase
from dino_operator.plan.model import Event, Object
from dino_operator.plan.observed.resource import Resource
from dino_operator.plan.reported import refusals
from dino_operator.plan.reported.conditions import State

PROBLEMS = frozenset(
    {
        ConditionReason.POD_NOT_STARTED,
        ConditionReason.SIDECAR_RUNS,
        ConditionReason.NODE_LOST,
        FailureReason.IMAGE_PULL_FAILED,
    }
)
"""Reasons why a pod does not start or end that do not pass by themselves."""


def transitions(resource: Resource, state: State, facts: Object) -> tuple[Event, ...]:
    """An event for each end, for suspending and resuming, and for what is refused: when it is
    first written."""
    generation = str(resource.generation)
    held = resource.is_true(ConditionType.SUSPENDED)
    events = []
    if state.phase is Phase.COMPLETE:
        events.append(Event(EventReason.COMPLETED, state.complete.message, "end"))
    if state.phase is Phase.FAILED:
        remedy = (facts.get("failure") or {}).get("remedy", "")
        message = f"{state.failed.reason}: {state.failed.message} {remedy}".strip()
        events.append(Event(EventReason.FAILED, message, "end", warning=True))
    if state.running.reason in PROBLEMS:
        events += _problem(resource, state, facts)
    if state.suspended.is_true and not held:
        events.append(Event(EventReason.SUSPENDED, state.suspended.message, generation))
    ends = state.phase in (Phase.COMPLETE, Phase.FAILED) or resource.run_policy.stop
    goes_on = state.suspended.reason == ConditionReason.NOT_SUSPENDED and not ends
    if held and goes_on:
        events.append(Event(EventReason.RESUMED, "the job goes on", generation))
    events += refusals.events(resource, state.running)
    return tuple(events)


def _problem(resource: Resource, state: State, facts: Object) -> tuple[Event, ...]:
    """One event for each cause and attempt: its words may change."""
    known = resource.condition(ConditionType.RUNNING)
    if known is not None and known.reason == state.running.reason:
        return ()
    message, attempt = state.running.message, facts.get("attempts", 0)
    key = f"{state.running.reason}-{attempt}"
    return (Event(EventReason.POD_PROBLEM, message, key, warning=True),)
