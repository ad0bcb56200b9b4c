"""The entries of a COCO annotation file, one by one, with whatever is wrong with each.

There is one reader and two ways to take a flaw: training stops at the first (`refuse`), the
preflight notes it, goes on without the entry, and so finds the rest.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dino_api.reported import sound
from dino_trainer.data.box_entries import KnownIds, read_boxes
from dino_trainer.data.class_ids import beyond, class_in_words
from dino_trainer.data.coco_json import is_int, list_in, read_json
from dino_trainer.data.flaws import Flaw, Note, WrittenEntry, lacking
from dino_trainer.data.image_entries import is_unsized, read_images
from dino_trainer.data.image_store import ImageStore, UnseenImages
from dino_trainer.data.measured import short_names
from dino_trainer.data.rotated_boxes import is_rotated
from dino_trainer.data.shifted_ids import shifted


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


def read_entries(
    path: Path, note: Note, store: ImageStore | None = None, without: Collection[str] = ()
) -> Entries:
    """Reads `path`; hears of flaws through `note`. store: shows what entries of images leave out.

    without: file names of images that are left out with their boxes, as of `read_images`.

    Raises InvalidDataset where there is nothing to read entries from, and InputNotFound.
    """
    return entries_of(read_json(path), path, note, store, without)


def entries_of(
    document: dict[str, Any],
    path: Path,
    note: Note,
    store: ImageStore | None = None,
    without: Collection[str] = (),
) -> Entries:
    """The same of a document that was read. path: what flaws call it."""
    images, categories = (list_in(document, name, path) for name in ("images", "categories"))
    classes = _read_categories(categories, path, note)
    if large := beyond(classes):
        largest = class_in_words(large[0], classes[large[0]])
        note(Flaw("category-id-large", "", f"{path}: the largest category id is {largest}."))
        store = UnseenImages()  # no image is opened for a file that is to be written anew
    ids, names, sizes, skipped, measured = read_images(images, path, note, store, without)
    annotations = _annotations(document, path, note)
    if flaw := shifted(classes, annotations, str(path)):
        note(flaw)
    known = KnownIds(
        {n: i for i, n in enumerate(ids)}, skipped, {n: i for i, n in enumerate(classes)}
    )
    table = read_boxes(annotations, known, path, note)
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
    return outline_of(read_json(path), path)


def outline_of(document: dict[str, Any], path: Path) -> Outline:
    """The same of a document that was read. Raises InvalidDataset as `read_entries`."""
    images = list_in(document, "images", path)
    known = [{**item, "width": 1, "height": 1} if is_unsized(item) else item for item in images]
    names = [*read_images(known, path, lambda _: None, None)[1], *short_names(images)]
    categories = document.get("categories")
    classes = _read_categories(categories if isinstance(categories, list) else [], path, _silent)
    return Outline(names, bool(beyond(classes)))


def _silent(_: Flaw) -> None:
    pass


def _annotations(document: dict[str, Any], path: Path, note: Note) -> list[Any]:
    value = list_in(document, "annotations", path)
    if not value:
        note(Flaw("no-boxes", path.name, f"{path}: 'annotations' is empty."))
    return value


def _read_categories(items: list[Any], path: Path, note: Note) -> dict[int, str]:
    classes: dict[int, str] = {}
    for i, item in enumerate(items):
        where = f"categories[{i}]"
        if not isinstance(item, dict) or not is_int(item.get("id")) or item["id"] < 0:
            want = "an integer of 0 or more"
            entry = WrittenEntry(path, where, item)
            note(lacking("category-entry", entry, "id", "an id of 0 or more", want))
            continue
        if not isinstance(item.get("name"), str):
            flaw = lacking(
                "category-entry", WrittenEntry(path, where, item), "name", "a name", "text"
            )
            note(replace(flaw, id=item["id"]))
            item = {**item, "name": ""}
        if item["id"] in classes:
            what = f"{path}: two categories have the id {item['id']}."
            where = f"{where} (id {item['id']})"
            note(Flaw("category-id-repeats", where, what, id=item["id"]))
            continue
        classes[item["id"]] = sound(item["name"])  # reports and files of UTF-8 are to hold it
    return classes


def _labels(classes: dict[int, str]) -> NDArray[np.int64]:
    """Ids by place. One that 64 bits cannot hold gets a stand-in: no model can have it anyway."""
    top = np.iinfo(np.int64).max
    return np.array([id if id < top else top - i for i, id in enumerate(classes)], np.int64)
