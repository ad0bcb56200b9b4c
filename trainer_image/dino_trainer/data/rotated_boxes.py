"""Boxes that a tool has turned: COCO has no angle, so that tools write it beside the bbox.

CVAT writes the box as it was before it was turned, and `attributes: {"rotation": 30.0}`. The area
under such a box is not that of the object.
"""

from __future__ import annotations

import math
from typing import Any

_NAMES = frozenset({"rotation", "angle", "theta", "rotate", "rotation_angle"})
# What a mouse leaves of an upright box.
_LEAST = 0.5


def is_rotated(item: Any) -> bool:
    """Whether an entry of `annotations` says an angle that is not 0."""
    if not isinstance(item, dict):
        return False
    attributes = item.get("attributes")
    if isinstance(attributes, dict) and attributes and _has_angle(attributes):
        return True
    return _has_angle(item)


def _has_angle(fields: dict[str, Any]) -> bool:
    if _NAMES.isdisjoint(fields):  # most of a million entries
        return False
    return any(_is_turned(fields[name]) for name in _NAMES & fields.keys())


def _is_turned(value: object) -> bool:
    """Half a turn leaves a box as it is."""
    if not value or isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    try:
        angle = float(value)
    except (ValueError, OverflowError):
        return False
    return math.isfinite(angle) and abs(math.remainder(angle, 180)) > _LEAST
