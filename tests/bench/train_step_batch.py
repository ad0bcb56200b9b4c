"""The batch on which both sides of the training benches train."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

CLASSES = 91
BOXES = 7  # per image: COCO's mean


class Size(NamedTuple):
    """A batch of ``batch`` images of height x width; its first image fills it."""

    batch: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.batch}x{self.height}x{self.width}"


def padded(images: Sequence[Tensor], size: Size) -> tuple[Tensor, Tensor]:
    """Return the images as one batch float32[b, 3, h, w], and bool[b, h, w], True on padding."""
    pixels = torch.zeros(size.batch, 3, size.height, size.width)
    mask = torch.ones(size.batch, size.height, size.width, dtype=torch.bool)
    for index, image in enumerate(images):
        pixels[index, :, :, : image.shape[2]] = image
        mask[index, :, : image.shape[2]] = False
    return pixels, mask


def make_batch(size: Size) -> tuple[list[Tensor], list[tuple[Tensor, Tensor]]]:
    """Return normalised images float32[3, h, w], and (labels, boxes cxcywh 0..1) of each.

    Every image but the first is an eighth smaller on one side, so that batches have padding.
    """
    drawn = torch.Generator().manual_seed(0)
    images, targets = [], []
    for index in range(size.batch):
        width = size.width if index == 0 else size.width * 7 // 8
        images.append(torch.randn(3, size.height, width, generator=drawn))
        centres = 0.3 + 0.4 * torch.rand(BOXES, 2, generator=drawn)
        sides = 0.1 + 0.3 * torch.rand(BOXES, 2, generator=drawn)
        labels = torch.randint(1, CLASSES, (BOXES,), generator=drawn)
        targets.append((labels, torch.cat((centres, sides), dim=1)))
    return images, targets
