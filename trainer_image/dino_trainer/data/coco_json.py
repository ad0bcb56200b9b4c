"""A COCO annotation file as JSON: three lists, or what it is instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dino_api.names import FailureReason
from dino_api.rules.data import data_rule
from dino_trainer.errors import TrainerError
from dino_trainer.first_bytes import COMPRESSED, HEAD, TEXTS, kind_of_bytes
from dino_trainer.storage.files import named

_LISTS = ("images", "annotations", "categories")
FORM = data_rule("annotations-unreadable").remedy


class NotCoco(TrainerError):
    """A file without lists of images, annotations and categories to read entries from."""

    def __init__(self, message: str) -> None:
        super().__init__(FailureReason.INVALID_DATASET, message, FORM)

    def __reduce__(self) -> tuple[type[NotCoco], tuple[str, ...]]:
        return type(self), (self.message,)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises InvalidDataset with line and column where it is not one."""
    with named(path):
        raw = path.read_bytes()
    try:
        document = json.loads(raw)
        repeated = _twice(raw)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            raise NotCoco(
                f"{path} is not JSON: a second text begins at line {error.lineno}, column "
                f"{error.colno} (JSON Lines?)."
            ) from error
        raise NotCoco(
            f"{path} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise NotCoco(f"{path} is not JSON text{_instead(raw)}.") from error
    except ValueError as error:  # Python reads no integer of more than 4,300 digits
        raise NotCoco(f"{path} has a number of too many digits to be read.") from error
    if repeated:
        raise NotCoco(f"{path} has {repeated!r} twice, of which readers keep the last one alone.")
    if not isinstance(document, dict):
        raise NotCoco(f"{path} is not COCO: it holds {_held(document)}.")
    return document


def _twice(raw: bytes) -> str:
    """The list that one object has twice; "" where none has."""
    if all(raw.count(f'"{name}"'.encode()) < 2 for name in _LISTS):
        return ""
    repeated: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        repeated.extend(name for name in _LISTS if names.count(name) > 1)

    json.loads(raw, object_pairs_hook=note)
    return repeated[0] if repeated else ""


def _instead(raw: bytes) -> str:
    """What the file is instead, where its bytes say it."""
    kind = kind_of_bytes(raw[:HEAD])
    if kind is not None and kind not in TEXTS:
        return f", but {kind.value}" if kind in COMPRESSED else f": it is {kind.value}"
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return f" in UTF-8: the byte 0x{raw[error.start]:02x} in line {line} is none of it"
    return ""


def _held(document: Any) -> str:
    if not isinstance(document, list):
        return "a single value"
    of_coco = bool(document) and isinstance(document[0], dict) and "images" in document[0]
    return "a list around the object" if of_coco else "a list (detections?)"


def list_in(document: dict[str, Any], name: str, path: Path) -> list[Any]:
    """One of the three lists; of them `annotations` alone may be empty. Raises InvalidDataset."""
    value = document.get(name)
    if not isinstance(value, list):
        what = "is not a list" if name in document else "is missing"
        raise NotCoco(f"{path} is not COCO: {name!r} {what}.")
    if not value and name != "annotations":
        raise NotCoco(f"{path}: {name!r} is empty.")
    return value


def is_int(value: Any) -> bool:
    """Whether it is an integer as JSON has them; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)
