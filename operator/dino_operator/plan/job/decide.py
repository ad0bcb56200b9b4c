"""What to do about a DinoJob: the decision as early returns, worst first.

A job has two stages: a preflight that checks the data, where there is any, then attempts at the
work. Attempt n is the Job `<name>-<stage>-<n>`. Which attempt it is, what failed before and what is
left of the deadline are read from the Jobs themselves; nothing in the operator's memory counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from dino_api import rfc3339
from dino_api.memory import REASONS
from dino_api.names import KIND, ConditionReason, ConditionType, EventReason, FailureReason, Phase
from dino_operator.plan.job import (
    attempts,
    awaits_parent,
    out_of_memory,
    parent,
    pod_inputs,
    searched,
    stop,
    success,
)
from dino_operator.plan.job.status import doubts, end, failed, hold, of_attempt, write
from dino_operator.plan.model import (
    Delete,
    Event,
    Object,
    Patch,
    Plan,
    Settings,
)
from dino_operator.plan.observed import dropped_keys, failure, results
from dino_operator.plan.observed.children import Children
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.job_view import JobView
from dino_operator.plan.observed.resource import DinoJob
from dino_operator.plan.rendered import (
    children,
    deadline,
    limit_ranges,
    micro_batch,
    names,
    pods,
    spec_file,
)
from dino_operator.plan.rendered.pods import Attempt
from dino_operator.plan.reported import conditions, refusals, sentences
from dino_operator.plan.reported.conditions import State

NOTHING = Plan()


def plan(resource: Object, children: Children, now: datetime, settings: Settings) -> Plan:
    """What to do now about this DinoJob. Empty where the cluster agrees with it.

    resource: the DinoJob as stored. children: what carries its job label. now: aware, UTC.
    """
    view = JobView(DinoJob(dropped_keys.with_nulls(resource, KIND)), children, now, settings)
    try:
        return _plan(view)
    except spec_file.InvalidSpec as error:
        return failed(view, failure.cause(FailureReason.INVALID_SPEC, str(error)))


def _plan(view: JobView) -> Plan:
    if view.resource.is_being_deleted:
        return NOTHING  # the garbage collector removes the children
    if view.resource.is_finished:
        return _after_the_end(view)
    invalid = refusals.end(view.children.refusal)
    works = view.current is not None and not view.current.is_finished
    if invalid is not None and view.succeeded is None and not works:
        return failed(view, invalid)
    if refusals.is_of_a_change(view.children.refusal):
        return _unchanged(view)
    if view.surplus:
        return Plan(deletes=_deletions(view.surplus), requeue_after=1)
    return _go_on(view)


def _go_on(view: JobView) -> Plan:
    """What to do about a job that has not ended. Raises InvalidSpec."""
    if lost := dropped_keys.refusal(view):
        return failed(view, lost)
    if view.succeeded is not None:
        return success.completed(view, view.succeeded)
    if view.is_searched and not view.own_jobs:
        return searched.plan(view)
    if view.wants_stop and not (view.current and view.current.is_finished):
        return stop.plan(view)
    if parent.is_awaited(view):
        return awaits_parent.plan(view)
    if view.current is None:
        return _begin(view, _missing_attempt(view))
    if view.current.is_finished:
        return _attempt_failed(view, view.current)
    return attempts.plan(view, view.current)


def _unchanged(view: JobView) -> Plan:
    """What was not changed goes on as it does; so does what is copied from a search."""
    refusal = view.children.refusal
    assert refusal is not None
    held = JobView(view.resource, replace(view.children, refusal=None), view.now, view.settings)
    copied = refusal.verb == "patch" and view.is_searched and not view.own_jobs
    planned = refusals.unchanged(view.resource, _go_on(held) if copied else NOTHING, refusal)
    judged = refusals.judge(refusal)
    state = conditions.waiting(judged.reason, judged.message, Phase.PENDING)
    return planned or write(view, state, facts={})


def _deletions(jobs: Iterable[Job]) -> tuple[Delete, ...]:
    """None of what is being deleted: a finalizer of somebody else may hold it for long."""
    return tuple(Delete(job.name, job.uid) for job in jobs if not job.is_being_deleted)


def _after_the_end(view: JobView) -> Plan:
    """Nothing is run again, whatever is edited or deleted. Finished Jobs get their time to live.

    Only now: were the Job deleted before its end is written here, it would be run once more.
    """
    patches = []
    ttl = view.policy.ttl_seconds_after_finished
    ours = [*view.own_jobs, *view.readers]
    for job in ours:
        if ttl is not None and job.time_to_live != ttl:
            body = {"spec": {"ttlSecondsAfterFinished": ttl}}
            patches.append(Patch(job.name, job.uid, body))
    return Plan(
        patches=tuple(patches),
        deletes=_deletions(job for job in ours if not job.is_finished),
        status=conditions.changed(view.resource, conditions.seen_again(view.resource)),
    )


def _missing_attempt(view: JobView) -> Attempt:
    """The attempt that status speaks of and that has no Job, or the first one of the stage.

    Someone deleted the Job. It is made again under its number: the trainer resumes, or publishes
    what it had finished.
    """
    number = max(1, view.attempts)
    before = view.job_of(number - 1)
    if before is not None and before.is_finished:
        return _attempt_after(view, before, _cause(view, before))
    return Attempt(
        number,
        view.retries_before(number),
        view.seconds_spent(number),
        view.seconds_left(number),
        preflight=view.checks_data,
        micro_batch=None if view.checks_data else micro_batch.of_status(view.status),
    )


def _attempt_after(view: JobView, job: Job, cause: failure.Cause) -> Attempt:
    """The attempt that follows a failed one. Raises InvalidSpec."""
    number = job.attempt + 1
    tried = None
    if not view.checks_data:
        tried = out_of_memory.after(job, cause.rule.reason, view.resource)
    counts = cause.rule.retry == "counted" and not (
        view.max_retries and out_of_memory.is_halved(tried, cause.rule.reason)
    )
    used = view.retries_before(number - 1) + counts
    return Attempt(
        number,
        used,
        view.seconds_spent(number),
        view.seconds_left(number),
        preflight=view.checks_data,
        micro_batch=tried,
    )


def _begin(view: JobView, attempt: Attempt, last: failure.Cause | None = None) -> Plan:
    """Creates the Job of an attempt, unless something forbids it. Raises InvalidSpec."""
    facts = _facts_of_wait(view, last)
    if view.wants_suspend:
        state, reporter = hold(view, view.own_live_pods)
        return write(view, state, facts={**facts, **reporter})
    used_up = attempt.seconds_left is not None and attempt.seconds_left <= 0
    if used_up and not view.own_live_pods:
        return failed(view, failure.cause(FailureReason.DEADLINE_EXCEEDED, deadline.USED_UP))
    obstacle = _obstacle(view, attempt)
    if obstacle is not None:
        return write(view, obstacle, facts=facts, requeue_after=view.settings.recheck)
    return _create(view, attempt, spec_file.read_spec(view.resource), last)


def _create(
    view: JobView, attempt: Attempt, resolved: spec_file.ResolvedSpec, last: failure.Cause | None
) -> Plan:
    job = children.job(view.resource, resolved, attempt, view.settings)
    job = limit_ranges.fitted(job, view.children.limit_ranges)
    planned = write(
        view,
        attempts.first_words(view),
        facts={
            **_facts_of_wait(view, last),
            **of_attempt(view, attempt.number, attempt.micro_batch),
            "specDigest": resolved.digest,
            "image": pods.image_of(resolved, attempt, view.settings),
        },
        requeue_after=view.settings.pod_missing_after,
    )
    events = (*_doubts(attempt, resolved), *_failure_events(view, last), *planned.events)
    return replace(planned, creates=(*pod_inputs.lacking(view, resolved), job), events=events)


def _doubts(attempt: Attempt, resolved: spec_file.ResolvedSpec) -> tuple[Event, ...]:
    """An event of what is odd about the spec, with the job's first child: before a GPU is used."""
    first = attempt.number == 1 and attempt.preflight == resolved.reads_data
    return doubts(" ".join(resolved.warnings)) if first else ()


def _facts_of_wait(view: JobView, last: failure.Cause | None) -> Object:
    """Facts of a job without a running pod; a failure that was retried stays until the end."""
    failed_for = last.to_status() if last else view.status.raw.get("failure")
    return {"reporter": None, "failure": failed_for, **deadline.facts_without_job(view)}


def _obstacle(view: JobView, attempt: Attempt) -> State | None:
    """What must go before a Job may be created: exactly one GPU Job exists at any time."""
    denied = refusals.obstacle(view.resource, view.children.refusal)
    if denied is not None:
        return denied
    wanted = names.job_name(view.name, view.stage, attempt.number)
    for other in view.children.strangers:
        message = sentences.taken(other, KIND)
        return conditions.waiting(FailureReason.CHILD_NAME_CONFLICT, message, Phase.PENDING)
    for job in view.other_jobs:
        if job.name == wanted or not job.is_finished:
            message = (
                f"Job {job.name} of an earlier DinoJob of this name still exists; "
                "it is waited for (kubectl delete job removes one that was orphaned)"
            )
            return conditions.waiting(ConditionReason.WAITING_FOR_CHILD, message, Phase.PENDING)
    if view.live_pods:
        name = view.live_pods[0].name
        message = f"pod {name} of an earlier Job has not ended yet; it is waited for"
        return conditions.waiting(ConditionReason.WAITING_FOR_CHILD, message, Phase.PENDING)
    return None


def _cause(view: JobView, job: Job) -> failure.Cause:
    return failure.of_job(job, job.own(view.children.pods))


def _attempt_failed(view: JobView, job: Job) -> Plan:
    """The end, or another attempt after a while, by the failure catalogue. Raises InvalidSpec."""
    cause, ended = _cause(view, job), job.finished_at
    if cause.rule.retry == "never":
        kept = {} if view.checks_data else results.of_failed(job, view.children.pods, view.status)
        return failed(view, cause, ended, **kept)
    if not view.checks_data and out_of_memory.is_used_up(job, cause.rule.reason, view.resource):
        cause = out_of_memory.last_word(job, cause, view.resource)
        return failed(
            view, out_of_memory.at_the_end(job, cause, view.resource, view.max_retries), ended
        )
    attempt = _attempt_after(view, job, cause)
    if view.wants_stop:
        return stop.plan(view)
    if attempt.retries > view.max_retries:
        cause = out_of_memory.at_the_end(job, cause, view.resource, view.max_retries)
        return _retries_used_up(view, cause, attempt.number - 1, ended)
    cause = out_of_memory.while_retried(job, cause, view.resource, attempt.micro_batch)
    if view.wants_suspend:
        return _begin(view, attempt, cause)
    ready = _ready_at(view, job, attempt.number - 1)
    if view.now < ready:
        return _back_off(view, cause, attempt, ready)
    return _begin(view, attempt, cause)


def _ready_at(view: JobView, job: Job, number: int) -> datetime:
    """The time of the next attempt: later after each failure, so that a broken store recovers."""
    wait = view.settings.retry_backoff * 2 ** min(number - 1, 16)
    wait = min(wait, view.settings.retry_backoff_max)
    return rfc3339.parse(job.finished_at) + timedelta(seconds=wait)


def _back_off(view: JobView, cause: failure.Cause, attempt: Attempt, ready: datetime) -> Plan:
    ended, number = attempt.number - 1, attempt.number
    message = f"{_named(view, ended)} failed ({cause.rule.reason}: {cause.message}); "
    message += f"{_named(view, number)} starts at {rfc3339.text(ready)}"
    if cause.rule.reason in REASONS and attempt.micro_batch:
        message += f" with {attempt.micro_batch}"
    planned = write(
        view,
        conditions.waiting(ConditionReason.RETRYING, message),
        facts={**_facts_of_wait(view, cause), **of_attempt(view, ended, attempt.micro_batch)},
        requeue_after=(ready - view.now).total_seconds(),
    )
    return replace(planned, events=_failure_events(view, cause) + planned.events)


def _named(view: JobView, number: int) -> str:
    return f"preflight attempt {number}" if view.checks_data else f"attempt {number}"


def _failure_events(view: JobView, cause: failure.Cause | None) -> tuple[Event, ...]:
    """One event for a failed attempt that is retried, when it is first written down."""
    if cause is None or view.current is None:
        return ()
    number = view.attempts
    running = view.resource.condition(ConditionType.RUNNING)
    written = view.checks_data or view.status.attempts == number
    if written and running is not None and running.reason == ConditionReason.RETRYING:
        return ()
    message = f"{_named(view, number)} failed: {cause.rule.reason}: {cause.message}"
    return (Event(EventReason.RETRYING, message, f"{view.stage}-{number}", warning=True),)


def _retries_used_up(view: JobView, cause: failure.Cause, number: int, ended: str) -> Plan:
    if view.max_retries == 0:
        return failed(view, cause, ended)
    message = f"{_named(view, number)} was the last of runPolicy.maxRetries={view.max_retries}; it "
    message += f"failed with {cause.rule.reason}: {cause.message}"
    state = conditions.failed(FailureReason.BACKOFF_LIMIT_EXCEEDED, message)
    return end(view, state, ended, failure=cause.to_status())
