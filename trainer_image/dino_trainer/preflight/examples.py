"""Pictures of images that findings are about, with the boxes that they are about."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dino_trainer.data.decode import open_image
from dino_trainer.errors import TrainerError
from dino_trainer.pages.gallery import Gallery, GalleryPicture
from dino_trainer.pages.marks import Mark, as_jpeg, corners_of, no_larger
from dino_trainer.preflight.findings import Finding
from dino_trainer.preflight.sources import PreflightSource, PreflightSplit

# As many images of each finding, and as many in all; of each finding no more than these are read.
MOST_PICTURED, _MOST, MOST_TRIED = 3, 60, 10
_MEANT, _OTHER = (230, 159, 0), (86, 180, 233)


class _Place(NamedTuple):
    """An image, and which boxes of its source a finding is about."""

    source: PreflightSource
    position: int
    boxes: NDArray[np.int64]


def example_pictures(
    findings: Sequence[Finding], splits: Sequence[PreflightSplit], stop: threading.Event
) -> Gallery:
    """The first images of each finding that can be read; those of errors come first.

    Once `stop` is set no more are added: the report has its findings without them.
    """
    sources = {source.name: source for split in splits for source in split.sources}
    shown: list[GalleryPicture] = []
    for finding in findings:
        own = 0
        for place in islice(_places(finding, sources), MOST_TRIED):
            if own == MOST_PICTURED or len(shown) == _MOST or stop.is_set():
                break
            if picture := _picture(finding, place):
                shown.append(picture)
                own += 1
    return Gallery(shown)


def _places(finding: Finding, sources: dict[str, PreflightSource]) -> Iterator[_Place]:
    seen: set[tuple[str, int]] = set()
    for places in finding.places:
        source, images = sources.get(places.at.source), places.those(places.at.images)
        if source is None or images is None:
            continue
        boxes = places.those(places.at.boxes)
        for position in images.astype(np.int64).tolist():
            if (source.name, position) not in seen:
                seen.add((source.name, position))
                meant = np.zeros(0, np.int64) if boxes is None else boxes[images == position]
                yield _Place(source, position, meant)


def _picture(finding: Finding, place: _Place) -> GalleryPicture | None:
    """None where it cannot be read, which is a finding already; of another size it is shown."""
    source, position, _ = place
    file = source.staged.images.find(source.entries.file_names[position])
    width, height = source.entries.sizes[position].tolist()
    if file is None:
        return None
    try:
        image = open_image(file).rgb((width, height))
    except TrainerError:
        return None
    name, rule = source.image(position), finding.rule
    jpeg = as_jpeg(no_larger(image, _marks(place)))
    return GalleryPicture(name, jpeg, [("", rule.id)], {rule.id})


def _marks(place: _Place) -> list[Mark]:
    """All boxes of the image by their class; last and in another colour those that are meant."""
    entries = place.source.entries
    all_boxes = np.flatnonzero(entries.images == place.position)
    others = np.setdiff1d(all_boxes, place.boxes)
    names = entries.categories
    return [
        Mark(
            corners_of(entries.boxes[at]),
            colour,
            names.get(label := int(entries.labels[at]), f"class {label}"),
        )
        for boxes, colour in ((others, _OTHER), (place.boxes, _MEANT))
        for at in boxes
        if np.isfinite(entries.boxes[at]).all()
    ]
