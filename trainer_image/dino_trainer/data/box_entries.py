"""Boxes of a COCO annotation file, one entry after another, with whatever is wrong with each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_trainer.data.coco_json import is_int
from dino_trainer.data.flaws import Flaw, Note, WrittenEntry, lacking

# Of a box's numbers, in pixels: nothing real is larger.
_FARTHEST = 1e15


@dataclass(frozen=True)
class KnownIds:
    """What boxes may refer to, by id: positions of images, places in the list of categories.

    skipped: images that are listed and have a flaw of their own.
    """

    positions: dict[int, int]
    skipped: set[int]
    classes: dict[int, int]


def read_boxes(items: list[Any], known: KnownIds, path: Path, note: Note) -> NDArray[np.float64]:
    """Reads [n, 12]: row, places of image and category, x, y, width, height, area, four flags."""
    table = np.empty((len(items), 12), np.float64)
    count = 0
    for i, item in enumerate(items):
        flaw = _box_flaw(item, known, path, f"annotations[{i}]")
        if flaw is not None:
            note(flaw)
        elif item["image_id"] in known.positions:
            x, y, w, h = item["bbox"]
            given = item.get("area")
            area = w * h if given is None else given
            odd = given is not None and not 0 <= area <= _FARTHEST
            table[count] = (
                i, known.positions[item["image_id"]], known.classes[item["category_id"]],
                x, y, w, h, w * h if odd else area,
                _flag(item.get("iscrowd")), _flag(item.get("ignore")) or False,
                given is not None, odd,
            )  # fmt: skip
            count += 1
    return table[:count]


def _box_flaw(item: Any, known: KnownIds, path: Path, where: str) -> Flaw | None:
    def wrong(field: str, need: str, want: str) -> Flaw:
        return lacking("box-entry", WrittenEntry(path, where, item), field, need, want)

    if not isinstance(item, dict):
        return wrong("", "image_id, category_id and bbox", "")
    image, category = item.get("image_id"), item.get("category_id")
    if not is_int(image):
        return wrong("image_id", "an integer image_id", "an integer")
    if image not in known.positions and image not in known.skipped:
        what = f"{path}: {where} has image_id {image}, and the file lists no image of that id."
        return Flaw("box-image-unknown", f"{where} (image_id {image})", what)
    if not is_int(category):
        return wrong("category_id", "an integer category_id", "an integer")
    if category not in known.classes:
        what = (
            f"{path}: {where} has category_id {category}, and the file lists no category of that "
            "id."
        )
        return Flaw("box-category-unknown", f"{where} (category_id {category})", what)
    if not _is_box(item.get("bbox")):
        need = "a bbox of four numbers [x, y, width, height]"
        return wrong("bbox", need, "four numbers [x, y, width, height]")
    if not (item.get("area") is None or isinstance(item["area"], int | float)):
        return wrong("area", "a number as area", "a number")
    if _flag(item.get("iscrowd")) is None:
        need = "an iscrowd of 0 or 1"
        return lacking(
            "crowd-unreadable", WrittenEntry(path, where, item), "iscrowd", need, "0 or 1"
        )
    return None


def _flag(value: Any) -> bool | None:
    """What a flag says; a number may stand in a text, where "0" is no. None: it is no number."""
    if value is None or isinstance(value, int):
        return bool(value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return None if math.isnan(number) else bool(number)


def _is_box(box: Any) -> bool:
    # `type`, since a bool is an int to isinstance; a million boxes pass here.
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(type(value) in (int, float) and abs(value) <= _FARTHEST for value in box)
    )
