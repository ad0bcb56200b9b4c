"""A Job whose pods all run: the first one reports, and it is heard of or not."""

from __future__ import annotations

from dataclasses import replace

from dino_api import rfc3339
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.job import pod_inputs, preflight
from dino_operator.plan.job.status import say
from dino_operator.plan.model import Plan
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.job_view import JobView
from dino_operator.plan.observed.pod import Pod
from dino_operator.plan.rendered import micro_batch
from dino_operator.plan.reported import conditions, refusals, sentences


def plan(view: JobView, job: Job, pods: list[Pod]) -> Plan:
    """All pods run; the first one reports."""
    if view.checks_data:
        return say(view, job, preflight.is_checked(view))
    name = pods[0].name
    started = view.status.start_time or pods[0].started_at
    facts = {"reporter": name, "startTime": started or rfc3339.text(view.now)}
    runs = f"pod {name} runs" if len(pods) == 1 else f"{len(pods)} pods run, the first is {name}"
    tried = micro_batch.of_job(job)
    after = f"{tried}, as more did not fit in memory" if tried else ""
    warnings = job.note(Annotation.WARNINGS)
    silent, old = _silence(view, pods[0]), view.settings.progress_old_after
    if silent < old or not view.resource.trains:  # other actions may say little
        planned = say(view, job, conditions.running(runs, after, warnings), **facts)
        return replace(planned, requeue_after=old - silent if silent < old else None)
    # Somebody may have deleted its account, or its right to write.
    denied = refusals.denied(view.resource, view.children.refusal)
    message = denied.message if denied else sentences.silent(_last_heard(view, pods[0]), name)
    planned = say(view, job, conditions.running(runs, after, warnings, message), **facts)
    return planned if denied else pod_inputs.renewed(view, job, planned, silent)


def _last_heard(view: JobView, pod: Pod) -> str:
    """When the pod last wrote its progress, or else started."""
    times = (pod.started_at, view.status.progress.updated_at)
    return max(filter(None, times), key=rfc3339.parse, default=rfc3339.text(view.now))


def _silence(view: JobView, pod: Pod) -> float:
    """Seconds since then."""
    return (view.now - rfc3339.parse(_last_heard(view, pod))).total_seconds()
