"""Labels of Kueue's: from a DinoJob onto its Jobs, where alone Kueue reads them.

They may stand in the DinoJob's own metadata, as on any other kind, or in podTemplate.labels.
"""

from __future__ import annotations

from dino_api.names import KUEUE_QUEUE_LABEL
from dino_operator.plan.observed.resource import Resource

PRIORITY_CLASS = "kueue.x-k8s.io/priority-class"
MAX_EXEC_TIME = "kueue.x-k8s.io/max-exec-time-seconds"
ASKED = frozenset({KUEUE_QUEUE_LABEL, PRIORITY_CLASS, MAX_EXEC_TIME})
"""What people ask of Kueue by labels. Others Kueue writes itself, or they mean one object alone."""
JOB_UID = "kueue.x-k8s.io/job-uid"
"""Kueue's label on the Workload that it makes of a Job."""
_OF_THE_WORK = (KUEUE_QUEUE_LABEL, MAX_EXEC_TIME)
"""What a check of the data does not take over: it is short, and asks for no GPU."""


def carried(resource: Resource) -> dict[str, str]:
    """Labels of the resource's own metadata, for what is made of it."""
    return _kueues(resource.labels)


def of_job(resource: Resource, preflight: bool) -> dict[str, str]:
    """The labels of Kueue's of a Job of this DinoJob, the queue among them."""
    labels = {**_kueues(_of_pods(resource)), **carried(resource)}
    if queue := wanted(resource):
        labels[KUEUE_QUEUE_LABEL] = queue
    if preflight:
        labels = {key: text for key, text in labels.items() if key not in _OF_THE_WORK}
    return labels


def wanted(resource: Resource) -> str:
    """The queue that the DinoJob names; empty where it names none."""
    return next(iter(_named(resource).values()), "")


def conflict(resource: Resource) -> str:
    """A sentence where the DinoJob names two queues; empty where it does not."""
    named = _named(resource)
    if len(set(named.values())) < 2:
        return ""
    first, second = [f"{where} names queue {queue}" for where, queue in named.items()][:2]
    return f"{first}, and {second}. Leave one of them out, or give both the same name."


def _named(resource: Resource) -> dict[str, str]:
    """Queues by the place that names them, the first one foremost."""
    places = {
        "spec.queueName": resource.queue_name,
        f"metadata.labels[{KUEUE_QUEUE_LABEL}]": carried(resource).get(KUEUE_QUEUE_LABEL),
        f"spec.podTemplate.labels[{KUEUE_QUEUE_LABEL}]": _of_pods(resource).get(KUEUE_QUEUE_LABEL),
    }
    return {where: str(queue) for where, queue in places.items() if queue}


def _of_pods(resource: Resource) -> dict[str, str]:
    return dict(resource.pod_template.get("labels") or {})


def _kueues(labels: dict[str, str]) -> dict[str, str]:
    return {key: text for key, text in labels.items() if key in ASKED}
