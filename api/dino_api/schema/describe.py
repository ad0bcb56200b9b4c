"""The full text of a key: what it is for, its default, its range, and whether it has an effect."""

from __future__ import annotations

from typing import Any

from pydantic.fields import FieldInfo

from dino_api.base import note_of

Schema = dict[str, Any]
_BOUNDS = ("Minimum", "Maximum")


def describe(field: FieldInfo, schema: Schema) -> str:
    """Description, range and default as sentences, for `kubectl explain` and the JSON Schema."""
    note = note_of(field)
    parts = [field.description or ""]
    if note.dead:
        parts.append(f"No effect: {note.dead}. A key of TAO.")
    limits = limits_of(schema)
    if limits:
        parts.append(f"Range: {limits}.")
    default = field.get_default(call_default_factory=True)
    if isinstance(default, bool | int | float | str | list):
        shown = plain(default)
        parts.append(f"Default: {shown}." if shown else "Default: empty.")
    return " ".join(part for part in parts if part)


def limits_of(schema: Schema) -> str:
    """The bounds of a key, such as `1 to 64` or `greater than 0, at most 1`; empty without any.

    schema: in the form of a CRD.
    """
    if {"minimum", "maximum"} <= {*schema} and not any(f"exclusive{b}" in schema for b in _BOUNDS):
        return f"{number(schema['minimum'])} to {number(schema['maximum'])}"
    words = []
    if "minimum" in schema:
        word = "greater than" if schema.get("exclusiveMinimum") else "at least"
        words.append(f"{word} {number(schema['minimum'])}")
    if "maximum" in schema:
        word = "less than" if schema.get("exclusiveMaximum") else "at most"
        words.append(f"{word} {number(schema['maximum'])}")
    return ", ".join(words)


def number(value: float) -> str:
    """The number as people write it: 0.00002 rather than 2e-05; 1 rather than 1.0."""
    if isinstance(value, float):
        text = f"{value:.10f}".rstrip("0")
        return text.rstrip(".")
    return str(value)


def plain(value: Any) -> str:
    """A default as YAML would have it on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float | int):
        return number(value)
    if isinstance(value, list):
        return f"[{', '.join(plain(entry) for entry in value)}]"
    return str(value)
