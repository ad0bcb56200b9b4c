"""After the search: the report, the jobs on the winner, the last word, and what follows it.

No trial is made or run again from here on, whatever is edited or deleted. A failed report or job on
the winner is told in the last word and by an event, and fails nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from dino_api import metric
from dino_api.names import ConditionType, EventReason, Phase
from dino_operator.plan.model import Event, Object, Patch, Plan
from dino_operator.plan.observed.children import Children
from dino_operator.plan.observed.resource import DinoAutoML, DinoJob
from dino_operator.plan.observed.status import SearchStatus
from dino_operator.plan.reported import conditions, refusals
from dino_operator.plan.reported.conditions import State
from dino_operator.plan.search import status
from dino_operator.plan.search.after import followers, report
from dino_operator.plan.search.after.followers import FollowerProgress
from dino_operator.plan.search.after.report import Report
from dino_operator.plan.search.engines.katib import engine as katib
from dino_operator.plan.search.engines.katib import katib_trials
from dino_operator.plan.search.search_view import SearchView, number_of
from dino_operator.plan.search.status import SearchState
from dino_operator.plan.search.trials import dinojobs

SOON = 1.0


def the_end(resource: DinoAutoML, children: Children) -> Plan:
    """The plan after the last word: what someone started under our name is stopped."""
    again = conditions.changed(resource, conditions.seen_again(resource))
    return Plan(patches=late_stops(resource, children), status=again)


def stopping(resource: DinoAutoML, children: Children) -> Plan | None:
    """What stops every trial of a search that cannot go on, and Katib; None once all have ended.

    Nothing announces that an Experiment has gone: it is looked for again.
    """
    experiment = katib.unfinished(resource.uid, children)
    by_us = any(not each.is_finished for each in _trials(resource, children))
    by_katib = any(map(katib.may_work, katib_trials.jobs(resource.uid, children)))
    if not (by_us or by_katib or experiment):
        return None
    deletes = katib.deletions(experiment) if experiment else ()
    again = katib.SOON if experiment else None
    return Plan(patches=late_stops(resource, children), deletes=deletes, requeue_after=again)


def late_stops(resource: DinoAutoML, children: Children) -> tuple[Patch, ...]:
    """Stops what still runs of a search that is over: a trial whose creation went through late, or
    that somebody started under our name."""
    mine = _trials(resource, children)
    return (*dinojobs.stops(mine), *katib.stops(katib_trials.jobs(resource.uid, children)))


def _trials(resource: DinoAutoML, children: Children) -> list[DinoJob]:
    mine = children.dinojobs_of(resource.uid)
    return [each for each in mine if number_of(resource.name, each) is not None]


def the_search(view: SearchView) -> Plan:
    """What follows a search, and an end to each trial that shows itself only now."""
    planned = _following(view)
    late = late_stops(view.resource, view.children)
    return replace(planned, patches=(*late, *planned.patches))


def _following(view: SearchView) -> Plan:
    """Report, then the jobs on the winner, then the last word."""
    outcome = outcome_of(view.status)
    written = report.progress(view, outcome)
    if not written.ended:
        creates = () if view.is_held_up else written.creates
        planned = _tell(view, _ending(view, outcome, "the report is written"))
        again = planned.requeue_after or written.again
        return replace(planned, creates=creates, requeue_after=again)
    failure = view.status.failure
    following = FollowerProgress((), [], ()) if failure else followers.progress(view)
    if not following.ended:
        return _follow(view, outcome, written, following)
    parts = [outcome, *troubles(written.problem, following.failed)]
    state = status.complete("; ".join(parts))
    if failure:
        state = conditions.failed(failure.reason, failure.message)
    last = _tell(
        view, state, artifacts=list(written.artifacts) or None, then=following.rows or None
    )
    return replace(last, events=(*_events(view, written, following), *last.events))


def _follow(view: SearchView, outcome: str, written: Report, following: FollowerProgress) -> Plan:
    """Jobs on the winner run, one at a time; they are held with the search."""
    jobs = followers.made(view.resource, view.children)
    now = next(each.name for each in following.then if each.phase not in followers.ENDED)
    state = _ending(view, outcome, f"{now} runs on the winner")
    plan = _tell(view, state, artifacts=list(written.artifacts) or None, then=following.rows)
    return replace(
        plan,
        creates=() if view.is_held_up else following.creates,
        patches=tuple(dinojobs.holds(view.wants_suspend, jobs)),
        events=(*_events(view, written, following), *plan.events),
    )


def outcome_of(search: SearchStatus) -> str:
    """How the search ended, in a sentence that stays the same."""
    failure = search.failure
    if failure:
        return f"{failure.reason}: {failure.message}"
    best = search.best
    assert best is not None  # without one the search has failed
    total = len(search.history)
    return f"{best.trial} is the best of {total} trials with mAP50 {metric.text(best.mAP50)}"


def _ending(view: SearchView, outcome: str, now: str) -> State:
    if view.wants_suspend:
        busy = status.still_running(view)
        return status.holding(f"{busy[0]} saves a checkpoint and stops" if busy else "")
    if view.refused:
        message = f"{outcome}; {view.refused.message}"
        return replace(status.ending(""), running=replace(view.refused, message=message))
    return status.ending(f"{outcome}; {view.obstacle or now}")


def _tell(view: SearchView, state: State, **facts: object) -> Plan:
    engine = view.resource.condition(ConditionType.ENGINE_READY) or status.NOT_CHOSEN
    state = replace(state, data=status.data_ready(view))
    search_state = SearchState(state, engine, status.profile_applied(view))
    soon = view.settings.recheck if view.is_held_up else None
    return status.write(view.resource, search_state, view.now, {**_failure(view), **facts}, soon)


def _failure(view: SearchView) -> Object:
    """The failure once more, so that its remedy stands in the event of the end."""
    return {"failure": view.status.raw.get("failure")}


def troubles(problem: str, failed: Iterable[str]) -> list[str]:
    """What went wrong with the report and with the jobs on the winner, for the last word."""
    parts = [f"no report was written ({problem})"] if problem else []
    return parts + [f"{name} failed" for name in failed]


def _events(view: SearchView, written: Report, following: FollowerProgress) -> tuple[Event, ...]:
    """Events of what went wrong, when it is first written down."""
    before = {each.name: each.phase for each in view.status.followers}
    events = []
    if written.problem and not before:
        message = f"no report was written: {written.problem}"
        events.append(Event(EventReason.REPORT_FAILED, message, "report", warning=True))
    for name in following.failed:
        if before.get(name) != Phase.FAILED.value:
            invalid = refusals.end(view.children.refusal)
            message = f"{name} failed; the winner stands{f': {invalid.message}' if invalid else ''}"
            events.append(Event(EventReason.FOLLOWER_FAILED, message, name, warning=True))
    return tuple(events)
