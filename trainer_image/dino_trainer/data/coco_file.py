"""One COCO annotation file, parsed into flat arrays or refused with the place of the mistake."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dino_api.rules.data import data_rule
from dino_trainer.data.box_form import wrong_form
from dino_trainer.data.coco_entries import Entries, Outline, read_entries, read_outline
from dino_trainer.data.flaws import Flaw, refuse
from dino_trainer.data.image_store import ImageStore

__all__ = ["CocoFile", "Oddities", "Outline", "odd_boxes", "read_coco", "read_outline"]


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


@dataclass(frozen=True, eq=False)
class Oddities:
    """Boxes that no detector can learn, and boxes that it learns cut off.

    flat: [n] without width or height. outside: [n] wholly outside their image. over: [n] more than
    a pixel over its edge. usable: [n] neither flat nor outside. empty: [i] images without a usable
    box.
    """

    flat: NDArray[np.bool_]
    outside: NDArray[np.bool_]
    over: NDArray[np.bool_]
    usable: NDArray[np.bool_]
    empty: NDArray[np.bool_]


def read_coco(
    path: Path, store: ImageStore | None = None, without: Collection[str] = ()
) -> CocoFile:
    """Reads `path`. store, without: as of `read_entries`.

    Raises InvalidDataset naming the entry that is wrong, InputNotFound.
    """
    entries = read_entries(path, refuse, store, without)
    odd = odd_boxes(entries)
    refuse_wrong_form(entries, path)
    kept = np.flatnonzero(odd.usable)
    kept = kept[np.argsort(entries.images[kept], kind="stable")]
    return CocoFile(
        image_ids=entries.image_ids,
        file_names=entries.file_names,
        sizes=entries.sizes,
        categories=entries.categories,
        image_index=entries.images[kept],
        labels=entries.labels[kept],
        boxes=entries.boxes[kept],
        areas=entries.areas[kept],
        crowd=entries.crowd[kept],
        warnings=_sentences(entries, odd),
    )


def refuse_wrong_form(entries: Entries, path: Path) -> None:
    """Raises InvalidDataset for boxes that no detector can be trained with."""
    if rule := form_of(entries):
        refuse(Flaw(rule, "", f"{path}: {data_rule(rule).title}."))


def form_of(entries: Entries) -> str | None:
    """The rule that the boxes' form breaks, if it does; boxes without a size are not judged."""
    judged = (entries.boxes[:, 2:] > 0).all(axis=1)
    areas = np.where(entries.area_given & ~entries.area_odd, entries.areas, np.nan)
    sizes = entries.sizes[entries.images]
    return wrong_form(entries.boxes[judged], sizes[judged], areas[judged])


def odd_boxes(entries: Entries) -> Oddities:
    """Sorts the boxes by what can be done with them."""
    x, y, w, h = entries.boxes.T
    width, height = entries.sizes[entries.images].T
    flat = (w <= 0) | (h <= 0)
    outside = ~flat & ((x >= width) | (y >= height) | (x + w <= 0) | (y + h <= 0))
    over = ~flat & ~outside & ((x < -1) | (y < -1) | (x + w > width + 1) | (y + h > height + 1))
    usable = ~flat & ~outside
    empty = np.ones(len(entries.sizes), np.bool_)
    empty[entries.images[usable]] = False
    return Oddities(flat, outside, over, usable, empty)


def _sentences(entries: Entries, odd: Oddities) -> list[str]:
    findings = (
        (odd.flat, "boxes without width or height dropped"),
        (odd.outside, "boxes outside their image dropped"),
        (odd.over, "boxes reach over the edge of their image"),
        (odd.empty, "images have no box"),
        (entries.area_odd, "areas are no number of 0 or more: width x height is taken"),
    )
    return [f"{mask.sum()} {what}" for mask, what in findings if mask.any()]
