"""Deformable sampling by gathers and matrix products, for exported models.

``GridSample`` is what runtimes get wrong: TensorRT's is off on graphs like ours (TensorRT #4813,
#4646), and ONNX Runtime's is slow. Here the graph holds nothing but arithmetic, ``Gather`` and
``MatMul``, which all of them have in common.

Shapes: b batch, s tokens of all levels, t the same with a border around each level, q queries,
m heads, e = d / m, v levels, p points per level and head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dino_trainer.model.sampling_grid import LevelShapes


def sample_by_gather(
    value: Tensor, shapes: LevelShapes, locations: Tensor, weights: Tensor
) -> Tensor:
    """Sample by reading the four neighbours of all samples; see ``ms_deform_attn``.

    Indices are computed in float32, exact up to 2**24: t * m must stay below.
    """
    b, q, m, _, p = locations.shape[:5]
    rows = _bordered(value, shapes, m)  # [b * t * m, e]
    x, y = locations.flatten(3, 4).unbind(-1)  # [b, q, m, v * p]
    widths = _per_sample([w for _, w in shapes], p, value)
    heights = _per_sample([h for h, _ in shapes], p, value)
    left, right_share = _cell(x, widths)
    top, lower_share = _cell(y, heights)
    index = (top * ((widths + 2) * m) + left * m + _starts(shapes, m, p, value)).int()
    index = index + _images(b, rows.shape[0] // b, value.device)
    below = ((widths + 2) * m).int()
    upper, lower = weights * (1 - lower_share), weights * lower_share
    left_share = 1 - right_share
    # One neighbour after another: of all four at once the samples would take four times the memory.
    return (
        _mix(rows, index, upper * left_share)
        + _mix(rows, index + m, upper * right_share)
        + _mix(rows, index + below, lower * left_share)
        + _mix(rows, index + (below + m), lower * right_share)
    ).view(b, q, value.shape[2])


def _mix(rows: Tensor, index: Tensor, shares: Tensor) -> Tensor:
    """Return float[b * q * m, 1, e]: the sum of ``rows`` at ``index`` [b, q, m, n], by shares."""
    n = index.shape[3]
    found = rows.index_select(0, index.flatten()).view(-1, n, rows.shape[1])
    return torch.bmm(shares.reshape(-1, 1, n), found)


def _bordered(value: Tensor, shapes: LevelShapes, m: int) -> Tensor:
    """Return float[b * t * m, e]: every level with a border of zeros, which lies outside it."""
    levels = value.split([h * w for h, w in shapes], dim=1)
    bordered = [
        F.pad(level.unflatten(1, shape), (0, 0, 1, 1, 1, 1)).flatten(1, 2)
        for level, shape in zip(levels, shapes, strict=True)
    ]
    return torch.cat(bordered, dim=1).view(-1, value.shape[2] // m)


def _per_sample(sides: list[int], points: int, like: Tensor) -> Tensor:
    """Return float[v * p]: the side of each sample's level."""
    every = [side for side in sides for _ in range(points)]
    return torch.tensor(every, dtype=like.dtype, device=like.device)


def _cell(at: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cell before ``at``, from -1 to side - 1, and the share of the cell behind it.

    A sample outside the level comes to lie on its border.
    """
    cells = torch.minimum((at * (side / 2) + (side - 1) / 2).clamp(min=-1), side)
    before = torch.minimum(cells.floor(), side - 1)
    return before, cells - before


def _starts(shapes: LevelShapes, m: int, points: int, like: Tensor) -> Tensor:
    """Return float[m, v * p]: the row of each head's cell (0, 0) of each sample's level."""
    start, starts = 0, []
    for h, w in shapes:
        starts += [start + (w + 2) + 1] * points
        start += (h + 2) * (w + 2)
    heads = torch.arange(m, dtype=like.dtype, device=like.device)[:, None]
    return torch.tensor(starts, dtype=like.dtype, device=like.device) * m + heads


def _images(b: int, rows: int, device: torch.device) -> Tensor:
    """Return int32[b, 1, 1, 1]: the first row of each image."""
    return (torch.arange(b, dtype=torch.int32, device=device) * rows)[:, None, None, None]
