"""An object as the API server has it, read through properties and never changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dino_api import rfc3339
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.model import FINAL, Condition, Object, is_true
from dino_operator.plan.observed import objects


@dataclass(frozen=True)
class Part:
    """A part of an object, or the whole. Nothing is read before it is asked for, and nothing is
    refused: what a foreign client wrote must not stop a plan."""

    raw: Object


class ApiObject(Part):
    """What all objects have in common: metadata and conditions."""

    @property
    def kind(self) -> str:
        """The kind; objects in lists have none."""
        return str(self.raw.get("kind", "object"))

    @property
    def name(self) -> str:
        """The name of the object."""
        return objects.name_of(self.raw)

    @property
    def namespace(self) -> str:
        """The namespace; empty where it is left out."""
        return str(self.raw["metadata"].get("namespace", ""))

    @property
    def uid(self) -> str:
        """The uid of the object."""
        return objects.uid_of(self.raw)

    @property
    def controller_uid(self) -> str | None:
        """The uid of the controlling owner, or None for an orphan."""
        return objects.controller_uid(self.raw)

    @property
    def created_at(self) -> str:
        """When it was created, as text."""
        return str(self.raw["metadata"].get("creationTimestamp", ""))

    @property
    def born(self) -> tuple[str, str]:
        """Sorts by age; equal seconds by name, so that every reader chooses the same one."""
        return objects.born(self.raw)

    @property
    def is_being_deleted(self) -> bool:
        """Whether somebody asked it to go."""
        return "deletionTimestamp" in self.raw["metadata"]

    @property
    def deleted_at(self) -> str:
        """When it has to be gone, its grace period included; empty where nobody asked."""
        return str(self.raw["metadata"].get("deletionTimestamp") or "")

    @property
    def deletion(self) -> datetime:
        """The same as a time. It is being deleted."""
        return rfc3339.parse(self.deleted_at)

    @property
    def start_time(self) -> str:
        """When its controller or kubelet first saw it, as text; empty before."""
        return str(self._status.get("startTime") or "")

    @property
    def _status(self) -> Object:
        """The status as it stands."""
        return objects.mapping(self.raw.get("status"))

    @property
    def _spec(self) -> Object:
        """The spec as it stands."""
        return objects.mapping(self.raw.get("spec"))

    @property
    def labels(self) -> dict[str, str]:
        """All labels."""
        labels: dict[str, str] = self.raw["metadata"].get("labels") or {}
        return labels

    @property
    def annotations(self) -> dict[str, str]:
        """All annotations."""
        annotations: dict[str, str] = self.raw["metadata"].get("annotations") or {}
        return annotations

    def label(self, key: str) -> str:
        """The value of a label, or an empty string."""
        return str(self.labels.get(key) or "")

    def note(self, key: Annotation) -> str:
        """The value of one of our annotations, or an empty string."""
        return str(self.annotations.get(key.value, ""))

    def number(self, key: Annotation) -> int:
        """The number in one of our annotations, which anybody may edit; 0 where there is none."""
        return objects.whole(self.note(key))

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type, whatever its status."""
        return Condition.of(self.raw, kind)

    def is_true(self, kind: str) -> bool:
        """Whether the condition of that type is True."""
        return is_true(self.raw, kind)

    @property
    def is_finished(self) -> bool:
        """Whether Complete or Failed was ever said of it."""
        return any(map(self.is_true, FINAL))
