"""Attention: multi-scale deformable attention and the decoder's self-attention.

Shapes: b batch, q queries, s tokens of all levels, d hidden size, m heads, e = d / m,
v levels, p points per level and head.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from dino_trainer.model import sampling
from dino_trainer.model.products import dense, full, of_sum
from dino_trainer.model.sampling_choice import sampler_for
from dino_trainer.model.sampling_gather import sample_by_gather
from dino_trainer.model.sampling_grid import LevelShapes, sample_by_grid

Sampler = Callable[[Tensor, LevelShapes, Tensor, Tensor], Tensor]


def sample_compiled(
    value: Tensor, shapes: LevelShapes, locations: Tensor, weights: Tensor
) -> Tensor:
    """Sample with our compiled kernels, several times as fast and without the copies."""
    return sampling.sample(value, [side for shape in shapes for side in shape], locations, weights)


SAMPLERS: dict[str, Sampler] = {
    "grid_sample": sample_by_grid,
    "compiled": sample_compiled,
    "gather": sample_by_gather,
}


def ms_deform_attn(
    value: Tensor,
    shapes: LevelShapes,
    locations: Tensor,
    weights: Tensor,
    backend: str | None = None,
) -> Tensor:
    """Mix bilinear samples of all levels: the core of deformable attention.

    Args:
        value: float[b, s, d], the levels one after another, the heads side by side.
        shapes: (height, width) of each level; their products sum to s.
        locations: float[b, q, m, v, p, 2], x and y: -1 and 1 are the outer edges of the padded
            level. Samples outside a level are zero.
        weights: float[b, q, m, v * p], summing to one over all samples of a head.
        backend: a key of ``SAMPLERS``; all give the same numbers. None: the fastest here.

    Returns:
        float[b, q, d].

    Zhu et al. 2021, Deformable DETR, equation 3.
    """
    return SAMPLERS[backend or sampler_for(value, locations)](value, shapes, locations, weights)


@dataclass(frozen=True)
class References:
    """The starts of offsets and how far a unit of them reaches, as ``ms_deform_attn`` counts.

    The samples of a head lie side by side, so that one long row is computed at once: with rows of
    two numbers, x and y, a CPU takes six times as long.
    """

    origin: Tensor  # float[b, q, 1, v * p * 2]
    unit: Tensor  # float[v * p * 2] or [b, q, 1, v * p * 2]

    @classmethod
    def around_points(cls, centres: Tensor, sizes: Tensor, points: int) -> References:
        """Around ``centres`` float[b, q, v, 2] in 0..1, a unit is one cell of the level.

        ``sizes`` float[v, 2] holds (width, height) of each level; ``points`` is p.
        """
        return cls(_per_sample(2 * centres - 1, points)[:, :, None], _per_sample(2 / sizes, points))

    @classmethod
    def around_boxes(cls, boxes: Tensor, points: int) -> References:
        """Around boxes float[b, q, v, 4] (cxcywh, 0..1), p = ``points`` units are half the box."""
        every = boxes[:, :, None, :, None].expand(-1, -1, -1, -1, points, -1)
        centres, sizes = every.split(2, dim=-1)  # each [b, q, 1, v, p, 2]
        return cls((2 * centres - 1).flatten(3), (sizes / points).flatten(3))


def _per_sample(levels: Tensor, points: int) -> Tensor:
    """Return float[…, v * p * 2]: what holds for a level, [..., v, 2], for each of its samples."""
    shape = (*levels.shape[:-1], points, 2)
    return levels[..., None, :].expand(shape).flatten(-3)


class Memory(NamedTuple):
    """What queries look at: the tokens of all levels."""

    tokens: Tensor  # float[b, s, d]
    shapes: LevelShapes  # of each level
    padding: Tensor | None  # bool[b, s, 1], True on padding; None if there is none


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
        self, x: Tensor, positions: Tensor, references: References, memory: Memory
    ) -> Tensor:
        """Return float[b, q, d]: what the queries find in ``memory``.

        Args:
            x: float[b, q, d], content of the queries.
            positions: float[b or 1, q, d]. The sum of both decides where to look and how much.
            references: around what, for each query and level.
            memory: tokens of all levels.
        """
        b, q, _ = x.shape
        tokens, shapes, padding = memory
        value = dense(tokens.flatten(0, 1), self.value_proj).view(tokens.shape)
        if padding is not None:
            value = value.masked_fill(padding, 0.0)
        made = of_sum(x, positions, self.sampling_offsets, self.attention_weights)
        offsets, scores = (full(part).view(b, q, self.heads, -1) for part in made)
        locations = torch.addcmul(references.origin, offsets, references.unit)
        locations = locations.view(b, q, self.heads, self.levels, self.points, 2)
        mixed = ms_deform_attn(value, shapes, locations, scores.softmax(-1))
        return dense(mixed.flatten(0, 1), self.output_proj).view(x.shape)


@dataclass(frozen=True)
class Sight:
    """Which of n queries may look at which."""

    allowed: Tensor  # bool[n, n], True where the row's query may look at the column's
    rows: int  # the queries behind so many see each other and nothing else
    added: Tensor | None = None  # float[n, n], the same as what is added to scores

    def for_scores(self, kind: torch.dtype) -> Sight:
        """Return it with what is added to scores of ``kind``: 0 or minus infinity.

        torch makes that of ``allowed`` in every layer, and keeps it there for the backward pass.
        """
        added = torch.zeros_like(self.allowed, dtype=kind)
        return Sight(self.allowed, self.rows, added.masked_fill(~self.allowed, -math.inf))


class SelfAttention(nn.Module):
    """Multi-head attention among queries; positions enter queries and keys, not values."""

    def __init__(self, d: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.in_proj = nn.Linear(d, 3 * d)
        self.out_proj = nn.Linear(d, d)
        nn.init.zeros_(self.in_proj.bias)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, positions: Tensor, sight: Sight | None) -> Tensor:
        """Return float[b, q, d] from ``x`` and ``positions`` float[b, q, d].

        ``sight`` None: every query sees every other.
        """
        d = x.shape[-1]
        sizes = (2 * d, d)
        (qk_weight, v_weight), (qk_bias, v_bias) = (
            t.split(sizes) for t in (self.in_proj.weight, self.in_proj.bias)
        )
        qk = F.linear(x + positions, qk_weight, qk_bias)
        q, k = qk.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind()
        v = F.linear(x, v_weight, v_bias).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        mixed = attend(q, k, v, sight, self.dropout if self.training else 0.0)
        return self.out_proj(mixed)


def attend(q: Tensor, k: Tensor, v: Tensor, sight: Sight | None, dropout: float) -> Tensor:
    """Return float[b, q, m * e] from ``q``, ``k``, ``v`` float[b, m, q, e].

    On a CPU torch's attention has no fast path for half precision: it is slower than in float32.
    Plain matrix products take half of its time, and less without the part that nobody may see.
    """
    half = q.dtype in (torch.float16, torch.bfloat16)
    if not half or dropout or q.device.type != "cpu":
        mask = None if sight is None else sight.allowed if sight.added is None else sight.added
        mixed = F.scaled_dot_product_attention(q, k, v, mask, dropout_p=dropout)
        return mixed.transpose(1, 2).flatten(2)
    if sight is None:
        return _mix_by_products(q, k, v, None).flatten(2)
    behind = q.shape[2] - sight.rows
    first, rest = q.split([sight.rows, behind], dim=2)
    k_rest, v_rest = (t.narrow(2, sight.rows, behind) for t in (k, v))
    mixed = _mix_by_products(first, k, v, sight.allowed[: sight.rows])
    return torch.cat((mixed, _mix_by_products(rest, k_rest, v_rest, None)), dim=1).flatten(2)


def _mix_by_products(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None) -> Tensor:
    """Return float[b, q, m, e], by plain matrix products.

    Scores are rounded to half precision, as they are where the published code runs under autocast.
    """
    planes = [x.flatten(0, 1) for x in (q * q.shape[-1] ** -0.5, k, v)]
    mixed = _Products.apply(*planes, allowed)
    return mixed.view(q.shape).transpose(1, 2)


class _Products(torch.autograd.Function):
    """softmax(q k^T) v of planes float[b * m, n, e]; keeps the softmax for the backward pass."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None) -> Tensor:
        scores = torch.bmm(q, k.transpose(1, 2))
        if allowed is not None:
            scores.masked_fill_(~allowed, -math.inf)
        shares = scores.softmax(-1)
        ctx.save_for_backward(q, k, v, shares)
        return torch.bmm(shares, v)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, shares = ctx.saved_tensors
        to_shares = torch.bmm(grad, v.transpose(1, 2))
        to_scores = torch._softmax_backward_data(to_shares, shares, -1, shares.dtype)
        to_q, to_k = torch.bmm(to_scores, k), torch.bmm(to_scores.transpose(1, 2), q)
        return to_q, to_k, torch.bmm(shares.transpose(1, 2), grad), None
