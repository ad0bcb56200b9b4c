"""A Job that someone else than the operator suspended: Kueue, another queue manager, or a person.

Whoever suspends a Job resumes it. The operator marks what it suspends itself, and resumes only
that; the rest it watches, and says why it waits. Kueue may take any Job, also one without a queue:
where a LocalQueue is named `default`, or manageJobsWithoutQueueName is set. So the queue is read
from the Job, not from the DinoJob.

The user's own suspend deletes such a Job, which gives its quota back; resuming makes it again under
its number, and it waits for its turn. Setting the Job's `suspend` would be undone.
"""

from __future__ import annotations

from dataclasses import replace

from dino_api.names import KUEUE_QUEUE_LABEL, ConditionReason, ConditionType
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.job.status import say
from dino_operator.plan.model import Patch, Plan
from dino_operator.plan.observed import queue_labels, workload
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.job_view import JobView
from dino_operator.plan.observed.pod import Pod, by_index
from dino_operator.plan.rendered import deadline
from dino_operator.plan.reported import conditions, sentences
from dino_operator.plan.reported.conditions import State


def is_ours(view: JobView, job: Job) -> bool:
    """Whether the operator itself suspended this Job.

    An operator before the mark left its word in the status alone: there the Job is older than the
    DinoJob's Suspended condition, and in no queue.
    """
    if job.note(Annotation.HELD):
        return True
    held = view.resource.condition(ConditionType.SUSPENDED)
    if held is None or job.queue or not job.is_suspended:
        return False
    if held.is_true:
        return str(job.created_at) <= held.since
    return held.reason == ConditionReason.SUSPENDING


def is_managed(view: JobView, job: Job) -> bool:
    """Whether setting `suspend` of the Job would be undone: it is in a queue, someone else
    suspended it, or someone resumed what the operator had suspended."""
    if job.queue:
        return True
    if job.is_suspended:
        return not is_ours(view, job)
    return bool(job.note(Annotation.HELD))


def plan(view: JobView, job: Job, pods: list[Pod]) -> Plan:
    """What is said of a Job that someone else suspended, and done about its queue."""
    state = held_by(view, job)
    name = ""
    if pods:
        name = by_index(pods)[0].name
        message = f"{state.running.message.rstrip('.')}; {sentences.saves(view.resource, name)}"
        state = conditions.waiting(state.running.reason, message)
    planned = say(view, job, state, reporter=name or None)
    patches = (*into_queue(view, job), *deadline.patches(view, job))
    return replace(planned, patches=patches, requeue_after=view.settings.recheck)


def waiting(view: JobView) -> State:
    """A Job that was just created for a queue."""
    message = f"the Job waits in queue {view.queue} until Kueue admits it"
    return conditions.waiting(ConditionReason.WAITING_FOR_QUEUE, message)


def into_queue(view: JobView, job: Job) -> tuple[Patch, ...]:
    """A Job that was made without a queue, and that Kueue wants one of: that of the DinoJob."""
    wanted = queue_labels.wanted(view.resource)
    if job.queue or not wanted or view.children.workload is None:
        return ()
    body = {"metadata": {"labels": {KUEUE_QUEUE_LABEL: wanted}}}
    return (Patch(job.name, job.uid, body),)


def held_by(view: JobView, job: Job) -> State:
    """Who holds the Job back, and why, as far as Kueue may be asked."""
    of_job, access = view.children.workload, view.children.kueue
    queue = job.queue
    if of_job is not None:
        why = workload.hold(of_job, queue or of_job.queue)
        return conditions.waiting(why.reason, why.message)
    if not queue:
        return _held_by_someone(job, access == "forbidden")
    message = f"the Job waits in queue {queue} until Kueue admits it"
    if access == "missing":
        message = f"the Job waits in queue {queue}, and Kueue is not installed: nothing starts it. "
        message += "Remedy: install Kueue, or create a new job without a queue."
        return conditions.waiting(ConditionReason.QUEUE_UNAVAILABLE, message)
    if access == "forbidden":
        message += f"; {workload.command_for(job)} says why it waits "
        message += "(Helm value kueue.enabled shows it here)"
    return conditions.waiting(ConditionReason.WAITING_FOR_QUEUE, message)


def _held_by_someone(job: Job, may_be_kueue: bool) -> State:
    name = job.name
    message = (
        f"someone else than the operator suspended Job {name}, which waits until it is resumed"
    )
    if may_be_kueue:
        message += f"; {workload.command_for(job)} says whether Kueue did"
    message += f". {sentences.resume_by_hand(name)}"
    return conditions.waiting(ConditionReason.SUSPENDED_BY_OTHER, message)
