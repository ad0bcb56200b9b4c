"""What one annotation file says about its images, categories and boxes."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from dino_trainer.data.coco_file import form_of
from dino_trainer.data.scorable import LARGEST_AREA
from dino_trainer.data.thousandths import are_thousandths
from dino_trainer.preflight.findings import Findings
from dino_trainer.preflight.sources import PreflightSource, PreflightSplit


def check_source(source: PreflightSource, findings: Findings) -> None:
    """All that one file shows without looking at another, or at an image."""
    _boxes(source, findings)
    rule = form_of(source.entries)
    if rule or _thousandths(source):
        example = f"{source.name} {source.staged.annotations.name}"
        findings.add(rule or "boxes-thousandths", example, at=source.at)
    _names(source, findings)
    measured = source.entries.measured
    findings.add_places("image-size-read", measured, source.image, source.at_images(measured))


def _thousandths(source: PreflightSource) -> bool:
    entries = source.entries
    judged = ~source.odd.flat
    return are_thousandths(entries.boxes[judged], entries.sizes[entries.images[judged]])


def check_boxes_per_image(split: PreflightSplit, queries: int, findings: Findings) -> None:
    """Images with more boxes than the model has queries; crowds are not searched for."""
    for source in split.sources:
        counts = _per_image(source, source.objects & ~source.repeats)
        places = np.flatnonzero(counts > queries).tolist()
        examples = [f"{source.image(i)} ({counts[i]} boxes)" for i in places]
        findings.add_places("boxes-over-queries", examples, str, source.at_images(places))


def check_detections(split: PreflightSplit, most: int, key: str, findings: Findings) -> None:
    """Images with more boxes of a class than are scored; `most`, by `key` of the spec."""
    for source in split.sources:
        kept = source.objects & ~source.repeats
        pairs = np.column_stack([source.entries.images[kept], source.entries.labels[kept]])
        pairs, counts = np.unique(pairs, axis=0, return_counts=True)
        places = np.flatnonzero(counts > most)
        examples = [
            f"{source.image(pairs[i, 0])} ({counts[i]} of category {pairs[i, 1]}, {key} is {most})"
            for i in places
        ]
        findings.add_places(
            "boxes-over-detections", examples, str, source.at_images(pairs[places, 0])
        )


def check_select(split: PreflightSplit, select: int, findings: Findings) -> None:
    """Images with more boxes than the model gives detections of all classes."""
    for source in split.sources:
        counts = _per_image(source, source.objects & ~source.repeats)
        places = np.flatnonzero(counts > select).tolist()
        examples = [f"{source.image(i)} ({counts[i]} boxes, {select} detections)" for i in places]
        findings.add_places("boxes-over-select", examples, str, source.at_images(places))


def boxes_per_image(source: PreflightSource) -> NDArray[np.int64]:
    """Counts usable boxes of each image, without crowds."""
    return _per_image(source, source.objects)


def _per_image(source: PreflightSource, kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    images = source.entries.images[kept]
    return np.bincount(images, minlength=len(source.entries.file_names))


def _boxes(source: PreflightSource, findings: Findings) -> None:
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
        ("box-area-large", odd.usable & ~entries.crowd & (entries.areas > LARGEST_AREA)),
        ("box-repeats", source.repeats),
    ):
        places = np.flatnonzero(mask)
        findings.add_places(id, places.tolist(), source.box, source.at_boxes(places))


def _names(source: PreflightSource, findings: Findings) -> None:
    _twice(source, findings)
    ids: dict[str, list[str]] = defaultdict(list)
    for id, name in source.entries.categories.items():
        ids[name].append(str(id))
    repeated = ((name, own) for name, own in ids.items() if name and len(own) > 1)
    examples = (f"{source.name} {name!r}: {' and '.join(own)}" for name, own in repeated)
    findings.add_all("category-name-repeats", examples)


def _twice(source: PreflightSource, findings: Findings) -> None:
    names = source.entries.file_names
    twice = {name for name, count in Counter(names).items() if count > 1}
    positions: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(names if twice else ()):
        if name in twice:
            positions[name].append(place)
    # One finding of all: of one for each name, what follows from it would be asked of each.
    at = source.at_images([*chain.from_iterable(positions.values())])
    findings.add_all("file-name-repeats", (f"{source.name} {name}" for name in positions), at)
