"""What is left of a termination message: each member as far as it is whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dino_api.message import ESSENTIAL, FOLDER, HOLDS, MORE, Object, absolute

_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Read:
    """What a message says. lost: members that it held and that were cut, whole or in part.
    shortened: those of which only the first line is left."""

    members: Object
    lost: frozenset[str] = frozenset()
    shortened: frozenset[str] = frozenset()


def read(text: str) -> Read | None:
    """What is left of a message, or of the text of result.json; None of anything else."""
    try:
        return _read(text)
    except RecursionError:  # the end of somebody's log
        return None


def _read(text: str) -> Read | None:
    try:
        found = json.loads(text)
    except ValueError:
        return _of_lines(text)
    if not isinstance(found, dict):
        return None
    if HOLDS not in found:
        return Read(found)
    return _judged(found, frozenset(found))


def _of_lines(text: str) -> Read | None:
    """Of two lines, or of some that were cut."""
    first, _, second = text.partition("\n")
    found, whole = _members(first)
    if "schema" not in whole:
        return None
    more, more_whole = _members(second)
    for name, value in more.items():
        found[name] = value if name in more_whole else _merged(found.get(name), value)
    # What the first line has whole suffices: cut in the second, only what is more exact is lost.
    return _judged(found, whole | more_whole, more_whole)


def _merged(known: Any, value: Any) -> Any:
    """What is known, with what is left of a longer form of it."""
    if not (isinstance(known, dict) and isinstance(value, dict)):
        return value
    return {**known, **{key: _merged(known.get(key), part) for key, part in value.items()}}


def _judged(found: Object, whole: frozenset[str], second: frozenset[str] = frozenset()) -> Read:
    """A cut message that does not say what it held may have held all that is essential.

    whole: members that are; second: those of them that the second line has.
    """
    told = found.pop(HOLDS, None)
    named = str(told).split(",") if told and HOLDS in whole else ESSENTIAL
    held = frozenset(name.removesuffix(MORE) for name in named)
    both = frozenset(name.removesuffix(MORE) for name in named if name.endswith(MORE))
    lost = held - whole
    folder = found.get(FOLDER)
    folder = folder if isinstance(folder, str) else None  # a log's own JSON may have anything
    return Read(absolute(found, folder), lost, both - second - lost)


def _members(text: str) -> tuple[Object, frozenset[str]]:
    """Those of an object whose text may be cut, and the names of those that are whole."""
    found, whole = {}, set()
    for name, value, end in _pairs(text, 0):
        if value is not None:
            found[name] = value
        if end is not None:
            whole.add(name)
    return found, frozenset(whole)


def _pairs(text: str, at: int) -> Iterator[tuple[str, Any, int | None]]:
    """Name, value and end of each member of the object that begins there; no end of a cut one."""
    while text[at : at + 1] in ("{", ","):
        try:
            name, colon = _DECODER.raw_decode(text, at + 1)
        except ValueError:
            return
        if not isinstance(name, str) or text[colon : colon + 1] != ":":
            return
        value, end = _value(text, colon + 1)
        yield name, value, end
        if end is None:
            return
        at = end


def _value(text: str, at: int) -> tuple[Any, int | None]:
    """A value and its end: no end where it is cut. A cut text or number is none."""
    if text.startswith("{", at):
        return _object(text, at)
    if text.startswith("[", at):
        return _array(text, at)
    try:
        value, end = _DECODER.raw_decode(text, at)
    except ValueError:
        return None, None
    # 12 may be the start of 1234.
    return (value, end) if text[end : end + 1] in (",", "}", "]") else (None, None)


def _object(text: str, at: int) -> tuple[Object, int | None]:
    made: Object = {}
    end: int | None = at + 1
    for name, value, after in _pairs(text, at):
        end = after
        if value is not None:
            made[name] = value
    return made, end + 1 if end is not None and text.startswith("}", end) else None


def _array(text: str, at: int) -> tuple[list[Any], int | None]:
    """Of a cut one the objects that are whole: a list of names that lacks some would mislead."""
    made: list[Any] = []
    if text.startswith("[]", at):
        return made, at + 2
    while text[at : at + 1] in ("[", ","):
        value, end = _value(text, at + 1)
        if end is None:
            break
        made.append(value)
        at = end
    if text.startswith("]", at):
        return made, at + 1
    return [each for each in made if isinstance(each, dict)], None
