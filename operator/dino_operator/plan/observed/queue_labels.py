"""Labels of Kueue's: from a DinoJob onto its Jobs, where alone Kueue reads them.

They may stand in the DinoJob's own metadata, as on any other kind, or in podTemplate.labels.
"""

from __future__ import annotations

from dino_api.names import KUEUE_QUEUE_LABEL
from dino_operator.plan.model import Object

PRIORITY_CLASS = "kueue.x-k8s.io/priority-class"
MAX_EXEC_TIME = "kueue.x-k8s.io/max-exec-time-seconds"
ASKED = frozenset({KUEUE_QUEUE_LABEL, PRIORITY_CLASS, MAX_EXEC_TIME})
"""What people ask of Kueue by labels. Others Kueue writes itself, or they mean one object alone."""
JOB_UID = "kueue.x-k8s.io/job-uid"
"""Kueue's label on the Workload that it makes of a Job."""
_OF_THE_WORK = (KUEUE_QUEUE_LABEL, MAX_EXEC_TIME)
"""What a check of the data does not take over: it is short, and asks for no GPU."""


def carried(resource: Object) -> dict[str, str]:
    """Labels of the resource's own metadata, for what is made of it."""
    return _kueues(resource["metadata"].get("labels"))


def of_job(resource: Object, preflight: bool) -> dict[str, str]:
    """The labels of Kueue's of a Job of this DinoJob, the queue among them."""
    pod = (resource["spec"].get("podTemplate") or {}).get("labels")
    found = {**_kueues(pod), **carried(resource)}
    if queue := wanted(resource):
        found[KUEUE_QUEUE_LABEL] = queue
    if preflight:
        found = {key: text for key, text in found.items() if key not in _OF_THE_WORK}
    return found


def wanted(resource: Object) -> str:
    """The queue that the DinoJob names; empty where it names none."""
    return next(iter(_named(resource).values()), "")


def conflict(resource: Object) -> str:
    """A sentence where the DinoJob names two queues; empty where it does not."""
    named = _named(resource)
    if len(set(named.values())) < 2:
        return ""
    first, second = [f"{where} names queue {queue}" for where, queue in named.items()][:2]
    return f"{first}, and {second}. Leave one of them out, or give both the same name."


def _named(resource: Object) -> dict[str, str]:
    """Queues by the place that names them, the first one foremost."""
    spec = resource["spec"]
    pod = (spec.get("podTemplate") or {}).get("labels") or {}
    places = {
        "spec.queueName": spec.get("queueName"),
        f"metadata.labels[{KUEUE_QUEUE_LABEL}]": carried(resource).get(KUEUE_QUEUE_LABEL),
        f"spec.podTemplate.labels[{KUEUE_QUEUE_LABEL}]": pod.get(KUEUE_QUEUE_LABEL),
    }
    return {where: str(queue) for where, queue in places.items() if queue}


def _kueues(labels: dict[str, str] | None) -> dict[str, str]:
    return {key: text for key, text in (labels or {}).items() if key in ASKED}
