"""A Job in a queue of Kueue: Kueue alone suspends and resumes it, and is only watched.

The user's own suspend deletes the Job, which gives its quota back; resuming makes it again under
its number, suspended, and it waits for its turn. Setting the Job's `suspend` would be undone.
"""

from __future__ import annotations

from dataclasses import replace

from dino_api.names import ConditionReason
from dino_operator.plan import observe, status, words
from dino_operator.plan.model import Delete, Object, Plan
from dino_operator.plan.status import State
from dino_operator.plan.telling import hold, say
from dino_operator.plan.view import View


def follow(view: View, job: Object, pods: list[Object]) -> Plan | None:
    """What to do about an unfinished Job in a queue; None where it may run."""
    if view.wants_suspend:
        state, facts = hold(view, pods)
        told = say(view, job, state, **facts)
        if "deletionTimestamp" in job["metadata"]:
            return told
        gone = Delete(observe.name_of(job), observe.uid_of(job))
        return replace(told, deletes=(gone,), requeue_after=1)
    if not observe.is_suspended(job):
        return None
    if not pods:
        return say(view, job, waiting(view))
    name = observe.name_of(observe.by_index(pods)[0])
    said = f"Kueue takes the place in queue {view.queue} back; {words.saves(view.resource, name)}"
    state = status.waiting(ConditionReason.WAITING_FOR_QUEUE, said)
    return say(view, job, state, reporter=name)


def waiting(view: View) -> State:
    """Not yet admitted."""
    said = f"the Job waits in queue {view.queue} until Kueue admits it; kubectl get workloads says "
    said += "why it waits, and nothing starts it where Kueue or the queue is missing"
    return status.waiting(ConditionReason.WAITING_FOR_QUEUE, said)
