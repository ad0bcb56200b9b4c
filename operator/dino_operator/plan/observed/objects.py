"""Questions about any object, answered from what the API server says of it."""

from __future__ import annotations

import re

from dino_operator.plan.annotations import Annotation
from dino_operator.plan.model import Object

CONTAINER = "trainer"
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
# No number of ours is longer; others have digits beyond ASCII, which are none here.
_WHOLE = re.compile(r"[0-9]{1,15}")


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


def mapping(value: object) -> Object:
    """The value where it is a mapping; empty for what a foreign client wrote in its place."""
    return value if isinstance(value, dict) else {}


def mappings(value: object) -> list[Object]:
    """The mappings of a list, without what else somebody put into it."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def digits(text: str) -> int | None:
    """The number that a label or an annotation holds; None where somebody wrote something else."""
    return int(text) if _WHOLE.fullmatch(text) else None


def whole(value: object) -> int:
    """The number, also one in a text; 0 for what is none."""
    if isinstance(value, str):
        return digits(value) or 0
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
