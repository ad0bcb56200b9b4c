"""Plans that say something: the status, and the events of what changes by it."""

from __future__ import annotations

from dataclasses import replace

from dino_api.names import ConditionReason, ConditionType, EventReason, FailureReason, Phase
from dino_operator.plan.job import lost_pods, out_of_memory, parent, preflight, routing
from dino_operator.plan.model import Event, Object, Plan
from dino_operator.plan.observed import objects
from dino_operator.plan.observed.failure import Cause
from dino_operator.plan.observed.job_view import View
from dino_operator.plan.rendered import deadline
from dino_operator.plan.rendered.names import Annotation
from dino_operator.plan.reported import conditions, refusals, sentences
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


def say(view: View, job: Object, state: State, **facts: object) -> Plan:
    """The status of a Job that has not ended."""
    told = {
        "specDigest": objects.annotation(job, Annotation.DIGEST) or None,
        "image": objects.annotation(job, Annotation.IMAGE) or None,
        "reporter": None,
        **deadline.facts(view, job),
        **of_attempt(view, objects.attempt_of(job), out_of_memory.of_job(job)),
        **facts,
    }
    return write(view, state, facts=told)


def of_attempt(view: View, number: int, tried: out_of_memory.MicroBatch | None) -> Object:
    """The facts of an attempt at the work; a preflight leaves the status without them."""
    if view.checks_data:
        return {}
    return {"attempts": number, **(tried.to_status() if tried else {})}


def write(view: View, state: State, *, facts: Object, requeue_after: float | None = None) -> Plan:
    """A plan that only writes the status, with the events of what changes by it.

    What a search says of the data of its trials stays as it is; a job of its own has checked them.
    """
    state = replace(state, routed=routing.verdict(view), parent=parent.verdict(view))
    state = lost_pods.told(view, state)
    told = dict(facts)
    if not view.is_searched:
        state, told = preflight.told(view, state), {**preflight.facts(view), **facts}
    desired = conditions.render(view.resource, state, view.now, **told)
    return Plan(
        status=conditions.changed(view.resource, desired),
        events=transitions(view.resource, state, facts),
        requeue_after=lost_pods.requeue(view, state, requeue_after),
    )


def failed(view: View, cause: Cause, ended: str = "", **facts: object) -> Plan:
    """The end, for this cause. ended: when, if not now."""
    state = conditions.failed(cause.rule.reason, cause.message)
    return end(view, state, ended, failure=cause.to_status(), **facts)


def end(view: View, state: State, ended: str, **facts: object) -> Plan:
    """The last word."""
    facts = {
        "attempts": None if view.checks_data else view.attempts or None,
        "completionTime": ended or objects.format_time(view.now),
        "reporter": None,
        **deadline.facts_without_job(view),
        **facts,
    }
    return write(view, state, facts=facts)


def hold(view: View, pods: list[Object]) -> tuple[State, Object]:
    """The state of a job that is held, and its reporter: it may speak until its pod has ended."""
    if not pods:
        return conditions.suspended(sentences.held(view.resource)), {"reporter": None}
    name = objects.name_of(objects.by_index(pods)[0])
    if view.checks_data:
        return conditions.suspending(f"pod {name} stops"), {"reporter": None}
    return conditions.suspending(sentences.stops(view.resource, name)), {"reporter": name}


def transitions(resource: Object, state: State, facts: Object) -> tuple[Event, ...]:
    """An event for each end, for suspending and resuming, and for what is refused: when it is
    first written."""
    generation = str(resource["metadata"].get("generation", 0))
    held = objects.is_true(resource, ConditionType.SUSPENDED)
    events = []
    if state.phase is Phase.COMPLETE:
        events.append(Event(EventReason.COMPLETED, state.complete.message, "end"))
    if state.phase is Phase.FAILED:
        remedy = (facts.get("failure") or {}).get("remedy", "")
        said = f"{state.failed.reason}: {state.failed.message} {remedy}".strip()
        events.append(Event(EventReason.FAILED, said, "end", warning=True))
    if state.running.reason in PROBLEMS:
        events += _problem(resource, state, facts)
    if state.suspended.is_true and not held:
        events.append(Event(EventReason.SUSPENDED, state.suspended.message, generation))
    stops = (resource["spec"].get("runPolicy") or {}).get("stop")
    goes_on = state.suspended.reason == ConditionReason.NOT_SUSPENDED and not stops
    if held and goes_on:
        events.append(Event(EventReason.RESUMED, "the job goes on", generation))
    events += refusals.events(resource, state.running)
    return tuple(events)


def _problem(resource: Object, state: State, facts: Object) -> tuple[Event, ...]:
    """Once for each cause and attempt: its words may change."""
    known = objects.condition(resource, ConditionType.RUNNING) or {}
    if known.get("reason") == state.running.reason:
        return ()
    said, attempt = state.running.message, facts.get("attempts", 0)
    key = f"{state.running.reason}-{attempt}"
    return (Event(EventReason.POD_PROBLEM, said, key, warning=True),)
