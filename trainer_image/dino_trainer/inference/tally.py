"""Counts over all images, for the report and the last line."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dino_trainer.inference.objects import Objects

BINS = 10


@dataclass
class Tally:
    """Grows with every image; as large as the model has classes.

    names: of the classes, by label. objects: how many of each class. images: in how many images.
    scores: how many in each tenth. empty: images without any. nameless: detections of classes
    without a name, which are left out. skipped: (name, why) of images that cannot be read.
    """

    names: tuple[str, ...]
    read: int = 0
    empty: int = 0
    nameless: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.objects = np.zeros(len(self.names), np.int64)
        self.images = np.zeros(len(self.names), np.int64)
        self.scores = np.zeros(BINS, np.int64)

    def add(self, objects: Objects) -> None:
        """One image that was read."""
        labels, counts = np.unique(objects.labels, return_counts=True)
        self.objects[labels] += counts
        self.images[labels] += 1
        tenths = np.minimum((objects.scores * BINS).astype(np.int64), BINS - 1)
        self.scores += np.bincount(tenths, minlength=BINS)
        self.read += 1
        self.empty += len(objects) == 0

    @property
    def total(self) -> int:
        """Objects in all."""
        return int(self.objects.sum())
