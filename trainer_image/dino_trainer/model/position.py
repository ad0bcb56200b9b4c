"""Sine position encodings of image tokens and of query boxes.

Shapes: b batch, h x w one feature level, n queries, d hidden size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

QUERY_TEMPERATURE = 10_000


def image_positions(mask: Tensor, d: int, temperature_h: float, temperature_w: float) -> Tensor:
    """Encode where each token lies inside its image's unpadded part.

    ``mask`` bool[b, h, w] is True on padding. Returns float32[b, h * w, d]: d/2 numbers of the
    row, then d/2 of the column. Row and column run from 1/size to 1 (no half-pixel shift).
    """
    inside = ~mask
    rows = inside.cumsum(1, dtype=torch.float32)
    columns = inside.cumsum(2, dtype=torch.float32)
    rows = rows / (rows[:, -1:, :] + 1e-6) * (2 * math.pi)
    columns = columns / (columns[:, :, -1:] + 1e-6) * (2 * math.pi)
    encoded = (_waves(rows, d // 2, temperature_h), _waves(columns, d // 2, temperature_w))
    return torch.cat(encoded, dim=-1).flatten(1, 2)


def query_positions(boxes: Tensor, d: int) -> Tensor:
    """Encode query boxes float32[b, n, 4] (cxcywh, 0..1) as float32[b, n, 2 * d].

    The coordinates stand in the order y, x, w, h, each as d/2 numbers.
    """
    coordinates = torch.stack((boxes[..., 1], boxes[..., 0], boxes[..., 2], boxes[..., 3]), dim=-1)
    return _waves(coordinates * (2 * math.pi), d // 2, QUERY_TEMPERATURE).flatten(-2)


def _waves(angles: Tensor, size: int, temperature: float) -> Tensor:
    """Return [..., size]: sine and cosine in turn, of ``angles`` [...] at falling frequencies."""
    exponents = torch.arange(0, size, 2, dtype=torch.float32, device=angles.device) / size
    scaled = angles[..., None] / temperature**exponents
    return torch.stack((scaled.sin(), scaled.cos()), dim=-1).flatten(-2)
