"""Following a Job that has not ended: suspend, resume, pods that run, wait or cannot start."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from dino_api.names import ConditionReason, ConditionType, EventReason, FailureReason, Phase
from dino_operator.plan import observe, pods, specfile, status
from dino_operator.plan.model import Event, Object, Patch, Plan
from dino_operator.plan.names import Annotation
from dino_operator.plan.status import State
from dino_operator.plan.view import View

WAITING = "the Job exists; its pod waits for a node and an image"
"""One sentence for all that passes by itself: each change of words would cost a write."""
LONGEST_WAIT = 3600.0
STARTING_FOR_LONG = 5
"""A pod that starts for this many times `pod_missing_after` may lack its ConfigMap."""


def follow(view: View, job: Object) -> Plan:
    """What to do about the attempt's unfinished Job."""
    mine = [pod for pod in view.live_pods if observe.controller_uid(pod) == observe.uid_of(job)]
    if observe.annotation(job, Annotation.STOPPED_FOR):
        why = observe.annotation(job, Annotation.STOPPED_FOR)
        said = observe.annotation(job, Annotation.STOPPED_MESSAGE)
        return _say(view, job, status.waiting(why, said))
    if view.wants_suspend != observe.is_suspended(job):
        return _switch(view, job, mine)
    if view.wants_suspend:
        return _hold(view, job, mine)
    deadline = _deadline(view, job)
    if deadline:
        return Plan(patches=deadline, requeue_after=1)
    if not mine:
        return _without_pod(view, job)
    return _with_pod(view, job, mine[-1])


def _switch(view: View, job: Object, mine: list[Object]) -> Plan:
    """Suspends or resumes the Job; its template is never touched."""
    patches = (_patch(job, {"spec": {"suspend": view.wants_suspend}}),)
    if view.wants_suspend:
        return replace(_hold(view, job, mine), patches=patches)
    state = status.waiting(ConditionReason.RESUMED, "the attempt goes on from its checkpoint")
    wait = view.settings.pod_missing_after
    return replace(_say(view, job, state), patches=patches, requeue_after=wait)


def _hold(view: View, job: Object, mine: list[Object]) -> Plan:
    """A suspended Job: over once its last pod has ended, which may still report until then."""
    if not mine:
        return _say(view, job, status.suspended())
    name = observe.name_of(mine[-1])
    state = status.suspending(f"pod {name} saves a checkpoint and stops")
    return _say(view, job, state, reporter=name)


def _deadline(view: View, job: Object) -> tuple[Patch, ...]:
    """An edited deadline, carried over to the running attempt."""
    left = view.seconds_left(observe.attempt_of(job))
    wanted = None if left is None else max(1, left)
    if wanted == job["spec"].get("activeDeadlineSeconds"):
        return ()
    return (_patch(job, {"spec": {"activeDeadlineSeconds": wanted}}),)


def _patch(job: Object, body: Object) -> Patch:
    return Patch(observe.name_of(job), observe.uid_of(job), body)


def _without_pod(view: View, job: Object) -> Plan:
    """The Job controller is about to create a pod or to end the Job, or it cannot."""
    since = _without_pod_since(view, job)
    wait = view.settings.pod_missing_after
    missing = (view.now - since).total_seconds()
    if missing >= wait:
        said = f"no pod is created; kubectl describe job {observe.name_of(job)} says why"
        told = _say(view, job, status.waiting(ConditionReason.QUEUED, said))
        return _renew(view, told, missing)
    if observe.pods_of(job, view.children.pods) or _was_resumed(view):
        return Plan(requeue_after=wait - missing)  # what the status says is still true
    told = _say(view, job, status.waiting(ConditionReason.QUEUED, WAITING))
    return replace(told, requeue_after=wait - missing)


def _was_resumed(view: View) -> bool:
    running = observe.condition(view.resource, ConditionType.RUNNING) or {}
    return running.get("reason") == ConditionReason.RESUMED


def _without_pod_since(view: View, job: Object) -> datetime:
    """When the Job was created or started, or its last pod ended."""
    times = [job["metadata"]["creationTimestamp"], job.get("status", {}).get("startTime")]
    for pod in observe.pods_of(job, view.children.pods):
        ended = observe.container_state(pod, "terminated") or {}
        times += [pod["metadata"]["creationTimestamp"], ended.get("finishedAt")]
    return max(observe.parse_time(str(each)) for each in times if each)


def _renew(view: View, told: Plan, waited: float) -> Plan:
    """Makes again what a pod needs and someone may have deleted; ever more seldom."""
    requeue = min(max(waited, view.settings.pod_missing_after), LONGEST_WAIT)
    try:
        resolved = specfile.read_spec(view.resource)
    except specfile.InvalidSpec:  # read by another version of the operator, which made the Job
        return replace(told, requeue_after=requeue)
    needed = (*pods.shared(view.resource), pods.config_map(view.resource, resolved))
    return replace(told, creates=needed, requeue_after=requeue)


def inputs(view: View, resolved: specfile.Resolved) -> tuple[Object, ...]:
    """What a pod needs and may be missing: the shared account, its right, the resolved spec."""
    needed = [*pods.shared(view.resource), pods.config_map(view.resource, resolved)]
    known = view.children.known
    return tuple(each for each in needed if (each["kind"], observe.name_of(each)) not in known)


def _with_pod(view: View, job: Object, pod: Object) -> Plan:
    """The newest live pod decides what is said."""
    if observe.is_running(pod):
        return _running(view, job, pod)
    if "deletionTimestamp" in pod["metadata"]:
        name = observe.name_of(pod)
        said = f"pod {name} was asked to go; it saves a checkpoint and another follows"
        return _say(view, job, status.waiting(ConditionReason.QUEUED, said), reporter=name)
    problem = observe.cannot_start(pod)
    if problem is not None:
        return _cannot_start(view, job, pod, *problem)
    missing = observe.missing_for_scheduling(pod)
    if missing:
        return _unschedulable(view, job, pod, missing)
    told = _say(view, job, status.waiting(ConditionReason.QUEUED, WAITING))
    waited = (view.now - observe.waiting_since(pod)).total_seconds()
    patience = STARTING_FOR_LONG * view.settings.pod_missing_after
    if observe.is_true(pod, "PodScheduled") and waited >= patience:
        return _renew(view, told, waited)
    return replace(told, requeue_after=max(1.0, patience - waited))


def _unschedulable(view: View, job: Object, pod: Object, missing: str) -> Plan:
    """Told once it lasts: most pods that find no node at first find one within seconds."""
    waited = (view.now - observe.unplaced_since(pod)).total_seconds()
    if waited < view.settings.unschedulable_after:
        told = _say(view, job, status.waiting(ConditionReason.QUEUED, WAITING))
        return replace(told, requeue_after=view.settings.unschedulable_after - waited)
    said = f"no node has what the pod needs: {missing}"
    return _say(view, job, status.waiting(ConditionReason.PODS_UNSCHEDULABLE, said))


def _running(view: View, job: Object, pod: Object) -> Plan:
    name = observe.name_of(pod)
    started = view.resource.get("status", {}).get("startTime") or observe.started_at(pod)
    facts = {"reporter": name, "startTime": started or observe.format_time(view.now)}
    warnings = observe.annotation(job, Annotation.WARNINGS)
    return _say(view, job, status.running(name, warnings), **facts)


def _cannot_start(view: View, job: Object, pod: Object, kind: str, said: str) -> Plan:
    """An image or a container that does not come: shown at once, given up for images in the end."""
    pulling = kind in observe.PULL_PROBLEMS
    reason: str = FailureReason.IMAGE_PULL_FAILED if pulling else ConditionReason.QUEUED
    said = f"pod {observe.name_of(pod)}: {said}"
    told = _say(view, job, status.waiting(reason, said))
    if not pulling:
        return told
    give_up = observe.waiting_since(pod) + timedelta(seconds=view.settings.image_pull_timeout)
    if view.now < give_up:
        return replace(told, requeue_after=(give_up - view.now).total_seconds())
    return replace(told, patches=(_stop(job, FailureReason.IMAGE_PULL_FAILED, said),))


def _stop(job: Object, reason: FailureReason, said: str) -> Patch:
    """Ends an attempt and notes why, in one write: the Job controller ends it for its deadline,
    and whoever looks at it later, also after a crash, reads the reason on it."""
    notes = {Annotation.STOPPED_FOR.value: reason.value, Annotation.STOPPED_MESSAGE.value: said}
    return _patch(job, {"metadata": {"annotations": notes}, "spec": {"activeDeadlineSeconds": 1}})


def _say(view: View, job: Object, state: State, **facts: object) -> Plan:
    """The status of a Job that has not ended."""
    told = {
        "attempts": observe.attempt_of(job),
        "specDigest": observe.annotation(job, Annotation.DIGEST) or None,
        "image": observe.annotation(job, Annotation.IMAGE) or None,
        "reporter": None,
        **facts,
    }
    return write(view, state, facts=told)


def write(view: View, state: State, *, facts: Object, requeue_after: float | None = None) -> Plan:
    """A plan that only writes the status, with the events of what changes by it."""
    desired = status.render(view.resource, state, view.now, **facts)
    return Plan(
        status=status.changed(view.resource, desired),
        events=_transitions(view, state, facts),
        requeue_after=requeue_after,
    )


def _transitions(view: View, state: State, facts: Object) -> tuple[Event, ...]:
    """An event for each end, and for suspending and resuming: when it is first written."""
    generation = str(view.resource["metadata"].get("generation", 0))
    held = observe.is_true(view.resource, ConditionType.SUSPENDED)
    events = []
    if state.phase is Phase.COMPLETE:
        events.append(Event(EventReason.COMPLETED, state.complete.message, "end"))
    if state.phase is Phase.FAILED:
        remedy = (facts.get("failure") or {}).get("remedy", "")
        said = f"{state.failed.reason}: {state.failed.message} {remedy}".strip()
        events.append(Event(EventReason.FAILED, said, "end", warning=True))
    if state.suspended.is_true and not held:
        events.append(Event(EventReason.SUSPENDED, state.suspended.message, generation))
    if held and state.suspended.reason == ConditionReason.NOT_SUSPENDED:
        events.append(Event(EventReason.RESUMED, "the job goes on", generation))
    return tuple(events)
