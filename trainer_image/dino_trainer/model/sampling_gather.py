"""Deformable sampling by gathers and matrix products, for exported models.

``GridSample`` is what runtimes get wrong: TensorRT's is off on graphs like ours (TensorRT #4813,
#4646), and ONNX Runtime's is slow. Here the graph holds nothing but arithmetic, ``Gather`` and
``MatMul``, which all of them have in common.

Shapes: b batch, s tokens of all levels, t the corners between cells of all levels (every cell's,
those on the outer edge too), q queries, m heads, e = d / m, v levels, p points per level and head,
n = v * p.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dino_trainer.model.sampling_grid import LevelShapes

# 66 MB at 8 heads of 32 and 16 samples; all at once are eight times that.
QUERIES_AT_ONCE = 1000


def sample_by_gather(
    value: Tensor, shapes: LevelShapes, locations: Tensor, weights: Tensor
) -> Tensor:
    """Sample by reading the four neighbours of a sample as one row; see ``ms_deform_attn``.

    Indices are computed in float32, exact up to 2**24: t * m must stay below.
    """
    b, _, m, _, p = locations.shape[:5]
    rows = _corners(value, shapes, m)  # [b * t * m, 4 * e]
    x, y = locations.flatten(3, 4).unbind(-1)  # [b, q, m, n]
    widths = _per_sample([w for _, w in shapes], p, value)
    heights = _per_sample([h for h, _ in shapes], p, value)
    left, right_share = _cell(x, widths)
    top, lower_share = _cell(y, heights)
    index = (top * ((widths + 1) * m) + left * m + _starts(shapes, m, p, value)).int()
    index = index + _images(b, rows.shape[0] // b, value.device)
    shares = _shares(weights, right_share, lower_share)
    mixed = [
        _mix(rows, *some)
        for some in zip(
            index.split(QUERIES_AT_ONCE, 1), shares.split(QUERIES_AT_ONCE, 1), strict=True
        )
    ]
    return torch.cat(mixed, dim=1)


def _mix(rows: Tensor, index: Tensor, shares: Tensor) -> Tensor:
    """Return float[b, q, d]: the neighbours in ``rows`` at ``index`` [b, q, m, n], by shares."""
    b, q, m, n = index.shape
    gathered = rows.index_select(0, index.flatten()).view(b * q * m, 4 * n, rows.shape[1] // 4)
    return torch.bmm(shares.reshape(-1, 1, 4 * n), gathered).view(b, q, -1)


def _shares(weights: Tensor, right: Tensor, lower: Tensor) -> Tensor:
    """Return float[b, q, m, n * 4]: the weight of each sample's neighbours, as rows have them.

    They are put side by side by a product with a permutation, which is exact.
    """
    n = weights.shape[3]
    below = weights * lower
    above = weights - below
    above_right, below_right = above * right, below * right
    parts = (above - above_right, above_right, below - below_right, below_right)
    places = torch.arange(4 * n, device=weights.device).view(4, n).t().flatten()
    order = torch.eye(4 * n, dtype=weights.dtype, device=weights.device)[:, places]
    return torch.cat(parts, dim=-1) @ order


def _corners(value: Tensor, shapes: LevelShapes, m: int) -> Tensor:
    """Return float[b * t * m, 4 * e]: the cells around every corner; zeros outside the level."""
    levels = value.split([h * w for h, w in shapes], dim=1)
    corners = []
    for level, shape in zip(levels, shapes, strict=True):
        cells = F.pad(level.unflatten(1, shape), (0, 0, 1, 1, 1, 1))
        cells = cells.unflatten(3, (m, -1))  # [b, h + 2, w + 2, m, e]
        above, below = cells[:, :-1], cells[:, 1:]
        around = (above[:, :, :-1], above[:, :, 1:], below[:, :, :-1], below[:, :, 1:])
        corners.append(torch.cat(around, dim=-1).flatten(1, 3))
    return torch.cat(corners, dim=1).view(-1, 4 * (value.shape[2] // m))


def _per_sample(sides: list[int], points: int, like: Tensor) -> Tensor:
    """Return float[n]: the side of each sample's level."""
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
    """Return float[m, n]: the row of the corner behind each head's cell (0, 0), by sample."""
    start, starts = 0, []
    for h, w in shapes:
        starts += [start + (w + 1) + 1] * points
        start += (h + 1) * (w + 1)
    heads = torch.arange(m, dtype=like.dtype, device=like.device)[:, None]
    return torch.tensor(starts, dtype=like.dtype, device=like.device) * m + heads


def _images(b: int, rows: int, device: torch.device) -> Tensor:
    """Return int32[b, 1, 1, 1]: the first row of each image."""
    return (torch.arange(b, dtype=torch.int32, device=device) * rows)[:, None, None, None]
