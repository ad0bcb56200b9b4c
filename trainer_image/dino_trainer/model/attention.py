"""Attention: multi-scale deformable attention and the decoder's self-attention.

Shapes: b batch, q queries, s tokens of all levels, d hidden size, m heads, e = d / m,
l levels, p points per level and head.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LevelShapes = tuple[tuple[int, int], ...]  # (height, width) of each level, on the host
Sampler = Callable[[Tensor, LevelShapes, Tensor, Tensor], Tensor]


def sample_by_grid(value: Tensor, shapes: LevelShapes, locations: Tensor, weights: Tensor) -> Tensor:
    """Sample with torch's ``grid_sample``, level by level: runs on every device.

    The value is transposed once and the levels are joined once, which copies less than stacking
    them; the result is the same to the last bit.
    """
    b, _, m, e = value.shape
    q, p = locations.shape[1], locations.shape[4]
    planes = value.permute(0, 2, 3, 1).flatten(0, 1)  # [b*m, e, s]
    grids = (2 * locations - 1).permute(3, 0, 2, 1, 4, 5).reshape(-1, b * m, q, p, 2)
    sampled = [
        F.grid_sample(plane.unflatten(-1, shape), grid, align_corners=False)
        for plane, shape, grid in zip(
            planes.split([h * w for h, w in shapes], dim=-1), shapes, grids, strict=True
        )
    ]  # l tensors [b*m, e, q, p]
    weights = weights.transpose(1, 2).reshape(b * m, 1, q, -1)  # [b*m, 1, q, l*p]
    mixed = (torch.cat(sampled, dim=-1) * weights).sum(-1)  # [b*m, e, q]
    return mixed.view(b, m * e, q).transpose(1, 2)


SAMPLERS: dict[str, Sampler] = {"grid_sample": sample_by_grid}


def ms_deform_attn(
    value: Tensor,
    shapes: LevelShapes,
    locations: Tensor,
    weights: Tensor,
    backend: str = "grid_sample",
) -> Tensor:
    """Mix bilinear samples of all levels: the core of deformable attention.

    Args:
        value: float[b, s, m, e], the levels one after another.
        shapes: (height, width) of each level; their products sum to s.
        locations: float[b, q, m, l, p, 2], x and y in 0..1 of the padded level. Samples
            outside a level are zero.
        weights: float[b, q, m, l, p], summing to one over l and p.
        backend: a key of ``SAMPLERS``; all give the same numbers.

    Returns:
        float[b, q, m * e].

    Zhu et al. 2021, Deformable DETR, equation 3.
    """
    return SAMPLERS[backend](value, shapes, locations, weights)


class DeformableAttention(nn.Module):
    """Attention of every query to p points per level and head, around its reference."""

    def __init__(self, d: int, levels: int, heads: int, points: int) -> None:
        super().__init__()
        self.levels, self.heads, self.points = levels, heads, points
        self.sampling_offsets = nn.Linear(d, heads * levels * points * 2)
        self.attention_weights = nn.Linear(d, heads * levels * points)
        self.value_proj = nn.Linear(d, d)
        self.output_proj = nn.Linear(d, d)

    def reset_parameters(self) -> None:
        """Point each head in its own compass direction, 1..p steps away; uniform weights."""
        angles = torch.arange(self.heads, dtype=torch.float32) * (2 * math.pi / self.heads)
        compass = torch.stack((angles.cos(), angles.sin()), -1)
        compass = compass / compass.abs().amax(-1, keepdim=True)  # [m, 2]
        steps = torch.arange(1, self.points + 1, dtype=torch.float32)  # [p]
        offsets = compass[:, None, None] * steps[None, None, :, None]  # [m, 1, p, 2]
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.expand(-1, self.levels, -1, -1).flatten())
        nn.init.zeros_(self.sampling_offsets.weight)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(
        self,
        query: Tensor,
        references: Tensor,
        memory: Tensor,
        shapes: LevelShapes,
        sizes: Tensor,
        padding: Tensor | None,
    ) -> Tensor:
        """Attend from ``query`` to ``memory``.

        Args:
            query: float[b, q, d].
            references: float[b, q, l, 2] points or [b, q, l, 4] cxcywh boxes, in 0..1 of the
                padded level. Offsets count in cells around points, in box sizes around boxes.
            memory: float[b, s, d].
            shapes: (height, width) of each level.
            sizes: float32[l, 2], (width, height) of each level on the device.
            padding: bool[b, s], True on padding, or None if there is none.

        Returns:
            float[b, q, d].
        """
        m, l, p = self.heads, self.levels, self.points
        value = self.value_proj(memory)
        if padding is not None:
            value = value.masked_fill(padding[..., None], 0.0)
        offsets = self.sampling_offsets(query).unflatten(-1, (m, l, p, 2))
        weights = self.attention_weights(query).unflatten(-1, (m, l * p))
        weights = weights.softmax(-1).unflatten(-1, (l, p))
        reference = references[:, :, None, :, None]  # [b, q, 1, l, 1, 2 or 4]
        if references.shape[-1] == 2:
            locations = reference + offsets / sizes[:, None]
        else:
            locations = reference[..., :2] + offsets / p * reference[..., 2:] * 0.5
        mixed = ms_deform_attn(value.unflatten(-1, (m, -1)), shapes, locations, weights)
        return self.output_proj(mixed)


class SelfAttention(nn.Module):
    """Multi-head attention among queries; positions enter queries and keys, not values."""

    def __init__(self, d: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.in_proj = nn.Linear(d, 3 * d)
        self.out_proj = nn.Linear(d, d)
        nn.init.zeros_(self.in_proj.bias)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, positions: Tensor, allowed: Tensor | None) -> Tensor:
        """Return float[b, q, d] from ``x`` and ``positions`` float[b, q, d].

        ``allowed`` bool[q, q] is True where a row may look at a column; None: everywhere.
        """
        d = x.shape[-1]
        weight, bias = self.in_proj.weight, self.in_proj.bias
        qk = F.linear(x + positions, weight[: 2 * d], bias[: 2 * d])
        v = F.linear(x, weight[2 * d :], bias[2 * d :])
        q, k = (self._split(part) for part in qk.split(d, dim=-1))
        mixed = F.scaled_dot_product_attention(
            q, k, self._split(v), allowed, dropout_p=self.dropout if self.training else 0.0
        )  # [b, m, q, e]
        return self.out_proj(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
