"""What is said of a search: its conditions, its phase, and facts carried over or replaced."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from dino_api.names import ConditionReason, ConditionType, EventReason, Phase
from dino_api.problem import render
from dino_operator.plan.job import status
from dino_operator.plan.model import Event, Object, Plan
from dino_operator.plan.observed import objects
from dino_operator.plan.reported import conditions
from dino_operator.plan.reported.conditions import State, Verdict
from dino_operator.plan.search.search_view import SearchView

NOT_CHOSEN = Verdict(False, ConditionReason.NOT_CHOSEN)
DATA_GIVEN = Verdict(False, ConditionReason.DATASETS_GIVEN)
HELD = "spec.suspend is true; set it to false to go on"


@dataclass(frozen=True)
class Told:
    """A state, and what only a search has: what runs it, and whose data it uses."""

    state: State
    engine: Verdict = NOT_CHOSEN
    profile: Verdict = DATA_GIVEN

    def verdicts(self) -> Iterator[tuple[ConditionType, Verdict]]:
        """In the order in which people read them."""
        yield ConditionType.ENGINE_READY, self.engine
        yield ConditionType.PROFILE_APPLIED, self.profile
        yield from self.state.verdicts()


def kept(resource: Object, kind: ConditionType) -> Verdict | None:
    """What was said of it before, or None."""
    found = objects.condition(resource, kind)
    if found is None:
        return None
    return Verdict(found.get("status") == "True", found["reason"], found.get("message", ""))


def write(
    resource: Object,
    told: Told,
    now: datetime,
    facts: Object | None = None,
    requeue_after: float | None = None,
) -> Plan:
    """A plan that only writes the status, with the events of what changes by it.

    facts: replace those in the status; one that is None is removed; others stay.
    """
    desired = dict(resource.get("status") or {})
    desired["observedGeneration"] = resource["metadata"].get("generation", 0)
    desired["phase"] = told.state.phase.value
    desired["conditions"] = conditions.conditions(resource, told.verdicts(), now)
    for name, value in (facts or {}).items():
        desired.pop(name, None)
        if value is not None:
            desired[name] = value
    return Plan(
        status=conditions.changed(resource, desired),
        events=status.transitions(resource, told.state, facts or {}),
        requeue_after=requeue_after,
    )


def warned(view: SearchView, plan: Plan) -> Plan:
    """The plan, with an event of what is odd about the search, once for each generation.

    The same words make the same event: an edit that changes nothing of it posts nothing new.
    """
    seen = view.status.get("observedGeneration")
    if not view.search.warnings or seen == view.resource["metadata"].get("generation", 0):
        return plan
    said = " ".join(render(each).removeprefix("warning: ") for each in view.search.warnings)
    odd = Event(EventReason.SEARCH_DOUBTFUL, said, said, warning=True)
    return replace(plan, events=(odd, *plan.events))


def waiting(reason: str, message: str) -> State:
    """No trial was made so far."""
    return conditions.waiting(reason, message, Phase.PENDING)


def holding(message: str) -> State:
    """Held: what still runs saves a checkpoint first, or nothing does any more."""
    if message:
        return conditions.suspending(message)
    return conditions.suspended(HELD)


def complete(message: str) -> State:
    """The end, with a winner."""
    verdict = Verdict(True, ConditionReason.SEARCH_COMPLETED, message)
    return replace(conditions.complete(message), complete=verdict)
