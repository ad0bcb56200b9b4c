"""Following a Job that has not ended: suspend, resume, pods that run, wait or cannot start."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from dino_api.names import ConditionReason, ConditionType, FailureReason, Phase
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.job import kueue, pod_inputs, preflight, running
from dino_operator.plan.job.status import failed, hold, say
from dino_operator.plan.model import Condition, Delete, Object, Patch, Plan
from dino_operator.plan.observed import containers, failure, objects, pod_events, scheduling
from dino_operator.plan.observed.job_view import View
from dino_operator.plan.rendered import deadline
from dino_operator.plan.reported import conditions, sentences
from dino_operator.plan.reported.conditions import State

WAITING = "the Job exists; its pod waits for a node and an image"
"""One sentence for all that passes by itself: each change of words would cost a write."""
STARTING_FOR_LONG = 5
"""A pod that starts for this many times `pod_missing_after` may lack its ConfigMap."""


def plan(view: View, job: Object) -> Plan:
    """What to do about the attempt's unfinished Job."""
    mine = [pod for pod in view.live_pods if objects.controller_uid(pod) == objects.uid_of(job)]
    if objects.annotation(job, Annotation.STOPPED_FOR):
        why = objects.annotation(job, Annotation.STOPPED_FOR)
        said = objects.annotation(job, Annotation.STOPPED_MESSAGE)
        return say(view, job, conditions.waiting(why, said))
    held = _follow_suspensions(view, job, mine)
    if held is not None:
        return held
    patches = deadline.patches(view, job)
    if patches:
        return Plan(patches=patches, requeue_after=1)
    if not mine:
        return _without_pod(view, job)
    return _with_pods(view, job, objects.by_index(mine))


def first_words(view: View) -> State:
    """What is said of a Job that was just created, and as long as nothing is wrong."""
    if view.checks_data:
        return preflight.is_checked(view)
    if view.queue:
        return kueue.waiting(view)
    return conditions.waiting(ConditionReason.QUEUED, WAITING)


def _passes(view: View) -> State:
    """What is said while a pod that may run is awaited."""
    if view.checks_data:
        return preflight.is_checked(view)
    return conditions.waiting(ConditionReason.QUEUED, WAITING)


def _follow_suspensions(view: View, job: Object, mine: list[Object]) -> Plan | None:
    """Suspends or resumes the Job as the user wishes, or waits for someone else who suspended it;
    None where it may run and does."""
    if view.wants_suspend:
        return _hold(view, job, mine)
    if not objects.is_suspended(job):
        return None
    if not mine and deadline.is_used_up(view, job):
        return failed(view, failure.cause(FailureReason.DEADLINE_EXCEEDED, deadline.USED_UP))
    if not kueue.is_ours(view, job):
        return kueue.plan(view, job, mine)
    again = "the check of the data starts again" if view.checks_data else ""
    said = again or sentences.resumes(view.resource)
    told = say(view, job, conditions.waiting(ConditionReason.RESUMED, said))
    on = _patch(job, deadline.resumption(job))
    return replace(told, patches=(on,), requeue_after=view.settings.pod_missing_after)


def _hold(view: View, job: Object, mine: list[Object]) -> Plan:
    """The user suspends. A Job that others suspend or resume is deleted: it stays suspended so."""
    state, facts = hold(view, mine)
    if kueue.is_managed(view, job):
        told = say(view, job, state, **{**facts, **deadline.last_facts(view, job)})
        if "deletionTimestamp" in job["metadata"]:
            return told
        gone = Delete(objects.name_of(job), objects.uid_of(job))
        return replace(told, deletes=(gone,), requeue_after=1)
    told = say(view, job, state, **facts)
    if objects.is_suspended(job):
        return replace(told, patches=deadline.patches(view, job))
    return replace(told, patches=(_patch(job, deadline.suspension(view, job)),))


def _patch(job: Object, body: Object) -> Patch:
    return Patch(objects.name_of(job), objects.uid_of(job), body)


def _without_pod(view: View, job: Object) -> Plan:
    """The Job controller is about to create a pod or to end the Job, or it cannot."""
    since = _without_pod_since(view, job)
    wait, soon = view.settings.pod_missing_after, view.settings.events_after
    missing = (view.now - since).total_seconds()
    forbidden = _forbidden(view, job, since)
    if forbidden is not None:
        return forbidden
    asks = _asks(view, job, missing >= soon)
    if missing >= wait:
        said = f"no pod is created; kubectl describe job {objects.name_of(job)} says why"
        told = say(view, job, conditions.waiting(ConditionReason.QUEUED, said))
        return replace(pod_inputs.renewed(view, job, told, missing), asks=asks)
    again = (soon if missing < soon else wait) - missing
    if objects.pods_of(job, view.children.pods) or _was_resumed(view):
        return Plan(requeue_after=again, asks=asks)  # what the status says is still true
    return replace(say(view, job, _passes(view)), requeue_after=again, asks=asks)


def _asks(view: View, thing: Object, late: bool) -> tuple[str, ...]:
    """Whose events would tell more, of a thing that is late; they are read once for a plan."""
    uid = objects.uid_of(thing)
    return (uid,) if late and uid not in view.children.events else ()


def _events(view: View, thing: Object) -> tuple[Object, ...]:
    return view.children.events.get(objects.uid_of(thing), ())


def _forbidden(view: View, job: Object, since: datetime) -> Plan | None:
    """Where the events of the Job say that no pod is created: their words, and ever more seldom
    what a pod needs, which someone may have deleted."""
    found = pod_events.refusal(job, _events(view, job), since)
    if found is None:
        return None
    told = say(view, job, conditions.waiting(*found))
    missing = (view.now - since).total_seconds()
    if missing >= view.settings.pod_missing_after:
        return pod_inputs.renewed(view, job, told, missing)
    return replace(told, requeue_after=max(missing, view.settings.events_after))


def _was_resumed(view: View) -> bool:
    said = Condition.of(view.resource, ConditionType.RUNNING)
    return said is not None and said.reason == ConditionReason.RESUMED


def _without_pod_since(view: View, job: Object) -> datetime:
    """When the Job was created, started or resumed, or its last pod ended."""
    if objects.is_true(job, "Suspended"):
        return view.now  # it was resumed or admitted, and the Job controller has not looked yet
    resumed = Condition.of(job, "Suspended")
    times = [job["metadata"]["creationTimestamp"], job.get("status", {}).get("startTime")]
    times.append(resumed and resumed.since)
    for pod in objects.pods_of(job, view.children.pods):
        ended = objects.container_state(pod, "terminated") or {}
        times += [pod["metadata"]["creationTimestamp"], ended.get("finishedAt")]
    return max(objects.parse_time(str(each)) for each in times if each)


def _with_pods(view: View, job: Object, pods: list[Object]) -> Plan:
    """What is said of the newest live pod, or of several: they run once all do."""
    late = [pod for pod in pods if not objects.is_running(pod)]
    if any("deletionTimestamp" in pod["metadata"] for pod in late):
        return _leaving(view, job, pods[0])
    kept = next((pod for pod in pods if containers.outlives(pod)), None)
    if kept is not None:
        return _kept(view, job, kept)
    if not late:
        return _all_run(view, job, pods)
    stuck = (pod for pod in late if containers.cannot_start(pod) or objects.unschedulable(pod))
    return _with_pod(view, job, next(stuck, late[0]))


def _all_run(view: View, job: Object, pods: list[Object]) -> Plan:
    """All pods that there are run; of several some may have ended, or may not be created."""
    if len(pods) == view.nodes:
        return running.plan(view, job, pods)
    ended = [each for each in objects.pods_of(job, view.children.pods) if each not in pods]
    if any(objects.index_of(each) not in map(objects.index_of, pods) for each in ended):
        return Plan()  # they end, one after the other: what the status says is still true
    since = objects.parse_time(max(objects.born(pod)[0] for pod in pods))
    forbidden = _forbidden(view, job, since)
    if forbidden is not None:
        return forbidden
    missing, soon = (view.now - since).total_seconds(), view.settings.events_after
    told = say(view, job, _passes(view))
    again = soon - missing if missing < soon else max(missing, soon)
    return replace(told, requeue_after=again, asks=_asks(view, job, missing >= soon))


def _with_pod(view: View, job: Object, pod: Object) -> Plan:
    """A pod that does not run: it cannot start, finds no node, or only takes its time."""
    problem = containers.cannot_start(pod)
    if problem is not None:
        return _cannot_start(view, job, pod, *problem)
    if objects.unschedulable(pod):
        return _unschedulable(view, job, pod)
    return _starting(view, job, pod)


def _starting(view: View, job: Object, pod: Object) -> Plan:
    """The scheduler finds a node; the kubelet fetches images, mounts volumes, runs init
    containers."""
    waited = (view.now - objects.waiting_since(pod)).total_seconds()
    patience = STARTING_FOR_LONG * view.settings.pod_missing_after
    if not objects.is_true(pod, "PodScheduled"):
        if waited < patience:
            return replace(say(view, job, _passes(view)), requeue_after=patience - waited)
        said = scheduling.overlooked(pod)
        told = say(view, job, conditions.waiting(ConditionReason.PODS_UNSCHEDULABLE, said))
        return replace(told, requeue_after=min(waited, pod_inputs.LONGEST_WAIT))
    soon = 2 * view.settings.events_after
    told = say(view, job, _awaiting(view, pod, waited >= patience))
    asks = _asks(view, pod, waited >= soon)
    if waited >= patience:
        return replace(pod_inputs.renewed(view, job, told, waited), asks=asks)
    again = soon - waited if waited < soon else min(waited, patience - waited)
    return replace(told, requeue_after=max(1.0, again), asks=asks)


def _awaiting(view: View, pod: Object, long: bool) -> State:
    """What a pod that starts waits for, as far as it is known."""
    problem = pod_events.hindrance(pod, _events(view, pod))
    if problem:
        return conditions.waiting(ConditionReason.POD_NOT_STARTED, problem)
    first = containers.awaited(pod) if long else ""
    if first:
        said = f"pod {objects.name_of(pod)} waits for the end of its {first}"
        return conditions.waiting(ConditionReason.POD_NOT_STARTED, said)
    return _passes(view)


def _kept(view: View, job: Object, pod: Object) -> Plan:
    """The trainer has ended and its pod has not. It is not deleted: the Job would count it as
    failed, whatever the trainer reached."""
    names, since = containers.outlives(pod) or ("", view.now)
    waited = (view.now - since).total_seconds()
    if waited < view.settings.sidecar_after:
        return Plan(requeue_after=view.settings.sidecar_after - waited)
    said = containers.keeps(pod, names)
    return say(view, job, conditions.waiting(ConditionReason.SIDECAR_RUNS, said, Phase.RUNNING))


def _leaving(view: View, job: Object, pod: Object) -> Plan:
    """A pod goes, and where there are several all stop with it. The first one may still report."""
    name = objects.name_of(pod)
    if view.checks_data:
        return say(view, job, preflight.is_checked(view))
    state = conditions.waiting(ConditionReason.QUEUED, sentences.leaves(view.resource, name))
    return say(view, job, state, reporter=name)


def _unschedulable(view: View, job: Object, pod: Object) -> Plan:
    """Told once it lasts: most pods that find no node at first find one within seconds."""
    waited = (view.now - objects.unplaced_since(pod)).total_seconds()
    if waited < view.settings.unschedulable_after:
        told = say(view, job, _passes(view))
        return replace(told, requeue_after=view.settings.unschedulable_after - waited)
    said = scheduling.sentence(pod, 0 if view.checks_data else view.gpus)
    return say(view, job, conditions.waiting(ConditionReason.PODS_UNSCHEDULABLE, said))


def _cannot_start(view: View, job: Object, pod: Object, kind: str, said: str) -> Plan:
    """An image or a container that does not come: shown at once, given up for images in the end."""
    if kind not in containers.PULL_PROBLEMS:
        state = conditions.waiting(ConditionReason.POD_NOT_STARTED, pod_events.about(pod, said))
        return say(view, job, state)
    said = f"pod {objects.name_of(pod)}: {said}"
    told = say(view, job, conditions.waiting(FailureReason.IMAGE_PULL_FAILED, said))
    give_up = objects.waiting_since(pod) + timedelta(seconds=view.settings.image_pull_timeout)
    if view.now < give_up:
        return replace(told, requeue_after=(give_up - view.now).total_seconds())
    return replace(told, patches=(_stop(job, FailureReason.IMAGE_PULL_FAILED, said),))


def _stop(job: Object, reason: FailureReason, said: str) -> Patch:
    """Ends an attempt and notes why, in one write: the Job controller ends it for its deadline,
    and whoever looks at it later, also after a crash, reads the reason on it."""
    notes = {Annotation.STOPPED_FOR.value: reason.value, Annotation.STOPPED_MESSAGE.value: said}
    return _patch(job, {"metadata": {"annotations": notes}, "spec": {"activeDeadlineSeconds": 1}})
