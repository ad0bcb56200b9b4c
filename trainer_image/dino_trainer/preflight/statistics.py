"""Numbers about the data for the report: classes, box sizes, boxes per image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_trainer.preflight.annotations import boxes_per_image
from dino_trainer.preflight.sources import PreflightSplit
from dino_trainer.preflight.splits import class_counts

# Square roots of areas in pixels. 32 and 96 are where COCO's small, medium and large part.
SIZE_EDGES = (0, 8, 16, 32, 64, 96, 192, 384, 768)
COUNT_EDGES = (0, 1, 2, 3, 5, 10, 20, 50, 100, 200)


def dataset_statistics(splits: Sequence[PreflightSplit]) -> dict[str, Any]:
    """Counts {"classes": […], "splits": {name: {"images", "boxes", "boxSizes", …}}}."""
    return {"classes": _classes(splits), "splits": {split.name: _split(split) for split in splits}}


def skipped_images(splits: Sequence[PreflightSplit]) -> list[dict[str, str]]:
    """Each image that is left out: [{"source", "image", "why"}, …]."""
    return [
        {"source": source.name, "image": image.name, "why": image.why}
        for split in splits
        for source in split.sources
        for image in (source.skips.images if source.skips else ())
    ]


def _classes(splits: Sequence[PreflightSplit]) -> list[dict[str, Any]]:
    names: dict[int, str] = {}
    for split in splits:
        names = {**split.categories, **names}
    counts = {split.name: class_counts(split) for split in splits}
    return [
        {"id": id, "name": name, **{split: count[id] for split, count in counts.items()}}
        for id, name in sorted(names.items())
    ]


def _split(split: PreflightSplit) -> dict[str, Any]:
    sides = [np.sqrt(np.prod(s.entries.boxes[s.odd.usable, 2:], axis=1)) for s in split.sources]
    counts = [boxes_per_image(source) for source in split.sources]
    return {
        "images": split.images,
        "boxes": split.boxes,
        "boxSizes": _histogram(sides, SIZE_EDGES),
        "boxesPerImage": _histogram(counts, COUNT_EDGES),
        "mostBoxesInOneImage": max((int(c.max()) for c in counts if len(c)), default=0),
    }


def _histogram(parts: list[NDArray[Any]], edges: tuple[int, ...]) -> list[dict[str, Any]]:
    """[{"from", "below" (None: no end), "count"}, …]: values from one edge to the next."""
    values = np.concatenate(parts) if parts else np.zeros(0)
    bins = np.searchsorted(edges, values, side="right") - 1
    counts = np.bincount(bins.astype(np.int64), minlength=len(edges)).tolist()
    ends = [*edges[1:], None]
    return [
        {"from": low, "below": high, "count": count}
        for low, high, count in zip(edges, ends, counts, strict=True)
    ]
