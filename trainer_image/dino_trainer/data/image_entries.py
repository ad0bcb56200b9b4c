"""Images of a COCO annotation file, one entry after another, with whatever is wrong with each."""

from __future__ import annotations

from collections.abc import Collection, Container
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_trainer.data.coco_json import is_int
from dino_trainer.data.flaws import Flaw, Note, WrittenEntry, lacking
from dino_trainer.data.image_store import ImageStore
from dino_trainer.data.measured import UnmeasuredImage, size_of, with_file_name
from dino_trainer.data.name_forms import can_be_a_name, leaves_folder

# Of an image, in pixels: nothing real is larger, and arrays hold it.
_LONGEST_SIDE = 2**31 - 1
# Between the slashes of a name: a path's text has none of them but at its start.
_ODD_PARTS = frozenset(("", "."))


def _is_size(value: Any) -> bool:
    # Some tools write 640.0.
    return isinstance(value, int | float) and 1 <= value <= _LONGEST_SIDE and value == int(value)


def read_images(
    items: list[Any],
    path: Path,
    note: Note,
    store: ImageStore | None,
    without: Collection[str] = (),
) -> tuple[list[int], list[str], NDArray[np.int64], set[int], list[int]]:
    """Ids, file names and sizes of usable entries, the ids of the others, measured positions.

    without: file names, as `plain_name` has them, whose entries are left out. Their files are not
    opened, and their ids are taken all the same.
    """
    ids: list[int] = []
    taken: set[int] = set()
    names: list[str] = []
    sizes = np.empty((len(items), 2), np.int64)
    skipped: set[int] = set()
    measured: list[int] = []
    for i, entry in enumerate(items):
        where, item = f"images[{i}]", with_file_name(entry, store)
        flaw = _image_flaw(item, taken, path, where)
        if without and flaw is None and plain_name(item["file_name"]) in without:
            taken.add(item["id"])
            skipped.add(item["id"])
            continue
        size = flaw or _size(item, path, where, store)
        if isinstance(size, Flaw):
            note(size)
            if isinstance(item, dict) and is_int(item.get("id")):
                skipped.add(item["id"])
            continue
        if item.get("width") is None:
            measured.append(len(names))
        sizes[len(names)] = size
        names.append(plain_name(item["file_name"]))
        ids.append(item["id"])
        taken.add(item["id"])
    return ids, names, sizes[: len(names)], skipped, measured


def is_unsized(item: Any) -> bool:
    """Whether an entry leaves its size to the file, as some tools do."""
    return isinstance(item, dict) and item.get("width") is None and item.get("height") is None


def plain_name(name: str) -> str:
    """Without ./ and //, as stores find it. Of a URI those are a part."""
    if "://" in name:
        return name
    # Most are written that way: making a path of each would take longer than all else.
    if _ODD_PARTS.isdisjoint(name.split("/")):
        return name
    return str(PurePosixPath(name))


def _size(
    item: dict[str, Any], path: Path, where: str, store: ImageStore | None
) -> tuple[int, int] | Flaw:
    """As the entry says it; of the file, where it says neither width nor height."""
    width, height = item.get("width"), item.get("height")
    if _is_size(width) and _is_size(height):
        return int(item["width"]), int(item["height"])
    if store and is_unsized(item):
        measured = size_of(plain_name(item["file_name"]), store)
        if not isinstance(measured, UnmeasuredImage):
            return measured
        what = (
            f"{path}: {where} lacks width and height, and {item['file_name']!r} cannot be measured."
        )
        return Flaw(measured.rule, item["file_name"], what, measured.why, name=item["file_name"])
    field = "height" if _is_size(width) else "width"
    need = "width and height in pixels"
    want = "a whole number of pixels"
    return lacking("image-size-absent", WrittenEntry(path, where, item), field, need, want)


def _image_flaw(item: Any, taken: Container[int], path: Path, where: str) -> Flaw | None:
    entry = WrittenEntry(path, where, item)
    if not isinstance(item, dict) or not is_int(item.get("id")):
        return lacking("image-entry", entry, "id", "an integer id", "an integer")
    name = item.get("file_name")
    if not isinstance(name, str) or not can_be_a_name(name):
        return lacking("image-entry", entry, "file_name", "a file_name", "a name")
    if leaves_folder(name):
        what = f"{path}: {where} has the file_name {name!r}, which leaves the image folder."
        return Flaw("image-name-unsafe", f"{where} ({name})", what, name=name)
    if item["id"] in taken:
        what = f"{path}: two images have the id {item['id']}."
        return Flaw("image-id-repeats", f"{where} (id {item['id']})", what, id=item["id"])
    return None
