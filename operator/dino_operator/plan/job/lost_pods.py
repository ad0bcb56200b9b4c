"""Pods that were to end and have not: nothing but their node could end them, and it is silent.

Nodes are not looked at, which would take rights over the whole cluster. A pod's deletionTimestamp
is when it has to have ended, its grace period included.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from dino_api.names import ConditionReason, Phase
from dino_operator.plan.model import Condition
from dino_operator.plan.observed.job_view import JobView
from dino_operator.plan.observed.pod import Pod
from dino_operator.plan.reported.conditions import State

PATIENCE = timedelta(seconds=60)
"""What a kubelet may take beyond the grace period to say that a pod has ended."""
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"


def noticed(view: JobView, state: State) -> State:
    """The state, with the lost pod in place of one that is about to end."""
    pod = next((each for each in _going(view, state) if _due(view, each) <= 0), None)
    if pod is None:
        return state
    message = sentence(view, pod)
    running = Condition(False, ConditionReason.NODE_LOST, message)
    held = state.suspended
    if held.reason == ConditionReason.SUSPENDING:
        held = replace(held, message=message)
    return replace(state, running=running, suspended=held)


def requeue(view: JobView, state: State, wanted: float | None) -> float | None:
    """Seconds until time alone makes a pod a lost one, or the plan wants to be made again."""
    due = [_due(view, pod) for pod in _going(view, state)]
    times = [each for each in (*due, wanted) if each is not None and each > 0]
    return min(times, default=wanted)


def sentence(view: JobView, pod: Pod) -> str:
    """What is known of it, and what people can do, which the operator must not."""
    name, space = pod.name, pod.namespace
    node = pod.node or "unknown"
    return (
        f"pod {name} was to end by {pod.deleted_at} and has not: node {node} "
        "does not answer, or cannot end it. Nothing follows before, as it may still train. Remedy: "
        f"bring the node back; or, once it is surely off, kubectl taint node {node} "
        f"{OUT_OF_SERVICE} (its pods are removed, their volumes detached), or kubectl delete pod "
        f"{name} -n {space} --force. A pod that runs on all the same writes into the same output."
    )


def _going(view: JobView, state: State) -> list[Pod]:
    """Pods that something waits for: none of a job that runs, or that has ended."""
    if state.running.is_true or state.phase in (Phase.COMPLETE, Phase.FAILED):
        return []
    return [pod for pod in view.live_pods if pod.is_being_deleted]


def _due(view: JobView, pod: Pod) -> float:
    late = pod.deletion + PATIENCE
    return (late - view.now).total_seconds()
