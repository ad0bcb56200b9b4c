"""What is wrong with one entry of an annotation file, in words that name the field."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from dino_api.reported import shortened, sound
from dino_api.rules.data import data_rule
from dino_trainer.errors import invalid_dataset

_SHOWN = 40
_KINDS = {dict: "an object", list: "a list", str: "text", bool: "a truth value"}


@dataclass(frozen=True)
class Flaw:
    """One entry that cannot be used. rule: id of its data rule. where: `images[3]`, with detail.

    fault: the field, and what is wrong with it. kind: the same in all entries with that fault, so
    that they are told as one; "" where each is told by itself. name: the file name, where that is
    what is wrong. id: that of the image or category, where another entry is taken for it.
    """

    rule: str
    where: str
    message: str
    fault: str = ""
    kind: str = ""
    name: str = ""
    id: int | None = None


Note = Callable[[Flaw], None]


def refuse(flaw: Flaw) -> NoReturn:
    """Raises InvalidDataset: what training does with any flaw."""
    raise invalid_dataset(flaw.message, data_rule(flaw.rule).remedy)


class WrittenEntry(NamedTuple):
    """An entry of a file as it is written. where: `annotations[3]`."""

    path: Path
    where: str
    item: Any


def lacking(rule: str, entry: WrittenEntry, field: str, need: str, want: str = "") -> Flaw:
    """An entry whose field is missing, or is not what is needed there. want: `need` in short."""
    fault, kind = _fault(entry.item, field, want or need)
    what = f"{entry.path}: {entry.where} is {_json(entry.item, 120)}, which lacks {need}: {fault}."
    return Flaw(rule, entry.where, what, fault, kind)


def _fault(item: Any, field: str, need: str) -> tuple[str, str]:
    """What is said of the first such entry, and what all such entries share."""
    if not isinstance(item, dict):
        return f"the entry is {_json(item, _SHOWN)}, not an object", "entry"
    if field not in item:
        return f"{field} is missing", f"{field} missing"
    value = item[field]
    kind = "null" if value is None else _KINDS.get(type(value), "a number")
    return f"{field} is {_json(value, _SHOWN)}, not {need}", f"{field} {kind}"


def _json(value: object, most: int) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:  # read at a depth that leaves no room to write it
        text = "something nested very deeply"
    return sound(shortened(text, most))
