"""An object as the API server has it, read through properties and never changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dino_api import rfc3339
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.model import Condition, Object, is_true
from dino_operator.plan.observed import objects


@dataclass(frozen=True)
class Child:
    """What Jobs and pods have in common. Nothing is read before it is asked for."""

    raw: Object

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
    def status(self) -> Object:
        """The status as it stands."""
        found: Object = self.raw.get("status") or {}
        return found

    @property
    def start_time(self) -> str:
        """When its controller or kubelet first saw it, as text; empty before."""
        return str(self.status.get("startTime") or "")

    def label(self, key: str) -> str:
        """The value of a label, or an empty string."""
        return str((self.raw["metadata"].get("labels") or {}).get(key) or "")

    def note(self, key: Annotation) -> str:
        """The value of one of our annotations, or an empty string."""
        return objects.annotation(self.raw, key)

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type, whatever its status."""
        return Condition.of(self.raw, kind)

    def is_true(self, kind: str) -> bool:
        """Whether the condition of that type is True."""
        return is_true(self.raw, kind)
