"""True boxes of a batch, flat, with their counts on the host.

Shapes: b batch, t boxes of the whole batch, m boxes of the fullest image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor


def from_host(values: np.ndarray, device: torch.device) -> Tensor:
    """Copy a small host array to ``device`` without making the host wait for the device."""
    tensor = torch.from_numpy(values)
    if device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


@dataclass(frozen=True)
class PaddedTargets:
    """Targets as one row per image; rows are filled up with zeros where ``valid`` is False."""

    labels: Tensor  # int64[b, m]
    boxes: Tensor  # float32[b, m, 4]
    valid: Tensor  # bool[b, m]


@dataclass(frozen=True)
class Targets:
    """True boxes of a batch.

    ``counts`` lives on the host, so that no part of a training step has to ask the device how
    many boxes there are.
    """

    labels: Tensor  # int64[t], class ids
    boxes: Tensor  # float32[t, 4], cxcywh relative to the unpadded image, 0..1
    counts: tuple[int, ...]  # boxes of each image; sums to t

    def __post_init__(self) -> None:
        total = sum(self.counts)
        if self.labels.shape != (total,) or self.boxes.shape != (total, 4):
            raise ValueError(
                f"The counts {self.counts} announce {total} boxes, but labels have the shape "
                f"{tuple(self.labels.shape)} and boxes {tuple(self.boxes.shape)}. "
                "Give [t] labels and [t, 4] boxes for t = sum(counts)."
            )

    @classmethod
    def collate(cls, images: Sequence[tuple[Tensor, Tensor]]) -> Targets:
        """Join (labels int64[n], boxes float32[n, 4]) of every image of a batch."""
        return cls(
            labels=torch.cat([labels for labels, _ in images]),
            boxes=torch.cat([boxes.reshape(-1, 4) for _, boxes in images]),
            counts=tuple(len(labels) for labels, _ in images),
        )

    @property
    def total(self) -> int:
        """Boxes of the whole batch."""
        return sum(self.counts)

    @property
    def most(self) -> int:
        """Boxes of the fullest image."""
        return max(self.counts, default=0)

    def to(self, device: torch.device | str) -> Targets:
        """Return the same targets on ``device``."""
        return Targets(
            self.labels.to(device, non_blocking=True),
            self.boxes.to(device, non_blocking=True),
            self.counts,
        )

    def pin_memory(self) -> Targets:
        """Return the same targets in page-locked host memory (a DataLoader calls this)."""
        return Targets(self.labels.pin_memory(), self.boxes.pin_memory(), self.counts)

    @cached_property
    def padded(self) -> PaddedTargets:
        """The targets as [b, m] rows."""
        rows, valid = self._rows()
        index = from_host(rows, self.labels.device)
        keep = from_host(valid, self.labels.device)
        if self.total == 0:
            return PaddedTargets(index, self.boxes.new_zeros((*index.shape, 4)), keep)
        return PaddedTargets(
            labels=self.labels[index] * keep, boxes=self.boxes[index] * keep[..., None], valid=keep
        )

    def _rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Return, for each [b, m] place, the flat index of its box and whether it holds one."""
        slots = np.arange(self.most)[None]
        counts = np.asarray(self.counts, dtype=np.int64)[:, None]
        starts = np.asarray([0, *accumulate(self.counts)][:-1], dtype=np.int64)[:, None]
        valid = slots < counts
        return np.where(valid, starts + slots, 0), valid
