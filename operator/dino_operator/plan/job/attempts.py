"""Following a Job that has not ended: suspend, resume, pods that run, wait or cannot start."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from dino_api import rfc3339
from dino_api.names import ConditionReason, ConditionType, FailureReason, Phase
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.job import kueue, pod_inputs, preflight, running
from dino_operator.plan.job.status import failed, hold, say
from dino_operator.plan.model import Delete, Object, Patch, Plan
from dino_operator.plan.observed import containers, failure, pod_events, scheduling
from dino_operator.plan.observed.event import SeenEvent
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.job_view import JobView
from dino_operator.plan.observed.pod import Pod, by_index
from dino_operator.plan.rendered import deadline
from dino_operator.plan.reported import conditions, sentences
from dino_operator.plan.reported.conditions import State

WAITING = "the Job exists; its pod waits for a node and a container image"
"""One sentence for all that passes by itself: each change of words would cost a write."""
STARTING_FOR_LONG = 5
"""A pod that starts for this many times `pod_missing_after` may lack its ConfigMap."""


def plan(view: JobView, job: Job) -> Plan:
    """What to do about the attempt's unfinished Job."""
    mine = [pod for pod in view.live_pods if pod.controller_uid == job.uid]
    if job.note(Annotation.STOPPED_FOR):
        why = job.note(Annotation.STOPPED_FOR)
        message = job.note(Annotation.STOPPED_MESSAGE)
        return say(view, job, conditions.waiting(why, message))
    held = _follow_suspensions(view, job, mine)
    if held is not None:
        return held
    patches = deadline.patches(view, job)
    set_by_others = view.deadline is None and job.deadline is not None
    if patches and not set_by_others:
        return Plan(patches=patches, requeue_after=1)
    planned = _with_pods(view, job, by_index(mine)) if mine else _without_pod(view, job)
    # A policy of the cluster may set it anew, each time that it is taken away.
    return replace(planned, patches=(*patches, *planned.patches))


def first_words(view: JobView) -> State:
    """What is said of a Job that was just created, and as long as nothing is wrong."""
    if view.checks_data:
        return preflight.is_checked(view)
    if view.queue:
        return kueue.waiting(view)
    return conditions.waiting(ConditionReason.QUEUED, WAITING)


def _passes(view: JobView) -> State:
    """What is said while a pod that may run is awaited."""
    if view.checks_data:
        return preflight.is_checked(view)
    return conditions.waiting(ConditionReason.QUEUED, WAITING)


def _follow_suspensions(view: JobView, job: Job, mine: list[Pod]) -> Plan | None:
    """Suspends or resumes the Job as the user wishes, or waits for someone else who suspended it;
    None where it may run and does."""
    if view.wants_suspend:
        return _hold(view, job, mine)
    if not job.is_suspended:
        return None
    if not mine and deadline.is_used_up(view, job):
        return failed(view, failure.cause(FailureReason.DEADLINE_EXCEEDED, deadline.USED_UP))
    if not kueue.is_ours(view, job):
        return kueue.plan(view, job, mine)
    again = "the check of the data starts again" if view.checks_data else ""
    message = again or sentences.resumes(view.resource)
    planned = say(view, job, conditions.waiting(ConditionReason.RESUMED, message))
    on = _patch(job, deadline.resumption(job))
    return replace(planned, patches=(on,), requeue_after=view.settings.pod_missing_after)


def _hold(view: JobView, job: Job, mine: list[Pod]) -> Plan:
    """The user suspends. A Job that others suspend or resume is deleted: it stays suspended so."""
    state, facts = hold(view, mine)
    if kueue.is_managed(view, job):
        planned = say(view, job, state, **{**facts, **deadline.last_facts(view, job)})
        if job.is_being_deleted:
            return planned
        gone = Delete(job.name, job.uid)
        return replace(planned, deletes=(gone,), requeue_after=1)
    planned = say(view, job, state, **facts)
    if job.is_suspended:
        return replace(planned, patches=deadline.patches(view, job))
    return replace(planned, patches=(_patch(job, deadline.suspension(view, job)),))


def _patch(job: Job, body: Object) -> Patch:
    return Patch(job.name, job.uid, body)


def _without_pod(view: JobView, job: Job) -> Plan:
    """The Job controller is about to create a pod or to end the Job, or it cannot."""
    since = job.without_pod_since(view.children.pods, view.now)
    wait, soon = view.settings.pod_missing_after, view.settings.events_after
    missing = (view.now - since).total_seconds()
    forbidden = _forbidden(view, job, since)
    if forbidden is not None:
        return forbidden
    asks = _asks(view, job, missing >= soon)
    if missing >= wait:
        message = f"no pod is created; kubectl describe job {job.name} says why"
        planned = say(view, job, conditions.waiting(ConditionReason.QUEUED, message))
        return replace(pod_inputs.renewed(view, job, planned, missing), asks=asks)
    again = (soon if missing < soon else wait) - missing
    if job.own(view.children.pods) or _was_resumed(view):
        return Plan(requeue_after=again, asks=asks)  # what the status says is still true
    return replace(say(view, job, _passes(view)), requeue_after=again, asks=asks)


def _asks(view: JobView, thing: Job | Pod, late: bool) -> tuple[str, ...]:
    """Whose events would tell more, of a thing that is late; they are read once for a plan."""
    uid = thing.uid
    return (uid,) if late and uid not in view.children.events else ()


def _events(view: JobView, thing: Job | Pod) -> tuple[SeenEvent, ...]:
    return view.children.events.get(thing.uid, ())


def _forbidden(view: JobView, job: Job, since: datetime) -> Plan | None:
    """The plan where the events of the Job say that no pod is created: their words, and ever
    more seldom what a pod needs, which someone may have deleted."""
    refused = pod_events.refusal(job, _events(view, job), since)
    if refused is None:
        return None
    planned = say(view, job, conditions.waiting(*refused))
    missing = (view.now - since).total_seconds()
    if missing >= view.settings.pod_missing_after:
        return pod_inputs.renewed(view, job, planned, missing)
    return replace(planned, requeue_after=max(missing, view.settings.events_after))


def _was_resumed(view: JobView) -> bool:
    condition = view.resource.condition(ConditionType.RUNNING)
    return condition is not None and condition.reason == ConditionReason.RESUMED


def _with_pods(view: JobView, job: Job, pods: list[Pod]) -> Plan:
    """What is said of the newest live pod, or of several: they run once all do."""
    late = [pod for pod in pods if not pod.is_running]
    going = next((pod for pod in late if pod.is_being_deleted), None)
    if going is not None:
        return _leaving(view, job, pods, going)
    kept = next((pod for pod in pods if containers.outlives(pod)), None)
    if kept is not None:
        return _kept(view, job, kept)
    if not late:
        return _all_run(view, job, pods)
    stuck = (pod for pod in late if containers.cannot_start(pod) or pod.unschedulable)
    return _with_pod(view, job, next(stuck, late[0]))


def _all_run(view: JobView, job: Job, pods: list[Pod]) -> Plan:
    """All pods that there are run; of several some may have ended, or may not be created."""
    if len(pods) == view.nodes:
        return running.plan(view, job, pods)
    ended = [each for each in job.own(view.children.pods) if each not in pods]
    if any(each.index not in {pod.index for pod in pods} for each in ended):
        return Plan()  # they end, one after the other: what the status says is still true
    since = rfc3339.parse(max(pod.created_at for pod in pods))
    forbidden = _forbidden(view, job, since)
    if forbidden is not None:
        return forbidden
    missing, soon = (view.now - since).total_seconds(), view.settings.events_after
    planned = say(view, job, _passes(view))
    again = soon - missing if missing < soon else max(missing, soon)
    return replace(planned, requeue_after=again, asks=_asks(view, job, missing >= soon))


def _with_pod(view: JobView, job: Job, pod: Pod) -> Plan:
    """A pod that does not run: it cannot start, finds no node, or only takes its time."""
    problem = containers.cannot_start(pod)
    if problem is not None:
        return _cannot_start(view, job, pod, *problem)
    if pod.unschedulable:
        return _unschedulable(view, job, pod)
    return _starting(view, job, pod)


def _starting(view: JobView, job: Job, pod: Pod) -> Plan:
    """The scheduler finds a node; the kubelet fetches images, mounts volumes, runs init
    containers."""
    waited = (view.now - pod.waiting_since).total_seconds()
    patience = STARTING_FOR_LONG * view.settings.pod_missing_after
    if not pod.is_true("PodScheduled"):
        if waited < patience:
            return replace(say(view, job, _passes(view)), requeue_after=patience - waited)
        message = scheduling.overlooked(pod)
        planned = say(view, job, conditions.waiting(ConditionReason.PODS_UNSCHEDULABLE, message))
        return replace(planned, requeue_after=min(waited, pod_inputs.LONGEST_WAIT))
    soon = 2 * view.settings.events_after
    planned = say(view, job, _awaiting(view, pod, waited >= patience))
    asks = _asks(view, pod, waited >= soon)
    if waited >= patience:
        return replace(pod_inputs.renewed(view, job, planned, waited), asks=asks)
    again = soon - waited if waited < soon else min(waited, patience - waited)
    return replace(planned, requeue_after=max(1.0, again), asks=asks)


def _awaiting(view: JobView, pod: Pod, long: bool) -> State:
    """What a pod that starts waits for, as far as it is known."""
    problem = pod_events.hindrance(pod, _events(view, pod))
    if problem:
        return conditions.waiting(ConditionReason.POD_NOT_STARTED, problem)
    first = containers.awaited(pod) if long else ""
    if first:
        message = f"pod {pod.name} waits for the end of its {first}"
        return conditions.waiting(ConditionReason.POD_NOT_STARTED, message)
    return _passes(view)


def _kept(view: JobView, job: Job, pod: Pod) -> Plan:
    """The trainer has ended and its pod has not. It is not deleted: the Job would count it as
    failed, whatever the trainer reached."""
    names, since = containers.outlives(pod) or ("", view.now)
    waited = (view.now - since).total_seconds()
    if waited < view.settings.sidecar_after:
        return Plan(requeue_after=view.settings.sidecar_after - waited)
    message = containers.keeps(pod, names)
    return say(view, job, conditions.waiting(ConditionReason.SIDECAR_RUNS, message, Phase.RUNNING))


def _leaving(view: JobView, job: Job, pods: list[Pod], going: Pod) -> Plan:
    """A pod goes, and where there are several all stop with it. The first one may still report."""
    if view.checks_data:
        return say(view, job, preflight.is_checked(view))
    message = sentences.leaves(view.resource, going.name, several=view.nodes > 1)
    state = conditions.waiting(ConditionReason.QUEUED, message)
    return say(view, job, state, reporter=pods[0].name)


def _unschedulable(view: JobView, job: Job, pod: Pod) -> Plan:
    """A wait that is told once it lasts: most pods find a node within seconds."""
    waited = (view.now - pod.unplaced_since).total_seconds()
    if waited < view.settings.unschedulable_after:
        planned = say(view, job, _passes(view))
        return replace(planned, requeue_after=view.settings.unschedulable_after - waited)
    message = scheduling.sentence(pod, 0 if view.checks_data else view.gpus)
    return say(view, job, conditions.waiting(ConditionReason.PODS_UNSCHEDULABLE, message))


def _cannot_start(view: JobView, job: Job, pod: Pod, kind: str, message: str) -> Plan:
    """An image or a container that does not come: shown at once, given up for images in the end."""
    if kind not in containers.PULL_PROBLEMS:
        state = conditions.waiting(ConditionReason.POD_NOT_STARTED, pod_events.about(pod, message))
        return say(view, job, state)
    message = f"pod {pod.name}: {message}"
    planned = say(view, job, conditions.waiting(FailureReason.IMAGE_PULL_FAILED, message))
    give_up = pod.waiting_since + timedelta(seconds=view.settings.image_pull_timeout)
    if view.now < give_up:
        return replace(planned, requeue_after=(give_up - view.now).total_seconds())
    return replace(
        planned, patches=(deadline.stopping(job, FailureReason.IMAGE_PULL_FAILED, message),)
    )
