"""What pods need besides their Job: made before it, and again where someone may have deleted it."""

from __future__ import annotations

from dataclasses import replace

from dino_operator.plan.job.status import say
from dino_operator.plan.model import Object, Plan
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.job_view import JobView
from dino_operator.plan.rendered import children, spec_file
from dino_operator.plan.reported import conditions, refusals

LONGEST_WAIT = 3600.0


def lacking(view: JobView, resolved: spec_file.ResolvedSpec) -> tuple[Object, ...]:
    """What a pod needs and may be missing: account and right, resolved spec, host names."""
    return view.children.lacking(children.inputs(view.resource, resolved, view.checks_data))


def renewed(view: JobView, job: Job, plan: Plan, waited: float) -> Plan:
    """Makes again what a pod needs and someone may have deleted; ever more seldom."""
    requeue = min(max(waited, view.settings.pod_missing_after), LONGEST_WAIT)
    denied = refusals.denied(view.resource, view.children.refusal)
    if denied is not None:
        return say(view, job, conditions.waiting(denied.reason, denied.message))
    try:
        resolved = spec_file.read_spec(view.resource)
    except spec_file.InvalidSpec:  # read by another version of the operator, which made the Job
        return replace(plan, requeue_after=requeue)
    needed = children.inputs(view.resource, resolved, view.checks_data)
    return replace(plan, creates=tuple(needed), requeue_after=requeue)
