"""Deformable sampling by torch's ``grid_sample``: on every device, and slower than our kernels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LevelShapes = tuple[tuple[int, int], ...]  # (height, width) of each level, on the host


def sample_by_grid(
    value: Tensor, shapes: LevelShapes, locations: Tensor, weights: Tensor
) -> Tensor:
    """Sample with torch's ``grid_sample``, level by level: runs on every device.

    The value is transposed once and the levels are joined once, which copies less than stacking
    them; the result is the same to the last bit.
    """
    b, _, d = value.shape
    q, m, _, p = locations.shape[1:5]
    planes = value.transpose(1, 2).reshape(b * m, d // m, -1)  # [b*m, e, s]
    grids = locations.permute(3, 0, 2, 1, 4, 5).reshape(-1, b * m, q, p, 2).unbind()
    levels = planes.split([h * w for h, w in shapes], dim=-1)
    sampled = [
        F.grid_sample(level.unflatten(-1, shape), grid, align_corners=False)
        for level, shape, grid in zip(levels, shapes, grids, strict=True)
    ]  # v tensors [b*m, e, q, p]
    weights = weights.transpose(1, 2).reshape(b * m, 1, q, -1)  # [b*m, 1, q, v*p]
    mixed = (torch.cat(sampled, dim=-1) * weights).sum(-1)  # [b*m, e, q]
    return mixed.view(b, d, q).transpose(1, 2)
