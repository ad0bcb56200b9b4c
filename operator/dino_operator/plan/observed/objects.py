"""Questions about any object, answered from what the API server says of it."""

from __future__ import annotations

from dino_operator.plan.annotations import Annotation
from dino_operator.plan.model import Object

CONTAINER = "trainer"
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"


def uid_of(thing: Object) -> str:
    """The uid of an object."""
    return str(thing["metadata"]["uid"])


def name_of(thing: Object) -> str:
    """The name of an object."""
    return str(thing["metadata"]["name"])


def born(thing: Object) -> tuple[str, str]:
    """Sorts by age; equal seconds by name, so that every reader chooses the same one."""
    return str(thing["metadata"].get("creationTimestamp", "")), name_of(thing)


def controller_uid(thing: Object) -> str | None:
    """The uid of the controlling owner, or None for an orphan."""
    for owner in thing["metadata"].get("ownerReferences", []):
        if owner.get("controller"):
            return str(owner["uid"])
    return None


def annotation(thing: Object, key: Annotation) -> str:
    """The value of one of our annotations, or an empty string."""
    return str(thing["metadata"].get("annotations", {}).get(key.value, ""))
