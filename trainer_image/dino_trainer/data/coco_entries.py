"""The entries of a COCO annotation file, one by one, with whatever is wrong with each.

There is one reader and two ways to take a flaw: training stops at the first (`refuse`), the
preflight notes it, goes on without the entry, and so finds the rest.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dino_api.names import FailureReason
from dino_api.rules.data import data_rule
from dino_trainer.data.class_ids import beyond, in_words
from dino_trainer.data.flaws import Flaw, Note, lacking, refuse
from dino_trainer.data.image_store import ImageStore, Unseen
from dino_trainer.data.measured import Unmeasured, short_names, size_of
from dino_trainer.data.measured import named as named_by_address
from dino_trainer.data.rotated_boxes import is_rotated
from dino_trainer.errors import TrainerError
from dino_trainer.storage.files import named

__all__ = [
    "Entries",
    "Flaw",
    "NotCoco",
    "Note",
    "Outline",
    "read_entries",
    "read_outline",
    "refuse",
]
# Of an image, and of a box's numbers, in pixels: nothing real is larger, and arrays hold these.
_LONGEST_SIDE, _FARTHEST = 2**31 - 1, 1e15
FORM = data_rule("annotations-unreadable").remedy


class NotCoco(TrainerError):
    """A file without lists of images, annotations and categories to read entries from."""

    def __init__(self, message: str) -> None:
        super().__init__(FailureReason.INVALID_DATASET, message, FORM)

    def __reduce__(self) -> tuple[type[NotCoco], tuple[str]]:
        return type(self), (self.message,)


@dataclass(frozen=True, eq=False)
class Entries:
    """What could be read of one file: i images, n boxes of any kind, in the order of the file.

    sizes: [i, 2] width, height in pixels. rows: [n] each box's place in `annotations`.
    images: [n] the position of each box's image. labels: [n] category ids. boxes: [n, 4] x, y,
    width, height in pixels, as written. areas: [n], of the box where none is given.
    crowd, ignored, area_given, rotated: [n] bool. area_odd: [n] bool, an area that is no number of
    0 or more, so that that of the box is taken. measured: positions of images whose size is that
    of the file, since none is given.
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
    rotated: NDArray[np.bool_]
    measured: list[int]
    area_odd: NDArray[np.bool_]


def read_entries(path: Path, note: Note, store: ImageStore | None = None) -> Entries:
    """Reads `path`; hears of flaws through `note`. store: shows what entries of images leave out.

    Raises InvalidDataset where there is nothing to read entries from, and InputNotFound.
    """
    document = read_json(path)
    images, categories = (_list(document, name, path) for name in ("images", "categories"))
    classes = _read_categories(categories, path, note)
    if large := beyond(classes):
        said = in_words(large[0], classes[large[0]])
        note(Flaw("category-id-large", "", f"{path}: the largest category id is {said}."))
        store = Unseen()  # no image is opened for a file that is to be written anew
    ids, names, sizes, skipped, measured = _read_images(images, path, note, store)
    annotations = _annotations(document, path, note)
    known = _Known(
        {n: i for i, n in enumerate(ids)}, skipped, {n: i for i, n in enumerate(classes)}
    )
    table = _read_boxes(annotations, known, path, note)
    return Entries(
        image_ids=ids,
        file_names=names,
        sizes=sizes,
        categories=classes,
        rows=table[:, 0].astype(np.int64),
        images=table[:, 1].astype(np.int64),
        labels=_labels(classes)[table[:, 2].astype(np.int64)],
        boxes=table[:, 3:7],
        areas=table[:, 7],
        crowd=table[:, 8].astype(np.bool_),
        ignored=table[:, 9].astype(np.bool_),
        area_given=table[:, 10].astype(np.bool_),
        rotated=np.isin(table[:, 0], [i for i, item in enumerate(annotations) if is_rotated(item)]),
        measured=measured,
        area_odd=table[:, 11].astype(np.bool_),
    )


class Outline(NamedTuple):
    """What staging needs of an annotation file.

    file_names: of the images that it lists, without entries that have none. large: whether it has
    category ids that no model can have, so that it is of no use whatever its images are.
    """

    file_names: list[str]
    large: bool


def read_outline(path: Path) -> Outline:
    """Reads that much of `path`. Raises as `read_entries`."""
    document = read_json(path)
    images = _list(document, "images", path)
    known = [{**item, "width": 1, "height": 1} if _is_unsized(item) else item for item in images]
    names = [*_read_images(known, path, lambda _: None, None)[1], *short_names(images)]
    categories = document.get("categories")
    classes = _read_categories(categories if isinstance(categories, list) else [], path, _silent)
    return Outline(names, bool(beyond(classes)))


def _silent(_: Flaw) -> None:
    pass


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


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_size(value: Any) -> bool:
    # Some tools write 640.0.
    return isinstance(value, int | float) and 1 <= value <= _LONGEST_SIDE and value == int(value)


def _read_images(
    items: list[Any], path: Path, note: Note, store: ImageStore | None
) -> tuple[list[int], list[str], NDArray[np.int64], set[int], list[int]]:
    """Ids, file names and sizes of usable entries, the ids of the others, measured positions."""
    ids: dict[int, None] = {}
    names: list[str] = []
    sizes = np.empty((len(items), 2), np.int64)
    skipped: set[int] = set()
    measured: list[int] = []
    for i, entry in enumerate(items):
        where, item = f"images[{i}]", named_by_address(entry, store)
        size = _image_flaw(item, ids, path, where) or _size(item, path, where, store)
        if isinstance(size, Flaw):
            note(size)
            if isinstance(item, dict) and _is_int(item.get("id")):
                skipped.add(item["id"])
            continue
        if item.get("width") is None:
            measured.append(len(names))
        sizes[len(names)] = size
        names.append(_plain(item["file_name"]))
        ids[item["id"]] = None
    return list(ids), names, sizes[: len(names)], skipped, measured


def _is_unsized(item: Any) -> bool:
    return isinstance(item, dict) and item.get("width") is None and item.get("height") is None


def _plain(name: str) -> str:
    """Without ./ and //, as stores find it. Of a URI those are a part."""
    return name if "://" in name else str(PurePosixPath(name))


def _size(
    item: dict[str, Any], path: Path, where: str, store: ImageStore | None
) -> tuple[int, int] | Flaw:
    """As the entry says it; of the file, where it says neither width nor height."""
    width, height = item.get("width"), item.get("height")
    if _is_size(width) and _is_size(height):
        return int(item["width"]), int(item["height"])
    if store and _is_unsized(item):
        found = size_of(_plain(item["file_name"]), store)
        if not isinstance(found, Unmeasured):
            return found
        what = (
            f"{path}: {where} lacks width and height, and {item['file_name']!r} cannot be measured."
        )
        return Flaw(found.rule, item["file_name"], what, found.why, name=item["file_name"])
    field = "height" if _is_size(width) else "width"
    need = "width and height in pixels"
    return lacking("image-size-absent", path, where, item, field, need, "a whole number of pixels")


def _image_flaw(item: Any, ids: dict[int, None], path: Path, where: str) -> Flaw | None:
    if not isinstance(item, dict) or not _is_int(item.get("id")):
        return lacking("image-entry", path, where, item, "id", "an integer id", "an integer")
    name = item.get("file_name")
    if not isinstance(name, str) or not name or "\0" in name:
        return lacking("image-entry", path, where, item, "file_name", "a file_name", "a name")
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts:
        what = f"{path}: {where} has the file_name {name!r}, which leaves the image folder."
        return Flaw("image-name-unsafe", f"{where} ({name})", what, name=name)
    if item["id"] in ids:
        what = f"{path}: two images have the id {item['id']}."
        return Flaw("image-id-repeats", f"{where} (id {item['id']})", what, id=item["id"])
    return None


def _read_categories(items: list[Any], path: Path, note: Note) -> dict[int, str]:
    classes: dict[int, str] = {}
    for i, item in enumerate(items):
        where = f"categories[{i}]"
        if not isinstance(item, dict) or not _is_int(item.get("id")) or item["id"] < 0:
            want = "an integer of 0 or more"
            note(lacking("category-entry", path, where, item, "id", "an id of 0 or more", want))
            continue
        if not isinstance(item.get("name"), str):
            id = item["id"]
            note(lacking("category-entry", path, where, item, "name", "a name", "text", id))
            item = {**item, "name": ""}
        if item["id"] in classes:
            what = f"{path}: two categories have the id {item['id']}."
            where = f"{where} (id {item['id']})"
            note(Flaw("category-id-repeats", where, what, id=item["id"]))
            continue
        classes[item["id"]] = item["name"]
    return classes


@dataclass(frozen=True)
class _Known:
    """What boxes may refer to, by id: positions of images, places in the list of categories.

    skipped: images that are listed and have a flaw of their own.
    """

    positions: dict[int, int]
    skipped: set[int]
    classes: dict[int, int]


def _labels(classes: dict[int, str]) -> NDArray[np.int64]:
    """Ids by place. One that 64 bits cannot hold gets a stand-in: no model can have it anyway."""
    top = np.iinfo(np.int64).max
    return np.array([id if id < top else top - i for i, id in enumerate(classes)], np.int64)


def _read_boxes(items: list[Any], known: _Known, path: Path, note: Note) -> NDArray[np.float64]:
    """[n, 12]: row, places of image and category, x, y, width, height, area, four flags."""
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


def _box_flaw(item: Any, known: _Known, path: Path, where: str) -> Flaw | None:
    def wrong(field: str, need: str, want: str) -> Flaw:
        return lacking("box-entry", path, where, item, field, need, want)

    if not isinstance(item, dict):
        return wrong("", "image_id, category_id and bbox", "")
    image, category = item.get("image_id"), item.get("category_id")
    if not _is_int(image):
        return wrong("image_id", "an integer image_id", "an integer")
    if image not in known.positions and image not in known.skipped:
        what = f"{path}: {where} has image_id {image}, and the file lists no image of that id."
        return Flaw("box-image-unknown", f"{where} (image_id {image})", what)
    if not _is_int(category):
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
        return lacking("crowd-unreadable", path, where, item, "iscrowd", need, "0 or 1")
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
