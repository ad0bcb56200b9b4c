"""What to do about a search that runs on Katib.

Katib draws and runs the trials; the operator makes the Experiment, holds the trials' Jobs while the
search is suspended, stops them when it has ended, and says what Katib never says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from dino_api import rfc3339
from dino_api.names import FailureReason
from dino_api.resources.dinoautoml import MOST_TRIALS
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.model import Delete, Patch
from dino_operator.plan.observed import failure
from dino_operator.plan.observed.children import Children, Refusal
from dino_operator.plan.observed.failure import Cause
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.katib import Experiment
from dino_operator.plan.rendered import deadline, names, spec_file
from dino_operator.plan.reported import refusals
from dino_operator.plan.search import ends
from dino_operator.plan.search.engines.contract import Step
from dino_operator.plan.search.engines.katib import experiment, hangs, katib_trials
from dino_operator.plan.search.engines.katib.katib_trials import KatibTrial
from dino_operator.plan.search.engines.katib.space import refusal
from dino_operator.plan.search.search_view import SearchView
from dino_operator.plan.search.trials import outcomes
from dino_operator.plan.search.trials.trial import Trial

__all__ = ["SOON", "deletions", "may_work", "refusal", "step", "stops", "unfinished"]

SOON = 2.0
"""Seconds until Katib has done what it is about to do."""
SUGGESTION_FAILED = "Suggestion has failed"


def step(view: SearchView) -> Step:
    """What to do now, and what Katib's trials did so far."""
    existing = katib_trials.existing(view)
    mine = katib_trials.trials(view, existing)
    end = ends.reached(view, _with_baseline(view, mine))
    present = view.children.experiment
    if present is None:
        return _without_experiment(view, mine, end)
    name = present.name
    if present.controller_uid != view.uid:
        message = f"Experiment {name} belongs to someone else"
        return Step(failure=failure.cause(FailureReason.CHILD_NAME_CONFLICT, message))
    if present.is_over or (end is not None and present.is_being_deleted):
        return _after_katib(view, present, existing, mine, end)
    if present.is_being_deleted:
        return Step(
            trials=mine, waiting=f"Experiment {name} is being deleted", requeue_after=_soon(view)
        )
    if end is not None:
        return _end_katib(view, present, mine)
    return _follow(view, present, existing, mine)


def _soon(view: SearchView) -> float:
    return min(SOON, view.settings.katib_poll)


def _with_baseline(view: SearchView, mine: Sequence[Trial]) -> list[Trial]:
    first = outcomes.baseline(view)
    return [*([first] if first else []), *mine]


def _without_experiment(view: SearchView, mine: tuple[Trial, ...], end: ends.End | None) -> Step:
    """A step without it: not made yet, or deleted, by us when the search ended or by someone.

    Deleting is the only way to stop an Experiment that Katib knows, so it ends the search: its
    trials and their Jobs went with it, and a new one would not know what they were drawn from.
    """
    known = view.status.experiment
    if known and end is None:
        message = f"Experiment {known} was deleted, and its trials with it; the best so far is kept"
        return Step(trials=mine, failure=hangs.fatal(message, DELETED))
    if end is not None:
        return Step(trials=mine, ended=not _running(view), requeue_after=_soon(view))
    if unable := refusal(view):
        message = f"spec.engine: Katib cannot run this search: {unable}. Use Embedded."
        return Step(failure=failure.cause(FailureReason.INVALID_SPEC, message))
    if view.wants_suspend:
        return Step(trials=mine)
    if view.children.refusal is not None:
        return _refused(view, mine, view.children.refusal)
    try:
        made = experiment.to_create(view)
    except spec_file.InvalidSpec as error:
        return Step(failure=failure.cause(FailureReason.INVALID_SPEC, str(error)))
    facts = {"experiment": names.experiment_name(view.uid)}
    return Step(creates=made, trials=mine, facts=facts, requeue_after=_soon(view))


def _refused(view: SearchView, mine: tuple[Trial, ...], refusal: Refusal) -> Step:
    """A step after a word of Katib's webhooks or schema, which is final; else it is waited."""
    judged = refusals.judge(refusal)
    if judged.ends and refusal.kind == experiment.KIND:
        message = f"Katib does not take the Experiment: {refusal.message}"
        return Step(trials=mine, failure=hangs.fatal(message))
    if judged.ends:
        return Step(trials=mine, failure=refusals.end(refusal))
    return Step(trials=mine, waiting=judged.message, requeue_after=view.settings.katib_poll)


DELETED = (
    "Create the search under another name; with spec.engine: Embedded it can start from what this "
    "one found (warmStartFrom)."
)


def _after_katib(
    view: SearchView,
    present: Experiment,
    existing: Sequence[KatibTrial],
    mine: tuple[Trial, ...],
    end: ends.End | None,
) -> Step:
    """Katib has ended and leaves what runs running; it is stopped here. So it is where the search
    had to end first: an Experiment that is deleted stays as long as Katib's controller is away."""
    ended = not _running(view) and not any(hangs.is_about_to_start(view, each) for each in existing)
    if ended:  # a Trial that hangs, or whose Job is held, never ends on Katib
        mine = tuple(replace(each, state="Stopped") if each.is_live else each for each in mine)
    known = not present.is_over or (end is not None and end.failure is not None)
    cause = None if known else _cause(view, present, mine)
    return Step(
        patches=stops(_jobs(view)) + (_lifetimes(view) if ended else ()),
        trials=mine,
        ended=ended,
        waiting="" if ended else "trials that still ran when Katib ended are being stopped",
        failure=cause if ended else None,
        facts={"experiment": present.name},
        requeue_after=_soon(view),
    )


def _cause(view: SearchView, present: Experiment, mine: Sequence[Trial]) -> Cause | None:
    """Why the search fails although Katib says no more than Succeeded or Failed."""
    failed = present.condition("Failed")
    if failed is not None and failed.is_true:
        message = failed.message
        if SUGGESTION_FAILED in message:
            return hangs.fatal(f"Katib could not draw trials: {_suggestion(view)}")
        return hangs.fatal(f"{message}. {_failures(mine)}".strip())
    if not any(each.state == "Succeeded" for each in mine):
        message = "Katib's Experiment ended as Succeeded, but none of its trials has a result"
        return hangs.fatal(f"{message}. {_failures(mine)}".strip())
    return None


def _suggestion(view: SearchView) -> str:
    """What Katib itself only says on the Suggestion."""
    if view.children.suggestion is not None:
        failed = view.children.suggestion.condition("Failed")
        if failed is not None and failed.message:
            return failed.message
    return f"{SUGGESTION_FAILED}; kubectl describe suggestion {names.experiment_name(view.uid)}"


def _failures(mine: Sequence[Trial]) -> str:
    """How many trials failed, and for what most of them."""
    failed = [each for each in mine if each.state == "Failed"]
    if not failed:
        return ""
    reason = ends.most_frequent(mine)
    example = next((each for each in failed if each.reason == reason), failed[0])
    return f"{len(failed)} of {len(mine)} trials failed, such as {example.name}: {_why(example)}"


def _why(trial: Trial) -> str:
    return ": ".join(part for part in (trial.reason, trial.message) if part)


def _end_katib(view: SearchView, present: Experiment, mine: tuple[Trial, ...]) -> Step:
    """The search has to end before Katib does: its goal was met by the baseline, say.

    Deleting the Experiment is what stops it. First the status has to know what its trials did.
    """
    if _is_about_to_end(view, mine):
        return Step(trials=mine, requeue_after=_soon(view))
    if not _is_written(view, mine):
        return Step(trials=mine, requeue_after=_soon(view), facts=_facts(present))
    message = "the Experiment is deleted, as the search has ended and Katib would go on"
    gone = deletions(present)
    return Step(deletes=gone, trials=mine, waiting=message, requeue_after=_soon(view))


def _is_about_to_end(view: SearchView, mine: Sequence[Trial]) -> bool:
    """Whether Katib is about to say itself that all its trials have ended. It is not waited for for
    ever."""
    if any(each.is_live for each in mine) or len(mine) < view.search.max_trials - 1:
        return False
    last = max((each.ended for each in mine if each.ended), default="")
    waited = (view.now - rfc3339.parse(last)).total_seconds() if last else 0.0
    return waited < hangs.PATIENCE


def unfinished(search: str, children: Children) -> Experiment | None:
    """The Experiment of the search with that uid, as long as Katib may make trials of it."""
    present = children.experiment
    if present is None or present.controller_uid != search or present.is_over:
        return None
    return present


def deletions(present: Experiment) -> tuple[Delete, ...]:
    """The only way to stop an Experiment: Katib knows no other. None where that is under way."""
    if present.is_being_deleted:
        return ()
    return (Delete(present.name, present.uid, kind="experiments"),)


def _is_written(view: SearchView, mine: Sequence[Trial]) -> bool:
    """Whether status.history has the end of every trial that ended, as far as it has room."""
    rows = view.history
    return all(
        each.is_live or (each.number in rows and rows[each.number].state == each.state)
        for each in mine
        if each.number < MOST_TRIALS
    )


def _facts(present: Experiment) -> dict[str, object]:
    return {"experiment": present.name}


def _follow(
    view: SearchView, present: Experiment, existing: Sequence[KatibTrial], mine: tuple[Trial, ...]
) -> Step:
    """The search goes on: hold or release Jobs, pass numbers on, look for what hangs."""
    hang = hangs.worst(view, existing)
    if hang.failure is not None and not _is_written(view, mine):
        return Step(
            trials=mine, waiting=hang.message, facts=_facts(present), requeue_after=_soon(view)
        )
    deletes = () if hang.failure is None else deletions(present)
    return Step(
        patches=() if deletes else (*hang.patches, *_holds(view), *_edits(view, present)),
        deletes=deletes,
        trials=mine,
        waiting=hang.message,
        failure=hang.failure,
        facts=_facts(present),
        requeue_after=_soon(view) if _is_about_to_change(existing) else view.settings.katib_poll,
        asks=hang.asks,
    )


def _is_about_to_change(existing: Sequence[KatibTrial]) -> bool:
    """Whether Katib has something to say that no watched object will announce."""
    if not existing:
        return True
    return any(each.job is None or (each.job.is_finished and not each.is_over) for each in existing)


def _holds(view: SearchView) -> tuple[Patch, ...]:
    """Suspends and resumes Jobs: all while the search is suspended, else those beyond
    parallelTrials, the baseline among them. Katib itself lowers the number by deleting trials, and
    knows of no baseline. Jobs in a queue are Kueue's, who suspended a Job resumes it, and one that
    someone else resumes each time is left to run."""
    first = outcomes.baseline(view)
    busy = first is not None and first.is_live
    allowed = 0 if view.wants_suspend else view.search.parallel_trials - busy
    unfinished = [job for job in _jobs(view) if _may_go_on(job)]
    patches: list[Patch] = []
    for place, job in enumerate(unfinished):
        held, holds = job.is_suspended, place >= allowed
        if job.queue or (held and not hangs.is_ours(job)):
            continue
        given_up = holds and deadline.is_given_up(job)
        if held == holds or given_up:
            patches += deadline.patches(view, job, given_up)
        else:
            body = deadline.suspension(view, job) if holds else deadline.resumption(job)
            patches.append(Patch(job.name, job.uid, body))
    return tuple(patches)


def _may_go_on(job: Job) -> bool:
    return not job.is_finished and not job.note(Annotation.STOPPED_FOR)


def _edits(view: SearchView, present: Experiment) -> tuple[Patch, ...]:
    """Raised numbers. Katib takes them as long as more trials are to come; it answers a lower
    parallelTrialCount by deleting the newest trials, also finished ones, so that only grows."""
    wanted, counts = experiment.trial_counts(view), present.counts
    changed = {key: value for key, value in wanted.items() if counts.get(key) != value}
    for key in ("maxTrialCount", "parallelTrialCount"):
        if wanted[key] < counts.get(key, 0):
            changed.pop(key, None)
    most = changed.get("maxTrialCount", counts.get("maxTrialCount", 0))
    if not changed or most <= present.trials:
        return ()
    return (Patch(present.name, present.uid, {"spec": changed}, kind="experiments"),)


def _jobs(view: SearchView) -> list[Job]:
    return katib_trials.jobs(view.uid, view.children)


def _running(view: SearchView) -> list[Job]:
    """Jobs of trials that may hold a GPU: not ended and not suspended, or with a pod that lives."""
    jobs = _jobs(view)
    uids = {job.uid for job in jobs}
    holding = {pod.controller_uid for pod in view.children.pods if pod.is_live}
    return [job for job in jobs if may_work(job) or job.uid in holding & uids]


def may_work(job: Job) -> bool:
    """Whether it may have pods, as far as it tells."""
    return not job.is_finished and not job.is_suspended


def stops(jobs: Iterable[Job]) -> tuple[Patch, ...]:
    """Ends all that have not ended."""
    message = "the search has ended"
    return tuple(
        deadline.stopping(job, FailureReason.STOPPED, message) for job in jobs if _may_go_on(job)
    )


def _lifetimes(view: SearchView) -> tuple[Patch, ...]:
    """Finished Jobs get their time to live now: before the end of a Trial, Katib would make a Job
    that vanished again, and train it again."""
    ttl = view.search.template.run_policy.ttl_seconds_after_finished
    if ttl is None:
        return ()
    body = {"spec": {"ttlSecondsAfterFinished": ttl}}
    return tuple(
        Patch(job.name, job.uid, body)
        for job in _jobs(view)
        if job.is_finished and job.time_to_live != ttl
    )
