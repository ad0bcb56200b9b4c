"""Ending a job for good while it runs: its pod saves a checkpoint and goes, then it has Failed.

A search ends trials so that can win no more; what they had reached stays in their status.
"""

from __future__ import annotations

from dataclasses import replace

from dino_api.names import ConditionType, FailureReason
from dino_operator.plan.job import kueue
from dino_operator.plan.job.status import failed, say, write
from dino_operator.plan.model import Delete, Object, Patch, Plan
from dino_operator.plan.observed import failure, results
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.job_view import JobView
from dino_operator.plan.observed.pod import by_index
from dino_operator.plan.rendered import deadline
from dino_operator.plan.reported import conditions, sentences

STOP_MESSAGE = "spec.runPolicy.stop ended the job"


def plan(view: JobView) -> Plan:
    """What is left to do until the last word. Never a Job."""
    job = view.current
    if job is not None and job.is_finished:
        job = None
    going = _hold(view, job) if job is not None else Plan()
    facts = _reached(view, job)
    news = {key: value for key, value in facts.items() if view.status.raw.get(key) != value}
    if view.own_live_pods or not going.is_empty or news:
        return _stopping(view, job, going, facts)
    return failed(view, failure.cause(FailureReason.STOPPED, _sentence(view)), **facts)


def _hold(view: JobView, job: Job) -> Plan:
    """Has the pods of an unfinished Job go. One that others resume is deleted: one in a queue gives
    its place back so."""
    name, uid = job.name, job.uid
    if job.is_suspended and not job.queue:
        return Plan()
    if kueue.is_managed(view, job):
        gone = job.is_being_deleted
        return Plan() if gone else Plan(deletes=(Delete(name, uid),))
    return Plan(patches=(Patch(name, uid, deadline.suspension(view, job)),))


def _stopping(view: JobView, job: Job | None, going: Plan, facts: Object) -> Plan:
    """The pod may still speak; what it said is written down before it is gone."""
    pods = by_index(view.own_live_pods)
    works = bool(pods) and not view.checks_data
    name = pods[0].name if pods else ""
    message = sentences.stops(view.resource, name, for_good=True) if works else "the job stops"
    facts = {"reporter": name if works else None, **facts}
    state = conditions.stopping(message)
    planned = say(view, job, state, **facts) if job else write(view, state, facts=facts)
    soon = planned.requeue_after if pods and going.is_empty else 1
    return replace(planned, patches=going.patches, deletes=going.deletes, requeue_after=soon)


def _reached(view: JobView, job: Job | None) -> Object:
    """What the training had reached; nothing of a job that had not begun to train."""
    if view.checks_data or not view.attempts or not view.resource.trains:
        return {}
    last = job or view.current
    result = results.of_job(last, view.children.pods) if last else None
    return results.of_stopped(result, view.status, view.folder)


def _sentence(view: JobView) -> str:
    ready = not view.reads_data or view.resource.is_true(ConditionType.DATA_READY)
    if not ready or not view.attempts:
        begun = "it trained" if view.resource.trains else "its work began"
        return f"{STOP_MESSAGE} before {begun}"
    epoch = view.status.progress.epoch
    return STOP_MESSAGE if epoch is None else f"{STOP_MESSAGE} after epoch {epoch}"
