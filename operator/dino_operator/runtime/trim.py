"""The parts of objects that plans read: all that the cache keeps."""

from __future__ import annotations

from dino_api.names import GROUP
from dino_operator.plan.annotations import LAST_APPLIED
from dino_operator.plan.model import Object
from dino_operator.plan.observed import dropped_keys
from dino_operator.plan.observed.objects import CONTAINER
from dino_operator.plan.rendered import carried_labels
from dino_operator.runtime.keys import KINDS, Kind

_META = (
    "name",
    "namespace",
    "uid",
    "generation",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "labels",
    "annotations",
    "ownerReferences",
)
_SPEC = {
    Kind.JOBS: ("suspend", "activeDeadlineSeconds", "ttlSecondsAfterFinished"),
    Kind.PODS: ("nodeName",),
}
_POD_STATUS = ("phase", "reason", "message", "startTime", "conditions")
_CONTAINERS = ("initContainerStatuses", "containerStatuses")
_CONTAINER = ("name", "state", "lastState")


def trim(kind: Kind, thing: Object) -> Object:
    """The parts that plans read. A pod shrinks to a tenth."""
    meta = {key: thing["metadata"][key] for key in _META if key in thing["metadata"]}
    status = thing.get("status") or {}
    if kind in KINDS:
        kept = _without_foreign_notes(meta, dropped_keys.are_any(thing, KINDS[kind]))
        return {**thing, "metadata": kept, "status": status}
    if kind is Kind.PODS:
        status = _pod_status(status)
    given = thing.get("spec") or {}
    spec = {key: given[key] for key in _SPEC[kind] if key in given}
    if kind is Kind.PODS:
        spec["containers"] = _memory_limit(given)
    return {"metadata": meta, "spec": spec, "status": status}


def _pod_status(status: Object) -> Object:
    """Conditions, and what became of every container."""
    kept = {key: status[key] for key in _POD_STATUS if key in status}
    for key in _CONTAINERS:
        if status.get(key):
            kept[key] = [{k: each[k] for k in _CONTAINER if each.get(k)} for each in status[key]]
    return kept


def _memory_limit(spec: Object) -> list[Object]:
    """The limit of the trainer's container: it may be a LimitRange's."""
    ours = (each for each in spec.get("containers") or () if each["name"] == CONTAINER)
    return [{"name": CONTAINER, "resources": {"limits": _memory(each)}} for each in ours]


def _memory(container: Object) -> Object:
    limits = (container.get("resources") or {}).get("limits") or {}
    return {key: value for key, value in limits.items() if key == "memory"}


def _without_foreign_notes(meta: Object, applied: bool) -> Object:
    """kubectl notes the whole object in an annotation of it; a plan reads it where a key was lost.

    applied: whether one was.
    """
    notes = meta.pop("annotations", None) or {}
    read = {key for key in notes if key.startswith(f"{GROUP}/") or carried_labels.is_usual(key)}
    ours = {key: value for key, value in notes.items() if key in read}
    if applied:
        ours[LAST_APPLIED] = notes[LAST_APPLIED]
    return {**meta, "annotations": ours} if ours else meta
