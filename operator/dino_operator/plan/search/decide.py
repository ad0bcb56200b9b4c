"""What to do about a DinoAutoML: the decision as early returns, worst first.

A search has three parts. Trial 0 checks the data and trains the defaults; the engine runs the other
trials; then the search is over (`after/completion.py`): `status.completionTime` is set, a report is
written, jobs run on the winner, and last comes Complete or Failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from pydantic import ValidationError

from dino_api import names as api
from dino_api import rfc3339
from dino_api.names import ConditionReason, FailureReason
from dino_api.resources.dinoautoml import DinoAutoMLSpec, SearchParameter
from dino_api.search import InvalidSearch, resolve_search
from dino_operator.plan.model import Condition, Object, Plan, Settings
from dino_operator.plan.observed import dropped_keys, failure
from dino_operator.plan.observed.children import Children
from dino_operator.plan.observed.failure import Cause
from dino_operator.plan.observed.resource import DinoAutoML, DinoJob
from dino_operator.plan.rendered import spec_file
from dino_operator.plan.reported import conditions, refusals
from dino_operator.plan.reported.refusals import Judgement
from dino_operator.plan.search import ends, status, warm_start
from dino_operator.plan.search.after import completion, lost_spec
from dino_operator.plan.search.ends import End
from dino_operator.plan.search.engines import choice
from dino_operator.plan.search.engines.contract import Step
from dino_operator.plan.search.search_view import SearchView
from dino_operator.plan.search.status import SearchState
from dino_operator.plan.search.trials import dinojobs, outcomes
from dino_operator.plan.search.trials.trial import Trial

NOTHING = Plan()


@dataclass(frozen=True)
class SearchStart:
    """What stands from the beginning of a search: its engine, and the fields that keep it."""

    engine: Condition
    fields: Object


def plan(resource: Object, children: Children, now: datetime, settings: Settings) -> Plan:
    """What to do now about this DinoAutoML. Empty where the cluster agrees with it.

    resource: the DinoAutoML as stored. children: what carries its label. now: aware, UTC.
    """
    applied = dropped_keys.with_nulls(resource, api.AUTOML_KIND)
    return _plan_of(DinoAutoML(applied), children, now, settings)


def _plan_of(resource: DinoAutoML, children: Children, now: datetime, settings: Settings) -> Plan:
    if resource.is_being_deleted:
        return NOTHING  # the garbage collector removes the children
    if resource.is_finished:
        return completion.the_end(resource, children)
    if refusals.is_of_a_change(children.refusal):
        return _unchanged(resource, children, now, settings)
    if lost := dropped_keys.refusal_of_search(resource, children):
        return _invalid(resource, children, now, lost)
    try:
        view = view_of(resource, children, now, settings)
    except (InvalidSearch, ValidationError) as error:
        cause = failure.cause(FailureReason.INVALID_SPEC, _in_words(error))
        if resource.status.completion_time:
            return lost_spec.plan(resource, children, now, cause)
        return _invalid(resource, children, now, cause)
    if view.is_over:
        return completion.the_search(view)
    return status.warned(view, _plan(view))


def _in_words(error: InvalidSearch | ValidationError) -> str:
    """Every sentence about what is wrong with a search."""
    if isinstance(error, InvalidSearch):
        return str(error)
    return "\n".join(spec_file.problems_of(error, "spec."))


def _unchanged(resource: DinoAutoML, children: Children, now: datetime, settings: Settings) -> Plan:
    """What was not changed goes on as it does. Without what could not be read there is no plan."""
    refusal = children.refusal
    assert refusal is not None
    readable = refusal.verb != "read"
    others = (
        _plan_of(resource, replace(children, refusal=None), now, settings) if readable else NOTHING
    )
    judged = refusals.judge(refusal)
    if _is_too_early(resource, others, judged):
        others = NOTHING
    planned = refusals.unchanged(resource, others, refusal)
    state = status.waiting(judged.reason, judged.message)
    return planned or status.write(resource, SearchState(state), now)


def _is_too_early(resource: DinoAutoML, planned: Plan, judged: Judgement) -> bool:
    """Whether a plan with a refused change says that the search is over: its Experiment, which is
    to be deleted first, would go on for ever. Lesser changes, such as times to live, are waited for
    where they may be taken at the next try."""
    over = planned.ends_trials and not resource.status.completion_time
    return over and bool(planned.deletes or not judged.lasts)


def view_of(
    resource: DinoAutoML, children: Children, now: datetime, settings: Settings
) -> SearchView:
    """The search and all that is around it. Raises InvalidSearch, ValidationError.

    The space is that of the first plan: another version of the operator may have other defaults.
    """
    search = resolve_search(DinoAutoMLSpec.model_validate(resource.spec), settings.profile)
    first = resource.status.space
    space = tuple(map(SearchParameter.model_validate, first)) or search.space
    return SearchView(resource, children, now, settings, replace(search, space=space))


def _invalid(resource: DinoAutoML, children: Children, now: datetime, cause: Cause) -> Plan:
    """The end of a search that is not understood, mostly before anything was made.

    Where another version of the operator, or of the CRD, took the spec, trials may run: they are
    stopped first. What was said by then stays: of engine, data and profile, and for what the search
    has failed.
    """
    failed = resource.status.raw.get("failure") or cause.to_status()
    facts: Object = {"failure": failed}
    profile = Condition(False, ConditionReason.DATASETS_GIVEN, cause.message)
    if stopping := completion.stopping(resource, children):
        state = status.with_known(resource, status.ending(failed["message"]), profile)
        planned = status.write(resource, state, now, facts, stopping.requeue_after)
        return replace(planned, patches=stopping.patches, deletes=stopping.deletes)
    facts |= {**status.settled(resource), "completionTime": rfc3339.text(now)}
    last = conditions.failed(failed["reason"], failed["message"])
    return status.write(resource, status.with_known(resource, last, profile), now, facts)


def _plan(view: SearchView) -> Plan:
    known, missing = warm_start.known_trials(view)
    if missing:
        engine = Condition(False, ConditionReason.NOT_CHOSEN, missing)
        return _wait(view, engine, ConditionReason.WAITING_FOR_SEARCH)
    chosen, engine = choice.choose(view)
    if not chosen:
        return _wait(view, engine, engine.reason)
    if unable := choice.refusal(view, chosen):
        cause = failure.cause(FailureReason.INVALID_SPEC, unable)
        return _invalid(view.resource, view.children, view.now, cause)
    fields: Object = {
        "engine": chosen,
        "known": known or None,
        "search": [each.to_dict() for each in view.search.space] or None,
    }
    begun = SearchStart(engine, fields)
    step = _step(view)
    trials = _all_trials(view, step)
    end = _end(view, trials, step)
    if end is not None:
        return _stop(view, step, trials, end, begun)
    return _go_on(view, step, trials, begun)


def _wait(view: SearchView, engine: Condition, reason: str) -> Plan:
    """A plan that waits for something outside; nothing was made so far."""
    state = status.waiting(reason, engine.message)
    if view.wants_suspend:
        state = status.holding("")
    search_state = SearchState(state, engine, status.profile_applied(view))
    return status.write(view.resource, search_state, view.now, requeue_after=view.settings.recheck)


def _step(view: SearchView) -> Step:
    """What the baseline needs, and the engine's step once the data was found good.

    A trial that the API server does not take ends the search: it would never take it. Katib's
    engine judges refusals of its own.
    """
    first = outcomes.baseline(view)
    invalid = refusals.end(view.children.refusal)
    if invalid is not None and (first is None or view.engine == choice.EMBEDDED):
        mine = tuple(each for each in outcomes.of_view(view) if each.number)
        return Step(trials=mine, failure=invalid)
    if first is None:
        held = view.wants_suspend or view.is_held_up
        return Step(creates=() if held else (dinojobs.render(view, 0, {}),), ended=True)
    if not (view.engine and status.data_ready(view).is_true):
        return Step(ended=True)
    step = choice.step(view)
    return _held_up(view, step) if view.is_held_up else step


def _held_up(view: SearchView, step: Step) -> Step:
    message = view.refused.message if view.refused else step.waiting
    return replace(step, creates=(), waiting=message)


def _all_trials(view: SearchView, step: Step) -> list[Trial]:
    """All trials by number: the baseline, the engine's, and those that are made now."""
    trials = {each.number: each for each in step.trials}
    first = outcomes.baseline(view)
    if first is not None:
        trials[0] = first
    for made in step.creates:
        if made["kind"] == api.KIND:
            number = int(made["metadata"]["labels"][api.Label.TRIAL.value])
            trials[number] = outcomes.of_job(number, DinoJob(made))
    return [trials[number] for number in sorted(trials)]


def _end(view: SearchView, trials: Sequence[Trial], step: Step) -> End | None:
    """Why the search starts no more trials, if it does not."""
    if stored := ends.failed_already(view):
        return stored
    if step.failure is not None:
        return End("", step.failure)
    if trials and trials[0].number == 0 and not status.data_ready(view).is_true:
        return ends.unchecked(trials[0])
    end = ends.reached(view, trials)
    asked = view.engine and trials
    if end is None and asked and step.ended and not any(each.is_live for each in trials):
        return End(f"{view.engine} has ended after {len(trials)} trials")  # it counts for itself
    return end


def _go_on(view: SearchView, step: Step, trials: Sequence[Trial], begun: SearchStart) -> Plan:
    """Trials run, and more are started."""
    lost = [] if view.is_held_up else dinojobs.lost(view, outcomes.of_view(view))
    state = replace(status.going(view, step, trials), data=status.data_ready(view))
    planned = status.write(
        view.resource,
        SearchState(state, begun.engine, status.profile_applied(view)),
        view.now,
        {**status.of_trials(view, trials), **begun.fields, **step.facts},
        view.settings.recheck if view.is_held_up else step.requeue_after,
    )
    return replace(
        planned,
        creates=(*lost, *step.creates),
        patches=(*dinojobs.holds(view.wants_suspend, view.trial_jobs.values()), *step.patches),
        deletes=step.deletes,
        asks=step.asks,
    )


def _stop(
    view: SearchView,
    step: Step,
    trials: Sequence[Trial],
    end: End,
    begun: SearchStart,
) -> Plan:
    """What runs is stopped; once nothing does, the search is over."""
    trials = [_settled(view, each) for each in trials]
    jobs = [each for each in view.trial_jobs.values() if not each.is_finished]
    over = not jobs and (step.ended or step.failure is not None)
    if over:  # what Katib has never ended goes with its Experiment
        trials = [replace(each, state="Stopped") if each.is_live else each for each in trials]
    failed = view.status.raw.get("failure") or (end.failure.to_status() if end.failure else None)
    facts: Object = {**status.of_trials(view, trials), **begun.fields, **step.facts}
    if over and failed is None and facts["best"] is None:
        failed = ends.without_checkpoint().to_status()
    facts["failure"] = failed
    if over:
        facts["completionTime"] = rfc3339.text(view.now)
    state = status.ending(end.message or (failed or {}).get("message", ""))
    if over and facts["best"] is None and failed:
        state = conditions.failed(failed["reason"], failed["message"])
    state = replace(state, data=status.data_ready(view))
    plan = status.write(
        view.resource,
        SearchState(state, begun.engine, status.profile_applied(view)),
        view.now,
        facts,
        1.0 if over else step.requeue_after,
    )
    return replace(plan, patches=(*dinojobs.stops(jobs), *step.patches), deletes=step.deletes)


def _settled(view: SearchView, trial: Trial) -> Trial:
    """One that had not ended and whose DinoJob was deleted is not made again: it is stopped."""
    is_job = trial.name == view.trial_name(trial.number)
    gone = is_job and trial.is_live and trial.number not in view.trial_jobs
    return replace(trial, state="Stopped") if gone else trial
