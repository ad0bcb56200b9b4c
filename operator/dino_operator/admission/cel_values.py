"""What CEL's operators and functions make of values of JSON."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any


class EvaluationError(ValueError):
    """The evaluation ends in an error, as CEL's does; the message is CEL's."""


@dataclass(frozen=True)
class Present:
    """An optional that has a value."""

    value: Any


@dataclass(frozen=True)
class Absent:
    """An optional that has none."""


ABSENT = Absent()


def select(held: Any, name: str, optional: bool) -> Any:
    """The field of that name; one that is null is absent, as the API server has it. optional: as an
    optional, absent where there is no such field. Of an optional always so.

    Raises EvaluationError."""
    if isinstance(held, Absent):
        return ABSENT
    if isinstance(held, Present):
        return select(held.value, name, True)
    has_it = isinstance(held, dict) and held.get(name) is not None
    if optional:
        return Present(held[name]) if has_it else ABSENT
    if not has_it:
        raise EvaluationError(f"no such key: {name}")
    return held[name]


def mapped(held: Any, made: Callable[[Any], Any]) -> Any:
    """What is made of the value of an optional, as an optional; absent where it has none."""
    return Present(made(held.value)) if isinstance(held, Present) else held


def matches(text: str, pattern: str) -> bool:
    """Whether the pattern, of RE2, is found in the text."""
    return re.search(_of_python(pattern), text, re.ASCII) is not None


def _of_python(pattern: str) -> str:
    """RE2's $ is the end alone; Python's also stands before a last line break."""
    return re.sub(r"\\.|\[\^?\]?[^\]]*\]|\$", _anchor, pattern)


def _anchor(anchor: re.Match[str]) -> str:
    return r"\Z" if anchor[0] == "$" else anchor[0]


def _value(held: Any) -> Any:
    if isinstance(held, Present):
        return held.value
    raise EvaluationError("optional.none() dereference")


def _or_value(held: Any, otherwise: Any) -> Any:
    return held.value if isinstance(held, Present) else otherwise


def _index_of(held: Any, wanted: Any) -> int:
    if isinstance(held, str):
        return held.find(wanted)
    return held.index(wanted) if wanted in held else -1


def _divided(left: Any, right: Any) -> Any:
    whole = isinstance(left, int) and isinstance(right, int)
    if whole and right == 0:
        raise EvaluationError("division by zero")
    return int(left / right) if whole else left / right


def _modulo(left: Any, right: Any) -> Any:
    if right == 0:
        raise EvaluationError("modulus by zero")
    return int(math.fmod(left, right))


BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda wanted, held: wanted in held,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divided,
    "%": _modulo,
}
METHODS: dict[str, Callable[..., Any]] = {
    "size": len,
    "matches": matches,
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": lambda held, wanted: wanted in held,
    "indexOf": _index_of,
    "isSorted": lambda held: all(a <= b for a, b in pairwise(held)),
    "hasValue": lambda held: isinstance(held, Present),
    "value": _value,
    "orValue": _or_value,
}
