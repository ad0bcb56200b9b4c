"""What one key can hold, by its schema."""

from __future__ import annotations

from functools import cache
from typing import Any

from dino_api.experiment.spec import ExperimentSpec
from dino_api.resources.dinoautoml import Value
from dino_api.schema.describe import limits_of, number
from dino_api.schema.openapi import structural
from dino_api.search.assignment import typed


@cache
def _root() -> dict[str, Any]:
    return structural(ExperimentSpec)


def schema_of(path: str) -> dict[str, Any]:
    """The schema of a key, in the form of a CRD. Raises KeyError for a path that does not exist."""
    node = _root()
    for part in path.split("."):
        node = node["properties"][part]
    return node


def refusal(path: str, value: Value) -> str:
    """Why the key cannot hold the value, such as `must be at most 1`; empty where it can."""
    try:
        held = typed(path, value)
    except ValueError as error:
        return str(error).partition(": ")[2].partition(", not ")[0]
    schema = schema_of(path)
    if "enum" in schema and held not in schema["enum"]:
        return f"must be one of {', '.join(map(str, schema['enum']))}"
    if isinstance(held, str):
        return "" if len(held) <= schema.get("maxLength", len(held)) else "is too long"
    return "" if _within(schema, held) else f"must be {limits_of(schema)}"


def _within(schema: dict[str, Any], value: float) -> bool:
    low, high = schema.get("minimum"), schema.get("maximum")
    above = low is None or value > low or (value == low and not schema.get("exclusiveMinimum"))
    below = high is None or value < high or (value == high and not schema.get("exclusiveMaximum"))
    return above and below


def shown(value: Value | None) -> str:
    """A value in a sentence: 0.00001 rather than 1e-05."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return number(value) if is_number else str(value)  # type: ignore[arg-type]
