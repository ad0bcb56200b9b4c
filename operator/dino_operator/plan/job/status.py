"""Plans that say something: the status, and the events of what changes by it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from dino_api import rfc3339
from dino_api.names import EventReason
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.job import lost_pods, parent, preflight, routing
from dino_operator.plan.model import Event, Object, Plan
from dino_operator.plan.observed import active_time, gpu_time
from dino_operator.plan.observed.failure import Cause
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.job_view import JobView
from dino_operator.plan.observed.pod import Pod, by_index
from dino_operator.plan.rendered import deadline, micro_batch
from dino_operator.plan.reported import conditions, sentences
from dino_operator.plan.reported.conditions import State
from dino_operator.plan.reported.events import transitions


def say(view: JobView, job: Job, state: State, **facts: object) -> Plan:
    """The status of a Job that has not ended."""
    fields = {
        "specDigest": job.note(Annotation.DIGEST) or None,
        "image": job.note(Annotation.IMAGE) or None,
        "reporter": None,
        **deadline.facts(view, job),
        **of_attempt(view, job.attempt, micro_batch.of_job(job)),
        **facts,
    }
    planned = write(view, state, facts=fields)
    return replace(planned, events=(*_untold_doubts(view, job), *planned.events))


def doubts(warnings: str) -> tuple[Event, ...]:
    """An event of what is odd about the spec; none where nothing is."""
    if not warnings:
        return ()
    return (Event(EventReason.SPEC_DOUBTFUL, warnings, "spec", warning=True),)


def _untold_doubts(view: JobView, job: Job) -> tuple[Event, ...]:
    """Of the first Job, where the status does not know it: its maker ended before it said so."""
    known = "specDigest" in view.status.raw
    return () if known else doubts(job.note(Annotation.WARNINGS))


def of_attempt(view: JobView, number: int, tried: micro_batch.MicroBatch | None) -> Object:
    """The facts of an attempt at the work; a preflight leaves the status without them."""
    if view.checks_data:
        return {}
    return {"attempts": number, **(tried.to_status() if tried else {})}


def write(
    view: JobView, state: State, *, facts: Object, requeue_after: float | None = None
) -> Plan:
    """A plan that only writes the status, with the events of what changes by it.

    What a search says of the data of its trials stays as it is; a job of its own has checked them.
    """
    state = replace(state, routed=routing.condition(view), parent=parent.condition(view))
    state = lost_pods.noticed(view, state)
    fields = dict(facts)
    if not view.is_searched:
        state, fields = preflight.with_data(view, state), {**preflight.facts(view), **facts}
        fields |= _gpu_seconds(view, state)
    desired = conditions.render(view.resource, state, view.now, **fields)
    return Plan(
        status=conditions.changed(view.resource, desired),
        events=transitions(view.resource, state, facts),
        requeue_after=lost_pods.requeue(view, state, requeue_after),
    )


def _gpu_seconds(view: JobView, state: State) -> Object:
    """What a run has cost, with the first word that says that it has ended."""
    if state.running.is_true:
        return {}
    spent = gpu_time.at_end_of_run(view.status, _ends(view), view.now)
    return {} if spent is None else {"gpuSeconds": spent}


def _ends(view: JobView) -> list[datetime]:
    """When Jobs of this stage ended, or were held: an operator that was away looks late."""
    finished = [rfc3339.parse(job.finished_at) for job in view.stage_jobs if job.finished_at]
    held = active_time.suspended_at(view.current) if view.current else None
    return [*finished, *([held] if held else [])]


def failed(view: JobView, cause: Cause, ended: str = "", **facts: object) -> Plan:
    """The end, for this cause. ended: when, if not now."""
    state = conditions.failed(cause.rule.reason, cause.message)
    return end(view, state, ended, failure=cause.to_status(), **facts)


def end(view: JobView, state: State, ended: str, **facts: object) -> Plan:
    """The last word."""
    facts = {
        "attempts": None if view.checks_data else view.attempts or None,
        "completionTime": ended or rfc3339.text(view.now),
        "reporter": None,
        **deadline.facts_without_job(view),
        **facts,
    }
    return write(view, state, facts=facts)


def hold(view: JobView, pods: list[Pod]) -> tuple[State, Object]:
    """The state of a job that is held, and its reporter: it may speak until its pod has ended."""
    if not pods:
        return conditions.suspended(sentences.held(view.resource)), {"reporter": None}
    name = by_index(pods)[0].name
    if view.checks_data:
        return conditions.suspending(f"pod {name} stops"), {"reporter": None}
    return conditions.suspending(sentences.stops(view.resource, name)), {"reporter": name}
