"""`dino renumber`: annotation files with category ids from 1 without gaps, beside those given.

For ids that no model can have an output for (CRC32 of names, numbers of a database, negative ones,
texts). All files of one model are mapped at once, so that an id means the same in each of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dino_api.rules.data import data_rule
from dino_trainer.data.coco_json import NotCoco, read_json
from dino_trainer.errors import invalid_dataset, invalid_spec
from dino_trainer.storage.files import replacing

_SUFFIX = ".renumbered.json"
_SHOWN = 20
# An id as JSON writes it: 1 and "1" are two.
_Names = dict[str, str]


def run(paths: Sequence[Path]) -> int:
    """Writes NAME.renumbered.json beside each NAME.json, and says which id became which.

    Raises:
        TrainerError: InvalidSpec, InvalidDataset, InputNotFound: before anything is written.
    """
    documents = _read(paths)
    names: _Names = {}
    for path, document in documents.items():
        _collect(names, document, path)
    numbers = {old: new for new, old in enumerate(sorted(names, key=_order), start=1)}
    for path, document in documents.items():
        _number(document, numbers, path)
    for path, document in documents.items():
        target = path.with_name(path.name.removesuffix(".json") + _SUFFIX)
        with replacing(target) as aside:
            aside.write_text(_as_json(document), encoding="utf-8", errors="backslashreplace")
        print(target)
    for old, new in list(numbers.items())[:_SHOWN]:
        print(f"  category {old} ({names[old]}) is {new}")
    if len(numbers) > _SHOWN:
        print(f"  and {len(numbers) - _SHOWN} more")
    return 0


def _as_json(document: dict[str, object]) -> str:
    """One line. Half surrogates, as of names that are no UTF-8, are to be written as JSON's own
    escapes, which is what `backslashreplace` makes of them."""
    return json.dumps(document, ensure_ascii=False) + "\n"


def _read(paths: Sequence[Path]) -> dict[Path, dict[str, object]]:
    for path in paths:
        if str(path).startswith("s3:"):
            raise invalid_spec(
                f"{path} lies in an object store.",
                "Copy it here, renumber it, and upload what is written.",
            )
    return {path: read_json(path) for path in paths}


def _entries(document: dict[str, object], key: str, path: Path) -> list[Any]:
    entries = document.get(key)
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise NotCoco(f"{path} is not COCO: {key!r} is no list of objects.")
    return entries


def _collect(names: _Names, document: dict[str, object], path: Path) -> None:
    own: set[str] = set()
    for place, entry in enumerate(_entries(document, "categories", path)):
        where = f"{path}: categories[{place}]"
        if not isinstance(entry.get("id"), int | str) or isinstance(entry["id"], bool):
            raise invalid_dataset(f"{where} has no id that is a whole number or a text.")
        old, name = json.dumps(entry["id"]), str(entry.get("name", ""))
        if old in own:
            raise invalid_dataset(
                f"{where} has the id {old}, as one before it.",
                data_rule("category-id-repeats").remedy,
            )
        own.add(old)
        if names.setdefault(old, name) != name:
            raise invalid_dataset(
                f"{where}: category {old} is {name!r} here and {names[old]!r} in another file.",
                "Give the files one common list of categories.",
            )


def _number(document: dict[str, object], numbers: dict[str, int], path: Path) -> None:
    for entry in _entries(document, "categories", path):
        entry["id"] = numbers[json.dumps(entry["id"])]
    for place, entry in enumerate(_entries(document, "annotations", path)):
        old = json.dumps(entry.get("category_id"))
        if old not in numbers:
            raise invalid_dataset(
                f"{path}: annotations[{place}] has category_id {old}, and no file lists it.",
                "Correct it, or add the category.",
            )
        entry["category_id"] = numbers[old]


def _order(old: str) -> tuple[bool, int, str]:
    """Numbers by size, then texts."""
    id = json.loads(old)
    return isinstance(id, str), 0 if isinstance(id, str) else id, old
