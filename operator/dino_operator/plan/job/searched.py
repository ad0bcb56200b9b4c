"""A job in whose place a search runs: it makes the DinoAutoML, steers it, and shows what it says.

No pod is the job's own. What the search says is copied when it changes, and the job ends with it.
"""

from __future__ import annotations

from dataclasses import replace

from dino_api.names import AUTOML_PLURAL, KIND, ConditionReason, ConditionType, FailureReason, Phase
from dino_operator.plan.job import awaits_parent, parent, routing
from dino_operator.plan.job.status import failed, write
from dino_operator.plan.job.stop import STOP_MESSAGE
from dino_operator.plan.model import Condition, Object, Patch, Plan
from dino_operator.plan.observed import failure, objects
from dino_operator.plan.observed.job_view import JobView
from dino_operator.plan.observed.resource import DinoAutoML
from dino_operator.plan.rendered import inheritance, names, spec_file
from dino_operator.plan.reported import conditions, refusals, sentences
from dino_operator.plan.reported.conditions import State

OF_AN_END = ("completionTime", "failure")


def plan(view: JobView) -> Plan:
    """What to do about the search, and what to say of it. Raises InvalidSpec."""
    if view.search is not None and not view.search.is_being_deleted:
        return _stop(view, view.search) if view.wants_stop else _mirrored(view, view.search)
    if view.wants_stop:
        return failed(view, failure.cause(FailureReason.STOPPED, STOP_MESSAGE), **_gone(view))
    if parent.is_awaited(view):
        return awaits_parent.plan(view)
    obstacle = _obstacle(view)
    if obstacle is not None:
        return write(view, obstacle, facts={}, requeue_after=view.settings.recheck)
    return _begin(view)


def _begin(view: JobView) -> Plan:
    """Makes the DinoAutoML; also anew, where someone deleted it before its end."""
    inherited = inheritance.inherited_by(view.resource)
    if inherited:
        spec_file.refuse(inheritance.conflicts(view.resource.experiment, inherited))
    made = routing.search_for(view)
    name = objects.name_of(made)
    state = _first_words(name)
    return replace(write(view, state, facts={"automl": name, **_gone(view)}), creates=(made,))


def _first_words(name: str) -> State:
    message = f"DinoAutoML {name} was made and has not begun"
    waits = Condition(False, ConditionReason.QUEUED, message)
    return State(Phase.PENDING, waits, data=_not_checked(message))


def _not_checked(message: str) -> Condition:
    return Condition(False, ConditionReason.CHECKING, message)


def _gone(view: JobView) -> Object:
    """Facts of a search that does not exist are not shown on."""
    fields = ("startTime", "metrics", "checkpoint", "dataset", "artifacts", conditions.PROGRESS)
    return dict.fromkeys(fields)


def _obstacle(view: JobView) -> State | None:
    """What must go before the DinoAutoML may be created."""
    denied = refusals.obstacle(view.resource, view.children.refusal)
    if denied is not None:
        return denied
    for other in view.children.strangers:
        message = sentences.taken(other, KIND)
        return conditions.waiting(FailureReason.CHILD_NAME_CONFLICT, message, Phase.PENDING)
    wanted = names.search_name(view.name)
    if any(other.name == wanted for other in view.children.automls):
        message = f"DinoAutoML {wanted} of an earlier time is still being deleted; it is waited for"
        return conditions.waiting(ConditionReason.WAITING_FOR_CHILD, message, Phase.PENDING)
    return None


def _mirrored(view: JobView, search: DinoAutoML) -> Plan:
    """Suspends or resumes the search as the user wishes, and copies what it says."""
    planned = write(view, _state(search), facts=_facts(search))
    return replace(planned, patches=_held(search, view.wants_suspend))


def _held(search: DinoAutoML, wanted: bool) -> tuple[Patch, ...]:
    if search.wants_suspend == wanted or search.is_finished:
        return ()
    body = {"spec": {"suspend": wanted}}
    return (Patch(search.name, search.uid, body, kind=AUTOML_PLURAL),)


def _stop(view: JobView, search: DinoAutoML) -> Plan:
    """The search is suspended, which frees its GPUs and keeps its trials; then the job has Failed.

    A search whose trials have ended by then has the last word: only its report is to come.
    """
    if search.is_finished or search.status.completion_time:
        return _mirrored(view, search)
    patches = _held(search, True)
    if not patches and search.is_true(ConditionType.SUSPENDED):
        message = f"{STOP_MESSAGE}; DinoAutoML {search.name} stays suspended, with its trials"
        cause = failure.cause(FailureReason.STOPPED, message)
        kept = {key: value for key, value in _facts(search).items() if key not in OF_AN_END}
        return failed(view, cause, **kept)
    message = f"DinoAutoML {search.name} saves the checkpoints of its trials and stops"
    state = replace(_state(search), running=Condition(False, ConditionReason.STOPPING, message))
    return replace(write(view, state, facts=_facts(search)), patches=patches)


def _state(search: DinoAutoML) -> State:
    """The conditions that both kinds have, and the phase."""
    first = _first_words(search.name)

    def condition(kind: ConditionType, otherwise: Condition) -> Condition:
        return search.condition(kind) or otherwise

    return State(
        next((phase for phase in Phase if phase == search.status.phase), Phase.PENDING),
        running=condition(ConditionType.RUNNING, first.running),
        data=condition(ConditionType.DATA_READY, _not_checked(first.running.message)),
        suspended=condition(ConditionType.SUSPENDED, first.suspended),
        complete=condition(ConditionType.COMPLETE, first.complete),
        failed=condition(ConditionType.FAILED, first.failed),
    )


def _facts(search: DinoAutoML) -> Object:
    """What the search found, in the fields that a job has for it."""
    status, best = search.status, search.status.best
    trials = status.trials_display
    copied = ("startTime", "completionTime", "dataset", "artifacts", "failure")
    return {
        "automl": search.name,
        "metrics": {"mAP50": best.mAP50} if best else None,
        "checkpoint": best.checkpoint if best else None,
        conditions.PROGRESS: {"display": f"{trials} trials"} if trials else None,
        **{key: status.raw.get(key) for key in copied},
    }
