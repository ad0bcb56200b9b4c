"""A COCO annotation file as JSON: three lists, or what it is instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dino_api.names import FailureReason
from dino_api.rules.data import data_rule
from dino_trainer.errors import TrainerError
from dino_trainer.storage.files import named

FORM = data_rule("annotations-unreadable").remedy


class NotCoco(TrainerError):
    """A file without lists of images, annotations and categories to read entries from."""

    def __init__(self, message: str) -> None:
        super().__init__(FailureReason.INVALID_DATASET, message, FORM)

    def __reduce__(self) -> tuple[type[NotCoco], tuple[str]]:
        return type(self), (self.message,)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises InvalidDataset with line and column where it is not one."""
    with named(path):
        raw = path.read_bytes()
    try:
        document = json.loads(raw)
    except json.JSONDecodeError as error:
        raise NotCoco(
            f"{path} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise NotCoco(f"{path} is not JSON text.") from error
    except ValueError as error:  # Python reads no integer of more than 4,300 digits
        raise NotCoco(f"{path} has a number of too many digits to be read.") from error
    if not isinstance(document, dict):
        kind = "a list (detections?)" if isinstance(document, list) else "a single value"
        raise NotCoco(f"{path} is not COCO: it holds {kind}.")
    return document


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
