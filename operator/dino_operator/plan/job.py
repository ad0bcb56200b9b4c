"""What to do about a DinoJob: the decision as early returns, worst first.

Attempt n is the Job `<name>-<action>-<n>`. Which attempt it is, what failed before and how much of
the deadline is left are read from the Jobs themselves; nothing in the operator's memory counts.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from dino_api.names import ConditionReason, EventReason, FailureReason, Phase
from dino_api.result import Result
from dino_operator.plan import attempts, failure, names, observe, pods, specfile, status
from dino_operator.plan.attempts import write
from dino_operator.plan.model import Children, Delete, Event, Object, Patch, Plan, Settings
from dino_operator.plan.status import State
from dino_operator.plan.view import View

NOTHING = Plan()


def plan(resource: Object, children: Children, now: datetime, settings: Settings) -> Plan:
    """What to do now about this DinoJob. Empty where the cluster agrees with it.

    resource: the DinoJob as stored. children: what carries its job label. now: aware, UTC.
    """
    view = View(resource, children, now, settings)
    if "deletionTimestamp" in resource["metadata"]:
        return NOTHING  # the garbage collector removes the children
    if status.is_over(resource):
        return _after_the_end(view)
    if view.surplus:
        return Plan(deletes=tuple(_delete(job) for job in view.surplus), requeue_after=1)
    if view.succeeded is not None:
        return _completed(view, view.succeeded)
    if view.current is None:
        return _begin(view, _missing_attempt(view))
    if observe.is_finished(view.current):
        return _attempt_failed(view, view.current)
    return attempts.follow(view, view.current)


def _delete(job: Object) -> Delete:
    return Delete(observe.name_of(job), observe.uid_of(job))


def _after_the_end(view: View) -> Plan:
    """Nothing is run again, whatever is edited or deleted. Finished Jobs get their time to live.

    Only now: were the Job deleted before its end is written here, it would be run once more.
    """
    patches = []
    ttl = view.policy.get("ttlSecondsAfterFinished")
    for job in view.own_jobs:
        if ttl is not None and job["spec"].get("ttlSecondsAfterFinished") != ttl:
            body = {"spec": {"ttlSecondsAfterFinished": ttl}}
            patches.append(Patch(observe.name_of(job), observe.uid_of(job), body))
    deletes = [job for job in view.own_jobs if not observe.is_finished(job)]
    generation = view.resource["metadata"].get("generation", 0)
    seen = {**view.resource["status"], "observedGeneration": generation}
    seen = {key: value for key, value in seen.items() if key not in status.NOT_OURS}
    return Plan(
        patches=tuple(patches),
        deletes=tuple(_delete(job) for job in deletes),
        status=status.changed(view.resource, seen),
    )


def _missing_attempt(view: View) -> pods.Attempt:
    """The attempt that status speaks of and that has no Job, or the first one.

    Someone deleted the Job. It is made again under its number: the trainer resumes, or publishes
    what it had finished.
    """
    number = max(1, view.attempts)
    retries = view.retries_before(number)
    return pods.Attempt(number, retries, view.seconds_spent(number), view.seconds_left(number))


def _begin(view: View, attempt: pods.Attempt, last: failure.Cause | None = None) -> Plan:
    """Creates the Job of an attempt, unless something forbids it."""
    facts = _facts_of_wait(view, last)
    if view.wants_suspend:
        return write(view, status.suspended(), facts=facts)
    if attempt.seconds_left is not None and attempt.seconds_left <= 0:
        said = "earlier attempts used up spec.runPolicy.activeDeadlineSeconds"
        return _failed(view, failure.cause(FailureReason.DEADLINE_EXCEEDED, said))
    obstacle = _obstacle(view, attempt)
    if obstacle is not None:
        return write(view, obstacle, facts=facts, requeue_after=view.settings.recheck)
    try:
        resolved = specfile.read_spec(view.resource)
    except specfile.InvalidSpec as error:
        return _failed(view, failure.cause(FailureReason.INVALID_SPEC, str(error)))
    return _create(view, attempt, resolved, last)


def _create(
    view: View, attempt: pods.Attempt, resolved: specfile.Resolved, last: failure.Cause | None
) -> Plan:
    job = pods.job(view.resource, resolved, attempt, view.settings)
    children = attempts.inputs(view, resolved)
    state = status.waiting(ConditionReason.QUEUED, attempts.WAITING)
    told = write(
        view,
        state,
        facts={
            **_facts_of_wait(view, last),
            "attempts": attempt.number,
            "specDigest": resolved.digest,
            "image": view.settings.trainer_image,
        },
        requeue_after=view.settings.pod_missing_after,
    )
    events = _failure_events(view, last) + told.events
    return replace(told, creates=(*children, job), events=events)


def _facts_of_wait(view: View, last: failure.Cause | None) -> Object:
    """Facts of a job without a running pod; a failure that was retried stays until the end."""
    kept = view.resource.get("status", {}).get("failure")
    return {"reporter": None, "failure": last.to_status() if last else kept}


def _obstacle(view: View, attempt: pods.Attempt) -> State | None:
    """What must go before a Job may be created: exactly one GPU Job exists at any time."""
    action = view.resource["spec"].get("action", "")
    wanted = names.job_name(view.name, str(action), attempt.number)
    for other in view.children.strangers:
        said = (
            f"Job {observe.name_of(other)} belongs to someone else; delete or rename it, "
            "or create the DinoJob under another name"
        )
        return status.waiting(FailureReason.CHILD_NAME_CONFLICT, said, Phase.PENDING)
    for other in view.other_jobs:
        if observe.name_of(other) == wanted or not observe.is_finished(other):
            said = (
                f"Job {observe.name_of(other)} of an earlier DinoJob of this name still exists; "
                "it is waited for (kubectl delete job removes one that was orphaned)"
            )
            return status.waiting(ConditionReason.WAITING_FOR_CHILD, said, Phase.PENDING)
    if view.live_pods:
        name = observe.name_of(view.live_pods[0])
        said = f"pod {name} of an earlier Job has not ended yet; it is waited for"
        return status.waiting(ConditionReason.WAITING_FOR_CHILD, said, Phase.PENDING)
    return None


def _attempt_failed(view: View, job: Object) -> Plan:
    """The end, or another attempt after a while, by the failure catalogue."""
    cause = failure.of_job(job, observe.pods_of(job, view.children.pods))
    number = observe.attempt_of(job)
    used = view.retries_before(number)
    if cause.rule.retry == "never":
        return _failed(view, cause, observe.finished_at(job))
    if cause.rule.retry == "counted":
        used += 1
    if used > view.max_retries:
        return _retries_used_up(view, cause, number, observe.finished_at(job))
    left = view.policy.get("activeDeadlineSeconds")
    spent = view.seconds_spent(number + 1)
    attempt = pods.Attempt(number + 1, used, spent, None if left is None else int(left) - spent)
    if view.wants_suspend:
        return _begin(view, attempt, cause)
    ready = _ready_at(view, job, number)
    if view.now < ready:
        return _back_off(view, cause, number, ready)
    return _begin(view, attempt, cause)


def _ready_at(view: View, job: Object, number: int) -> datetime:
    """The time of the next attempt: later after each failure, so that a broken store recovers."""
    wait = view.settings.retry_backoff * 2 ** min(number - 1, 16)
    wait = min(wait, view.settings.retry_backoff_max)
    return observe.parse_time(observe.finished_at(job)) + timedelta(seconds=wait)


def _back_off(view: View, cause: failure.Cause, number: int, ready: datetime) -> Plan:
    said = f"attempt {number} failed ({cause.rule.reason}: {cause.message}); attempt {number + 1} "
    state = status.waiting(
        ConditionReason.RETRYING, f"{said}starts at {observe.format_time(ready)}"
    )
    told = write(
        view,
        state,
        facts={**_facts_of_wait(view, cause), "attempts": number},
        requeue_after=(ready - view.now).total_seconds(),
    )
    return replace(told, events=_failure_events(view, cause) + told.events)


def _failure_events(view: View, cause: failure.Cause | None) -> tuple[Event, ...]:
    """One event for a failed attempt that is retried, when it is first written down."""
    if cause is None or view.current is None:
        return ()
    number = view.attempts
    running = observe.condition(view.resource, "Running") or {}
    told = view.resource.get("status", {}).get("attempts") == number
    if told and running.get("reason") == ConditionReason.RETRYING:
        return ()
    said = f"attempt {number} failed: {cause.rule.reason}: {cause.message}"
    return (Event(EventReason.RETRYING, said, f"attempt-{number}", warning=True),)


def _retries_used_up(view: View, cause: failure.Cause, number: int, ended: str) -> Plan:
    if view.max_retries == 0:
        return _failed(view, cause, ended)
    said = f"attempt {number} was the last of runPolicy.maxRetries={view.max_retries}; it failed "
    said += f"with {cause.rule.reason}: {cause.message}"
    state = status.failed(FailureReason.BACKOFF_LIMIT_EXCEEDED, said)
    return _end(view, state, ended, failure=cause.to_status())


def _failed(view: View, cause: failure.Cause, ended: str = "") -> Plan:
    state = status.failed(cause.rule.reason, cause.message)
    return _end(view, state, ended, failure=cause.to_status())


def _completed(view: View, job: Object) -> Plan:
    """The end, as the trainer told it in its termination message."""
    told = _result_of(job, view)
    where = f"{view.resource['spec']['output']['uri'].rstrip('/')}/{_action(view)}"
    if told is None:
        said = f"the trainer left no message; its result is in {where}/result.json"
        return _end(view, status.complete(said), observe.finished_at(job), failure=None)
    score = told.metrics.mAP50 if told.metrics else None
    said = f"results are in {where}"
    if score is not None:
        said = f"mAP50 {score:.4f}; {said}"
    if told.metrics:
        told = told.model_copy(update={"metrics": told.metrics.rounded()})
    facts = told.to_dict()
    return _end(
        view,
        status.complete(said),
        observe.finished_at(job),
        failure=None,
        **{key: facts.get(key) for key in ("metrics", "checkpoint", "artifacts", "dataset")},
    )


def _action(view: View) -> str:
    return str(view.resource["spec"]["action"])


def _result_of(job: Object, view: View) -> Result | None:
    for pod in reversed(observe.pods_of(job, view.children.pods)):
        ended = observe.container_state(pod, "terminated")
        if ended is not None and ended.get("exitCode") == 0:
            return Result.from_termination_message(str(ended.get("message", "")))
    return None


def _end(view: View, state: State, ended: str, **facts: object) -> Plan:
    facts = {
        "attempts": view.attempts or None,
        "completionTime": ended or observe.format_time(view.now),
        "reporter": None,
        **facts,
    }
    return write(view, state, facts=facts)
