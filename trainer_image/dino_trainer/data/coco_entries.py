"""The entries of a COCO annotation file, one by one, with whatever is wrong with each.

There is one reader and two ways to take a flaw: training stops at the first (`refuse`), the
preflight notes it, goes on without the entry, and so finds the rest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from dino_api.names import FailureReason
from dino_api.rules.data import data_rule
from dino_trainer.errors import TrainerError, invalid_dataset
from dino_trainer.storage import named

FORM = data_rule("annotations-unreadable").remedy


@dataclass(frozen=True)
class Flaw:
    """One entry that cannot be used. rule: id of its data rule. where: `images[3]`, with detail."""

    rule: str
    where: str
    message: str


Note = Callable[[Flaw], None]


class NotCoco(TrainerError):
    """A file without lists of images, annotations and categories to read entries from."""

    def __init__(self, message: str) -> None:
        super().__init__(FailureReason.INVALID_DATASET, message, FORM)

    def __reduce__(self) -> tuple[type[NotCoco], tuple[str]]:
        return type(self), (self.message,)


def refuse(flaw: Flaw) -> NoReturn:
    """Raises InvalidDataset: what training does with any flaw."""
    raise invalid_dataset(flaw.message, data_rule(flaw.rule).remedy)


@dataclass(frozen=True, eq=False)
class Entries:
    """What could be read of one file: i images, n boxes of any kind, in the order of the file.

    sizes: [i, 2] width, height in pixels. rows: [n] each box's place in `annotations`.
    images: [n] the position of each box's image. labels: [n] category ids. boxes: [n, 4] x, y,
    width, height in pixels, as written. areas: [n], of the box where none is given.
    crowd, ignored, area_given: [n] bool.
    """

    image_ids: list[int]
    file_names: list[str]
    sizes: NDArray[np.int64]
    categories: dict[int, str]
    rows: NDArray[np.int64]
    images: NDArray[np.int64]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float64]
    areas: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    area_given: NDArray[np.bool_]


def read_entries(path: Path, note: Note) -> Entries:
    """Reads `path`; hears of flaws through `note`.

    Raises InvalidDataset where there is nothing to read entries from, and InputNotFound.
    """
    document = read_json(path)
    images, categories = (_list(document, name, path) for name in ("images", "categories"))
    ids, names, sizes, skipped = _read_images(images, path, note)
    classes = _read_categories(categories, path, note)
    annotations = _annotations(document, path, note)
    known = _Known({n: i for i, n in enumerate(ids)}, skipped, classes)
    table = _read_boxes(annotations, known, path, note)
    return Entries(
        image_ids=ids,
        file_names=names,
        sizes=sizes,
        categories=classes,
        rows=table[:, 0].astype(np.int64),
        images=table[:, 1].astype(np.int64),
        labels=table[:, 2].astype(np.int64),
        boxes=table[:, 3:7],
        areas=table[:, 7],
        crowd=table[:, 8].astype(np.bool_),
        ignored=table[:, 9].astype(np.bool_),
        area_given=table[:, 10].astype(np.bool_),
    )


def read_file_names(path: Path) -> list[str]:
    """The names of the images that an annotation file lists, without entries that have none.

    Raises as `read_entries`.
    """
    images = _list(read_json(path), "images", path)
    return _read_images(images, path, lambda _: None)[1]


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
    if not isinstance(document, dict):
        kind = "a list (detections?)" if isinstance(document, list) else "a single value"
        raise NotCoco(f"{path} is not COCO: it holds {kind}.")
    return document


def _list(document: dict[str, Any], name: str, path: Path) -> list[Any]:
    value = document.get(name)
    if not isinstance(value, list):
        what = "is not a list" if name in document else "is missing"
        raise NotCoco(f"{path} is not COCO: {name!r} {what}.")
    if not value and name != "annotations":
        raise NotCoco(f"{path}: {name!r} is empty.")
    return value


def _annotations(document: dict[str, Any], path: Path, note: Note) -> list[Any]:
    value = _list(document, "annotations", path)
    if not value:
        note(Flaw("no-boxes", path.name, f"{path}: 'annotations' is empty."))
    return value


def _lacking(rule: str, path: Path, where: str, item: Any, need: str) -> Flaw:
    shown = json.dumps(item)[:120]
    return Flaw(rule, where, f"{path}: {where} is {shown}, which lacks {need}.")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_size(value: Any) -> bool:
    # Some tools write 640.0.
    return isinstance(value, int | float) and value >= 1 and float(value).is_integer()


def _read_images(
    items: list[Any], path: Path, note: Note
) -> tuple[list[int], list[str], NDArray[np.int64], set[int]]:
    """Ids, file names and sizes of usable entries, and the ids of the others."""
    ids: dict[int, None] = {}
    names: list[str] = []
    sizes = np.empty((len(items), 2), np.int64)
    skipped: set[int] = set()
    for i, item in enumerate(items):
        flaw = _image_flaw(item, ids, path, f"images[{i}]")
        if flaw is not None:
            note(flaw)
            if isinstance(item, dict) and _is_int(item.get("id")):
                skipped.add(item["id"])
            continue
        sizes[len(names)] = item["width"], item["height"]
        names.append(str(PurePosixPath(item["file_name"])))
        ids[item["id"]] = None
    return list(ids), names, sizes[: len(names)], skipped


def _image_flaw(item: Any, ids: dict[int, None], path: Path, where: str) -> Flaw | None:
    if not isinstance(item, dict) or not _is_int(item.get("id")):
        return _lacking("image-entry", path, where, item, "an integer id")
    if not (_is_size(item.get("width")) and _is_size(item.get("height"))):
        return _lacking("image-size-absent", path, where, item, "width and height in pixels")
    name = item.get("file_name")
    if not isinstance(name, str) or not name or "\0" in name:
        return _lacking("image-entry", path, where, item, "a file_name")
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts:
        what = f"{path}: {where} has the file_name {name!r}, which leaves the image folder."
        return Flaw("image-name-unsafe", f"{where} ({name})", what)
    if item["id"] in ids:
        what = f"{path}: two images have the id {item['id']}."
        return Flaw("image-id-repeats", f"{where} (id {item['id']})", what)
    return None


def _read_categories(items: list[Any], path: Path, note: Note) -> dict[int, str]:
    classes: dict[int, str] = {}
    for i, item in enumerate(items):
        where = f"categories[{i}]"
        if not isinstance(item, dict) or not _is_int(item.get("id")) or item["id"] < 0:
            note(_lacking("category-entry", path, where, item, "an id of 0 or more"))
            continue
        if not isinstance(item.get("name"), str):
            note(_lacking("category-entry", path, where, item, "a name"))
            item = {**item, "name": ""}
        if item["id"] in classes:
            what = f"{path}: two categories have the id {item['id']}."
            note(Flaw("category-id-repeats", f"{where} (id {item['id']})", what))
            continue
        classes[item["id"]] = item["name"]
    return classes


@dataclass(frozen=True)
class _Known:
    """What boxes may refer to. skipped: images that are listed and have a flaw of their own."""

    positions: dict[int, int]
    skipped: set[int]
    classes: dict[int, str]


def _read_boxes(items: list[Any], known: _Known, path: Path, note: Note) -> NDArray[np.float64]:
    """[n, 11]: row, position of the image, label, x, y, width, height, area, three flags."""
    table = np.empty((len(items), 11), np.float64)
    count = 0
    for i, item in enumerate(items):
        flaw = _box_flaw(item, known, path, f"annotations[{i}]")
        if flaw is not None:
            note(flaw)
        elif item["image_id"] in known.positions:
            x, y, w, h = item["bbox"]
            table[count] = (
                i, known.positions[item["image_id"]], item["category_id"],
                x, y, w, h, item.get("area", w * h),
                bool(item.get("iscrowd")), bool(item.get("ignore")), "area" in item,
            )  # fmt: skip
            count += 1
    return table[:count]


def _box_flaw(item: Any, known: _Known, path: Path, where: str) -> Flaw | None:
    if not isinstance(item, dict):
        need = "image_id, category_id and bbox"
        return _lacking("box-entry", path, where, item, need)
    image, category = item.get("image_id"), item.get("category_id")
    if not _is_int(image):
        return _lacking("box-entry", path, where, item, "an integer image_id")
    if image not in known.positions and image not in known.skipped:
        what = f"{path}: {where} has image_id {image}, and the file lists no image of that id."
        return Flaw("box-image-unknown", f"{where} (image_id {image})", what)
    if not _is_int(category):
        return _lacking("box-entry", path, where, item, "an integer category_id")
    if category not in known.classes:
        what = (
            f"{path}: {where} has category_id {category}, and the file lists no category of that "
            "id."
        )
        return Flaw("box-category-unknown", f"{where} (category_id {category})", what)
    if not _is_box(item.get("bbox")):
        need = "a bbox of four numbers [x, y, width, height]"
        return _lacking("box-entry", path, where, item, need)
    if not isinstance(item.get("area", 0), int | float):
        return _lacking("box-entry", path, where, item, "a number as area")
    return None


def _is_box(box: Any) -> bool:
    # `type`, since a bool is an int to isinstance; a million boxes pass here.
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(type(value) in (int, float) and math.isfinite(value) for value in box)
    )
