"""What Kueue says of a Job that it holds back: of its Workload, and what to do about it.

Amounts that change as other jobs come and go are left out: each change of words costs a write.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dino_api.names import ConditionReason
from dino_operator.plan.model import Condition
from dino_operator.plan.observed import queue_labels
from dino_operator.plan.observed.api_object import ApiObject
from dino_operator.plan.observed.job import Job

_NEEDED = re.compile(r", \S+ more needed")
_WHO = re.compile(r" \(UID: [^)]*\)")
_MISSING = ("doesn't exist", "not found", "is terminating or missing")
_STOPPED = ("is inactive", "is stopped")
_QUEUE = re.compile(
    rf"(?P<kind>LocalQueue|ClusterQueue) .*?(?P<state>{'|'.join((*_MISSING, *_STOPPED))})$"
)
"""In Kueue's words of a queue that does not serve. A Job of no queue has LocalQueue of no name."""
_MISMATCH = "workload namespace doesn't match ClusterQueue selector"
_LACKING = re.compile(r"resource (\S+) unavailable in ClusterQueue|does not provide resource (\S+)")
TOO_SMALL = "> maximum capacity"
"""In Kueue's words of a request that even the empty queue could not take."""


class Workload(ApiObject):
    """Kueue's Workload of a Job."""

    @property
    def is_deactivated(self) -> bool:
        """Whether Kueue, or a person, does not let it run any more."""
        return self._spec.get("active") is False

    @property
    def queue(self) -> str:
        """The LocalQueue that it waits in; empty where it names none."""
        return str(self._spec.get("queueName") or "")

    @property
    def open_checks(self) -> list[str]:
        """The admission checks that are not ready, each with what it says."""
        checks = self._status.get("admissionChecks") or []
        waits = (each for each in checks if each.get("state") != "Ready")
        return [f"{each.get('name')} {each.get('message', '')}".strip() for each in waits]


@dataclass(frozen=True)
class Hold:
    """Why a Job may not run. reason: of the condition Running."""

    reason: ConditionReason
    message: str


def hold(workload: Workload, queue: str) -> Hold:
    """Why Kueue holds the Job of this Workload back. Worst first."""
    if workload.is_deactivated:
        return _deactivated(workload)
    message = _message(workload, "QuotaReserved")
    held = _unavailable(message, queue, workload) or _too_small(message, queue)
    if held is not None:
        return held
    if workload.is_true("Evicted"):
        return _evicted(workload, queue, message)
    if workload.is_true("QuotaReserved"):
        return _checks(workload, queue)
    return _waits(f"the Job waits in queue {queue} until Kueue admits it", message)


def command_for(job: Job) -> str:
    """How to see the Workload of a Job, for people."""
    return f"kubectl describe workload -l {queue_labels.JOB_UID}={job.uid}"


def _message(workload: Workload, kind: str) -> str:
    """Kueue's words, without what changes by itself."""
    condition = workload.condition(kind)
    message = _NEEDED.sub("", condition.message if condition else "")
    return _WHO.sub("", message.split("; preemptor path:")[0]).strip().rstrip(".")


def _waits(message: str, more: str) -> Hold:
    sentence = f"{message}: {more}" if more else message
    return Hold(ConditionReason.WAITING_FOR_QUEUE, sentence)


def _deactivated(workload: Workload) -> Hold:
    name = workload.name
    why = _message(workload, "Evicted") or "The workload is deactivated"
    message = f"Kueue does not start the Job again: {why}. Remedy: "
    if "execution time" in why:
        message += f"create the job again with a larger label {queue_labels.MAX_EXEC_TIME}; "
    if "re-queuing" in why:
        message += "see why its pods were not ready in time (a container image, a node); "
    patch = '\'{"spec":{"active":true}}\''
    message += (
        f"kubectl patch workload {name} --type=merge -p {patch} puts it into the queue again."
    )
    return Hold(ConditionReason.DEACTIVATED, message)


def _unavailable(message: str, queue: str, workload: Workload) -> Hold | None:
    """A queue that does not exist, takes nothing at present, or is not for this namespace."""
    space, match = workload.namespace, _QUEUE.match(message)
    if message.endswith(_MISMATCH):
        remedy = f"label namespace {space} as spec.namespaceSelector of the ClusterQueue asks "
        remedy += "(kubectl get clusterqueue -o yaml), or name another queue in a new job"
        message = f"queue {queue}: {message}"
    elif match is None:
        return None
    elif match["state"] in _STOPPED:
        remedy = "kubectl describe clusterqueue and localqueue say whether a stopPolicy holds it, "
        remedy += "or which flavor or check is missing"
    elif match["kind"] == "ClusterQueue":
        remedy = f"create it, or have LocalQueue {queue} name one that exists"
    else:
        if not queue:
            message = "Kueue manages Jobs without a queue here, and the Job names none"
        remedy = f"create LocalQueue {queue or 'default'} in namespace {space}"
        remedy += ", or name one that exists by spec.queueName in a new job"
    return Hold(ConditionReason.QUEUE_UNAVAILABLE, f"{message}. Remedy: {remedy}.")


def _too_small(message: str, queue: str) -> Hold | None:
    """More than the queue has when it is empty; waiting does not help."""
    lacking = _LACKING.search(message)
    if lacking is not None:
        remedy = f"have {lacking[1] or lacking[2]} added to the resources of its ClusterQueue, "
        remedy += "which admits only what it covers"
        return Hold(ConditionReason.QUEUE_TOO_SMALL, f"queue {queue}: {message}. Remedy: {remedy}.")
    if TOO_SMALL not in message and "flavor" in message and "insufficient" not in message:
        remedy = "compare spec.podTemplate (nodeSelector, affinity, tolerations) with the flavors"
        return Hold(ConditionReason.QUEUE_TOO_SMALL, f"queue {queue}: {message}. Remedy: {remedy}.")
    # Of several flavors one may still have room.
    if TOO_SMALL not in message or "insufficient unused quota" in message:
        return None
    sentence = f"queue {queue} never has room for the Job: {message}. Remedy: ask for less by "
    sentence += "spec.resources in a new job, or have the quota of its ClusterQueue raised."
    return Hold(ConditionReason.QUEUE_TOO_SMALL, sentence)


def _evicted(workload: Workload, queue: str, message: str) -> Hold:
    why = workload.condition("Evicted") or Condition(False)
    sentence = f"Kueue took the place in queue {queue} back ({why.reason}: "
    sentence += f"{_message(workload, 'Evicted')}); the Job waits there again"
    if message and not workload.is_true("QuotaReserved"):
        sentence += f": {message}"
    remedy = _REMEDIES.get(why.reason, "")
    return Hold(ConditionReason.EVICTED, f"{sentence}. Remedy: {remedy}." if remedy else sentence)


_REMEDIES = {
    "PodsReadyTimeout": "see why its pods were not ready in time (a container image, a node), or "
    "have Kueue's waitForPodsReady.timeout raised",
    "ClusterQueueStopped": "it goes on once the stopPolicy of the ClusterQueue is None",
    "LocalQueueStopped": "it goes on once the stopPolicy of the LocalQueue is None",
}
"""By the reason of the condition Evicted."""


def _checks(workload: Workload, queue: str) -> Hold:
    """Quota is there; what the ClusterQueue wants besides is not, or Kueue is about to start it."""
    checks = "; ".join(workload.open_checks)
    if not checks:
        return _waits(f"queue {queue} has room for the Job, which Kueue is about to start", "")
    return _waits(f"queue {queue} has room for the Job, which waits for admission checks", checks)
