"""A job that waits for its parent: nothing of it runs before it is known what it starts from."""

from __future__ import annotations

from dino_api.names import FailureReason, Phase
from dino_operator.plan.job import parent
from dino_operator.plan.job.status import failed, hold, write
from dino_operator.plan.model import Plan
from dino_operator.plan.observed import failure
from dino_operator.plan.observed.job_view import JobView
from dino_operator.plan.reported import conditions


def plan(view: JobView) -> Plan:
    """Waits; or takes over what the parent left, before anything is made of it; or fails with it.

    Before this job fails with its parent, or takes over its model, that is read anew: it may be
    gone, or another one have its name.
    """
    parent_state = parent.state(view)
    for reason in (FailureReason.PARENT_FAILED, FailureReason.INVALID_SPEC):
        if parent_state.condition.reason == reason:
            return failed(view, failure.cause(reason, parent_state.condition.message))
    state = conditions.waiting(
        parent_state.condition.reason, parent_state.condition.message, Phase.PENDING
    )
    if parent_state.inherited is not None:
        return write(view, state, facts={"inherited": parent_state.inherited}, requeue_after=1)
    if view.wants_suspend:
        state, _ = hold(view, [])
    return write(view, state, facts={})
