"""What one annotation file says about its images, categories and boxes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dino_trainer.data.coco_file import form_of
from dino_trainer.preflight.findings import Findings
from dino_trainer.preflight.sources import Source, Split


def check_source(source: Source, findings: Findings) -> None:
    """All that one file shows without looking at another, or at an image."""
    _boxes(source, findings)
    if rule := form_of(source.entries):
        findings.add(rule, f"{source.name} {source.staged.annotations.name}")
    _names(source, findings)
    _images(source, findings)


def check_boxes_per_image(split: Split, queries: int, findings: Findings) -> None:
    """Images with more boxes than the model has queries; crowds are not searched for."""
    for source in split.sources:
        counts = boxes_per_image(source)
        findings.add_all(
            "boxes-over-queries",
            (f"{source.image(i)} ({counts[i]} boxes)" for i in np.flatnonzero(counts > queries)),
        )


def check_detections(split: Split, most: int, key: str, findings: Findings) -> None:
    """Images with more boxes of a class than are scored; `most`, by `key` of the spec."""
    for source in split.sources:
        kept = source.odd.usable & ~source.entries.crowd
        pairs = np.column_stack([source.entries.images[kept], source.entries.labels[kept]])
        pairs, counts = np.unique(pairs, axis=0, return_counts=True)
        findings.add_all(
            "boxes-over-detections",
            (
                f"{source.image(pairs[i, 0])} ({counts[i]} of category {pairs[i, 1]}, "
                f"{key} is {most})"
                for i in np.flatnonzero(counts > most)
            ),
        )


def boxes_per_image(source: Source) -> NDArray[np.int64]:
    """[i] usable boxes of each image, without crowds."""
    kept = source.odd.usable & ~source.entries.crowd
    return np.bincount(source.entries.images[kept], minlength=len(source.entries.file_names))


def _boxes(source: Source, findings: Findings) -> None:
    entries, odd = source.entries, source.odd
    for id, mask in (
        ("box-flat", odd.flat),
        ("box-outside", odd.outside),
        ("box-over-edge", odd.over),
        ("box-crowd", entries.crowd),
        ("box-ignored", entries.ignored),
        ("box-rotated", entries.rotated),
        ("box-area-absent", ~entries.area_given),
        ("box-area-odd", entries.area_odd),
        ("box-repeats", _repeats(source)),
    ):
        findings.add_places(id, np.flatnonzero(mask), source.box)


def _repeats(source: Source) -> NDArray[np.bool_]:
    """[n] True for the second and further of equal boxes with one category on one image."""
    entries = source.entries
    keys = np.column_stack([entries.images, entries.labels, entries.boxes])
    repeated = np.ones(len(keys), np.bool_)
    if len(keys):
        _, first = np.unique(keys, axis=0, return_index=True)
        repeated[first] = False
    return repeated & source.odd.usable


def _names(source: Source, findings: Findings) -> None:
    findings.add_all("file-name-repeats", (f"{source.name} {n}" for n in _twice(source)))
    names = Counter(source.entries.categories.values())
    for name, count in names.items():
        if count > 1 and name:
            ids = [str(id) for id, other in source.entries.categories.items() if other == name]
            findings.add("category-name-repeats", f"{source.name} {name!r}: {' and '.join(ids)}")


def _twice(source: Source) -> Iterator[str]:
    for name, count in Counter(source.entries.file_names).items():
        if count > 1:
            yield name


def _images(source: Source, findings: Findings) -> None:
    findings.add_places("image-size-read", source.entries.measured, source.image)
