"""One COCO annotation file, parsed into flat arrays or refused with the place of the mistake."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_trainer.errors import TrainerError, invalid_dataset
from dino_trainer.storage import named

_FORM = (
    'COCO is {"images": [{"id", "file_name", "width", "height"}], '
    '"annotations": [{"image_id", "category_id", "bbox"}], "categories": [{"id", "name"}]}.'
)


@dataclass(frozen=True, eq=False)
class CocoFile:
    """One file's images (i of them), categories and usable boxes (n, ordered by image).

    sizes: [i, 2] width, height in pixels. image_index: [n] the position of each box's image.
    boxes: [n, 4] x, y, width, height in pixels. labels: [n]. areas: [n]. crowd: [n].
    """

    image_ids: list[int]
    file_names: list[str]
    sizes: NDArray[np.int64]
    categories: dict[int, str]
    image_index: NDArray[np.int64]
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    areas: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    warnings: list[str]


def read_coco(path: Path) -> CocoFile:
    """Reads `path`. Raises InvalidDataset naming the entry that is wrong, InputNotFound."""
    document = read_json(path)
    images, annotations, categories = (
        _list(document, name, path) for name in ("images", "annotations", "categories")
    )
    ids, names, sizes = _read_images(images, path)
    classes = _read_categories(categories, path)
    table = _read_boxes(annotations, {n: i for i, n in enumerate(ids)}, classes, path)
    kept, warnings = _usable(table, sizes)
    order = np.argsort(kept[:, 0], kind="stable")
    kept = kept[order]
    return CocoFile(
        image_ids=ids,
        file_names=names,
        sizes=sizes,
        categories=classes,
        image_index=kept[:, 0].astype(np.int64),
        labels=kept[:, 1].astype(np.int64),
        boxes=kept[:, 2:6].copy(),
        areas=kept[:, 6].copy(),
        crowd=kept[:, 7].astype(np.bool_),
        warnings=warnings,
    )


def read_file_names(path: Path) -> list[str]:
    """The names of the images that an annotation file lists; raises as `read_coco`."""
    return _read_images(_list(read_json(path), "images", path), path)[1]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises InvalidDataset with line and column where it is not one."""
    with named(path):
        raw = path.read_bytes()
    try:
        document = json.loads(raw)
    except json.JSONDecodeError as error:
        raise invalid_dataset(
            f"{path} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.", _FORM
        ) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise invalid_dataset(f"{path} is not JSON text.", _FORM) from error
    if not isinstance(document, dict):
        kind = "a list (detections?)" if isinstance(document, list) else "a single value"
        raise invalid_dataset(f"{path} is not COCO: it holds {kind}.", _FORM)
    return document


def _list(document: dict[str, Any], name: str, path: Path) -> list[Any]:
    value = document.get(name)
    if not isinstance(value, list):
        what = "is not a list" if name in document else "is missing"
        raise invalid_dataset(f"{path} is not COCO: {name!r} {what}.", _FORM)
    if not value:
        raise invalid_dataset(f"{path}: {name!r} is empty.")
    return value


def _wrong(path: Path, where: str, item: Any, need: str) -> TrainerError:
    return invalid_dataset(
        f"{path}: {where} is {json.dumps(item)[:120]}, which lacks {need}.", _FORM
    )


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_size(value: Any) -> bool:
    # Some tools write 640.0.
    return isinstance(value, int | float) and value >= 1 and float(value).is_integer()


def _read_images(items: list[Any], path: Path) -> tuple[list[int], list[str], NDArray[np.int64]]:
    ids: dict[int, None] = {}
    names: list[str] = []
    sizes = np.empty((len(items), 2), np.int64)
    for i, item in enumerate(items):
        where = f"images[{i}]"
        if not isinstance(item, dict) or not _is_int(item.get("id")):
            raise _wrong(path, where, item, "an integer id")
        if not (_is_size(item.get("width")) and _is_size(item.get("height"))):
            raise _wrong(path, where, item, "width and height in pixels")
        names.append(_file_name(item, path, where))
        if item["id"] in ids:
            raise invalid_dataset(f"{path}: two images have the id {item['id']}.")
        ids[item["id"]] = None
        sizes[i] = item["width"], item["height"]
    return list(ids), names, sizes


def _file_name(item: dict[str, Any], path: Path, where: str) -> str:
    name = item.get("file_name")
    if not isinstance(name, str) or not name or "\0" in name:
        raise _wrong(path, where, item, "a file_name")
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts:
        raise invalid_dataset(
            f"{path}: {where} has the file_name {name!r}, which leaves the image folder.",
            "Write file names relative to the image folder.",
        )
    return str(parts)


def _read_categories(items: list[Any], path: Path) -> dict[int, str]:
    classes: dict[int, str] = {}
    for i, item in enumerate(items):
        where = f"categories[{i}]"
        if not isinstance(item, dict) or not _is_int(item.get("id")) or item["id"] < 0:
            raise _wrong(path, where, item, "an id of 0 or more")
        if not isinstance(item.get("name"), str):
            raise _wrong(path, where, item, "a name")
        if item["id"] in classes:
            raise invalid_dataset(f"{path}: two categories have the id {item['id']}.")
        classes[item["id"]] = item["name"]
    return classes


def _read_boxes(
    items: list[Any], positions: dict[int, int], classes: dict[int, str], path: Path
) -> NDArray[np.float64]:
    """[n, 8]: position of the image, label, x, y, width, height, area, crowd."""
    table = np.empty((len(items), 8), np.float64)
    for i, item in enumerate(items):
        where = f"annotations[{i}]"
        if not isinstance(item, dict):
            raise _wrong(path, where, item, "image_id, category_id and bbox")
        position = _lookup(positions, item, "image_id", path, where)
        _lookup(classes, item, "category_id", path, where)
        x, y, w, h = _box(item, path, where)
        area = item.get("area", w * h)
        if not isinstance(area, int | float):
            raise _wrong(path, where, item, "a number as area")
        table[i] = position, item["category_id"], x, y, w, h, area, bool(item.get("iscrowd"))
    return table


def _lookup(known: dict[int, Any], item: dict[str, Any], key: str, path: Path, where: str) -> Any:
    value = item.get(key)
    if not _is_int(value):
        raise _wrong(path, where, item, f"an integer {key}")
    if value not in known:
        kind = "image" if key == "image_id" else "category"
        raise invalid_dataset(
            f"{path}: {where} has {key} {value}, and the file lists no {kind} of that id."
        )
    return known[value]


def _box(item: dict[str, Any], path: Path, where: str) -> list[float]:
    box = item.get("bbox")
    # `type`, since a bool is an int to isinstance; a million boxes pass here.
    numbers = isinstance(box, list) and all(
        type(value) in (int, float) and math.isfinite(value) for value in box
    )
    if not numbers or len(box) != 4:
        raise _wrong(path, where, item, "a bbox of four numbers [x, y, width, height]")
    return box


def _usable(
    table: NDArray[np.float64], sizes: NDArray[np.int64]
) -> tuple[NDArray[np.float64], list[str]]:
    """Drops boxes that no detector can learn; says how many of which kind."""
    x, y, w, h = table[:, 2:6].T
    width, height = sizes[table[:, 0].astype(np.int64)].T
    flat = (w <= 0) | (h <= 0)
    outside = ~flat & ((x >= width) | (y >= height) | (x + w <= 0) | (y + h <= 0))
    over = ~flat & ~outside & ((x < -1) | (y < -1) | (x + w > width + 1) | (y + h > height + 1))
    empty = len(sizes) - len(np.unique(table[~flat & ~outside, 0]))
    findings = (
        (flat.sum(), "boxes without width or height dropped"),
        (outside.sum(), "boxes outside their image dropped"),
        (over.sum(), "boxes reach over the edge of their image"),
        (empty, "images have no box"),
    )
    return table[~flat & ~outside], [f"{count} {what}" for count, what in findings if count]
