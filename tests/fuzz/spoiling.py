"""What becomes of good input: bytes that are changed, and values that are others.

A text that stands for depth is written as brackets: no program builds such a value to write it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

Draw = st.DrawFn
Path = tuple[Any, ...]
DEEP = "@deep-{}@"
DEPTHS = (30, 120, 400, 900, 985, 990, 20_000)
"""Levels: those that readers take, those near what Python takes, and those beyond it."""
_WORDS = (
    "",
    "null",
    "NaN",
    "-1",
    "../x",
    "/etc/passwd",
    "http://[x",
    "\ud800",
    "\0",
    "²",
    "a" * 300,
)
_NUMBERS = (0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, float("nan"))
_INTEGERS = (b"\0", b"\xff", b"\x7f", b"\x80", b"0", b"9")

texts = st.one_of(st.sampled_from(_WORDS), st.text(max_size=12))
leaves = st.one_of(st.none(), st.booleans(), st.sampled_from(_NUMBERS), st.integers(), texts)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=6,
)
deep = st.sampled_from([DEEP.format(each) for each in DEPTHS])


# ---- bytes --------------------------------------------------------------------------------------


@st.composite
def spoiled(draw: Draw, whole: bytes) -> bytes:
    """The bytes after one to four faults. Most headers are at the start, or at the end."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        draw(st.sampled_from(_FAULTS))(draw, content)
    return bytes(content)


def _place(draw: Draw, content: bytearray) -> int:
    last = len(content)
    near = min(last, 600)
    ranges = [st.integers(0, last), st.integers(0, near), st.integers(last - near, last)]
    return draw(st.one_of(ranges))


def _set(draw: Draw, content: bytearray) -> None:
    at = _place(draw, content)
    content[at : at + 1] = bytes([draw(st.integers(0, 255))])


def _overwrite(draw: Draw, content: bytearray) -> None:
    at, width = _place(draw, content), draw(st.sampled_from((2, 4, 8)))
    content[at : at + width] = draw(st.sampled_from(_INTEGERS)) * width


def _cut(draw: Draw, content: bytearray) -> None:
    del content[_place(draw, content) :]


def _remove(draw: Draw, content: bytearray) -> None:
    at = _place(draw, content)
    del content[at : at + draw(st.integers(1, 40))]


def _insert(draw: Draw, content: bytearray) -> None:
    at = _place(draw, content)
    content[at:at] = draw(st.binary(min_size=1, max_size=20))


def _repeat(draw: Draw, content: bytearray) -> None:
    at = _place(draw, content)
    content[at:at] = content[at : at + draw(st.integers(1, 600))] * draw(st.integers(1, 3))


_FAULTS: tuple[Callable[[Draw, bytearray], None], ...] = (
    _set, _set, _overwrite, _cut, _remove, _insert, _repeat,
)  # fmt: skip


# ---- values -------------------------------------------------------------------------------------


def places(value: Any, at: Path = ()) -> Iterator[Path]:
    """Where something stands in a value, the whole last."""
    if isinstance(value, dict | list):
        named = value.items() if isinstance(value, dict) else enumerate(value)
        for name, each in list(named):
            yield from places(each, (*at, name))
    yield at


@st.composite
def others(draw: Draw, document: Any, deeper: bool = True) -> Any:
    """The document with one to three of its values exchanged, taken out, doubled or wrapped.

    deeper: also with values that are nested very deeply.
    """
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.sampled_from(list(places(changed))))
        if not at:
            changed = draw(values) if draw(st.integers(0, 9)) == 0 else changed
            continue
        parent = changed
        for name in at[:-1]:
            parent = parent[name]
        _exchange(draw, parent, at[-1], deeper)
    return changed


def _exchange(draw: Draw, parent: Any, name: Any, deeper: bool) -> None:
    kinds = ["value", "value", "value", "gone", "wrapped", "twice"] + ["deep"] * deeper
    kind = draw(st.sampled_from(kinds))
    if kind == "gone":
        del parent[name]
    elif kind == "wrapped":
        parent[name] = draw(st.sampled_from(([parent[name]], {"a": parent[name]})))
    elif kind == "twice" and isinstance(parent, list):
        parent.insert(name, copy.deepcopy(parent[name]))
    elif kind == "deep":
        parent[name] = draw(deep)
    else:
        parent[name] = draw(values)


def as_json(document: Any) -> bytes:
    """JSON as people's programs write it, NaN and halves of surrogates included."""
    text = json.dumps(document)
    for depth in DEPTHS:
        text = text.replace(f'"{DEEP.format(depth)}"', "[" * depth + "]" * depth)
    return text.encode()
