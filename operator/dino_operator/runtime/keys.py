"""Whose plan an object belongs to."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from dino_api.names import AUTOML_KIND, AUTOML_PLURAL, KIND, PLURAL, Label
from dino_operator.plan.model import Object
from dino_operator.plan.rendered.names import job_label


class Kind(StrEnum):
    """What is watched."""

    DINOJOBS = PLURAL
    DINOAUTOMLS = AUTOML_PLURAL
    JOBS = "jobs"
    PODS = "pods"


KINDS = {Kind.DINOJOBS: KIND, Kind.DINOAUTOMLS: AUTOML_KIND}
"""The kinds that have a plan, with their names in manifests."""
PLURALS = {KIND: Kind.DINOJOBS, AUTOML_KIND: Kind.DINOAUTOMLS, "Job": Kind.JOBS, "Pod": Kind.PODS}
"""Manifest names of all that is watched."""
LABELS = {Kind.DINOJOBS: Label.JOB.value, Kind.DINOAUTOMLS: Label.AUTOML.value}
"""The label by which children of those kinds are found."""


class Key(NamedTuple):
    """A plan: the kind of its resource, the namespace, and the value of the label that the
    resource's children carry."""

    kind: Kind
    namespace: str
    label: str

    def __str__(self) -> str:
        return f"{KINDS[self.kind]} {self.namespace}/{self.label}"


def key_of(kind: Kind, resource: Object) -> Key:
    """The key of a resource's own plan."""
    meta = resource["metadata"]
    return Key(kind, meta["namespace"], job_label(meta["name"]))


def keys_of(kind: Kind, thing: Object) -> tuple[Key, ...]:
    """The plans that look at the object: its own, and those whose label it carries."""
    labels = thing["metadata"].get("labels") or {}
    space = thing["metadata"]["namespace"]
    mine = (key_of(kind, thing),) if kind in KINDS else ()
    labelled = (
        Key(of, space, labels[label])
        for of, label in LABELS.items()
        if of is not kind and labels.get(label)
    )
    return (*mine, *labelled)


def named_by(kind: Kind, resource: Object) -> tuple[Key, ...]:
    """The resources that the spec names: the parent of a job, the searches known to another."""
    if kind not in KINDS:
        return ()
    spec, space = resource.get("spec") or {}, resource["metadata"]["namespace"]
    known = (each.get("name") for each in spec.get("warmStartFrom") or ())
    searches = [Key(Kind.DINOAUTOMLS, space, job_label(name)) for name in known if name]
    parent = parent_of(resource)
    return (*searches, *([parent] if parent else []))


def parent_of(resource: Object) -> Key | None:
    """What the spec of one of our own names as its parent."""
    parent = (resource.get("spec") or {}).get("parent") or {}
    name, kind = parent.get("name"), PLURALS[parent.get("kind") or KIND]
    return Key(kind, resource["metadata"]["namespace"], job_label(name)) if name else None
