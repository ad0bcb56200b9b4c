"""Deformable attention against a plain loop, and position encodings against their formula."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dino_trainer.model import sampling_gather
from dino_trainer.model.attention import (
    SAMPLERS,
    DeformableAttention,
    Memory,
    References,
    SelfAttention,
    Sight,
    attend,
    ms_deform_attn,
)
from dino_trainer.model.position import image_positions, query_positions

SHAPES = ((4, 6), (2, 3))
B, Q, M, P, D = 2, 5, 2, 3, 8


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Value [b, s, d], locations [b, q, m, v, p, 2] partly outside, weights [b, q, m, v * p]."""
    torch.manual_seed(0)
    tokens = sum(h * w for h, w in SHAPES)
    locations = torch.rand(B, Q, M, len(SHAPES), P, 2) * 2.6 - 1.3
    return torch.randn(B, tokens, D), locations, torch.rand(B, Q, M, len(SHAPES) * P).softmax(-1)


def by_loop(value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """Sample by sample: four neighbours, weighted by how near they are."""
    out = torch.zeros(B, Q, M, D // M, dtype=value.dtype)
    starts = [0, SHAPES[0][0] * SHAPES[0][1]]
    for b, q, m, level, p in torch.cartesian_prod(*map(torch.arange, (B, Q, M, 2, P))).tolist():
        h, w = SHAPES[level]
        x, y = ((locations[b, q, m, level, p] + 1) / 2 * torch.tensor([w, h]) - 0.5).tolist()
        for row, column in [(math.floor(y) + i, math.floor(x) + j) for i in (0, 1) for j in (0, 1)]:
            if 0 <= row < h and 0 <= column < w:
                near = (1 - abs(y - row)) * (1 - abs(x - column))
                token = value[b, starts[level] + row * w + column].view(M, -1)[m]
                out[b, q, m] += weights[b, q, m, level * P + p] * near * token
    return out.flatten(2)


@pytest.mark.parametrize("backend", SAMPLERS)
def test_samplers_agree_with_a_loop(backend: str) -> None:
    value, locations, weights = inputs()
    ours = ms_deform_attn(value, SHAPES, locations, weights, backend)
    assert ours.shape == (B, Q, D)
    assert ours.allclose(by_loop(value, locations, weights), atol=1e-5)


def test_a_gather_in_parts_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    value, locations, weights = inputs()
    whole = ms_deform_attn(value, SHAPES, locations, weights, "gather")
    monkeypatch.setattr(sampling_gather, "QUERIES_AT_ONCE", 2)
    parts = ms_deform_attn(value, SHAPES, locations, weights, "gather")
    torch.testing.assert_close(parts, whole)


@pytest.mark.parametrize("backend", SAMPLERS)
def test_gradients_are_those_of_finite_differences(backend: str) -> None:
    arguments = [x.double().requires_grad_() for x in inputs()]
    assert torch.autograd.gradcheck(
        lambda value, locations, weights: ms_deform_attn(
            value, SHAPES, locations, weights, backend
        ),
        arguments,
        fast_mode=True,
    )


def test_offsets_count_in_cells_around_points_and_in_box_sizes_around_boxes() -> None:
    sizes = torch.tensor([[6.0, 4.0], [3.0, 2.0]])
    points = References.around_points(torch.full((1, 1, 2, 2), 0.5), sizes, points=3)
    assert points.origin.shape == (1, 1, 1, 2 * 3 * 2)
    assert points.origin.abs().max() == 0
    # One cell of the wide level is a third of the way from the centre to its edge.
    expected = torch.tensor([[1 / 3, 0.5], [2 / 3, 1.0]])[:, None].expand(2, 3, 2)
    assert points.unit.view(2, 3, 2).allclose(expected)
    boxes = References.around_boxes(torch.tensor([[[[0.5, 0.25, 0.4, 0.2]] * 2]]), points=4)
    corner = boxes.origin + 4 * boxes.unit  # 4 of 4 points: half a box away
    assert ((corner + 1) / 2).view(8, 2).allclose(torch.tensor([0.7, 0.35]))


def test_padded_tokens_are_not_seen() -> None:
    torch.manual_seed(0)
    attention = DeformableAttention(D, 2, M, P)
    nn.init.normal_(attention.sampling_offsets.weight)
    memory, query = torch.randn(1, 30, D), torch.randn(1, Q, D)
    padding = torch.zeros(1, 30, 1, dtype=torch.bool)
    padding[:, [2, 3, 20, 29]] = True
    references = References.around_points(
        torch.rand(1, Q, 2, 2), torch.tensor([[6.0, 4.0], [3.0, 2.0]]), P
    )
    nowhere = torch.zeros(1, Q, D)

    def seen(tokens: Tensor, padding: Tensor | None) -> Tensor:
        return attention(query, nowhere, references, Memory(tokens, SHAPES, padding))

    before, after = seen(memory, padding), seen(memory + 9 * padding, padding)
    assert before.equal(after)
    assert not before.allclose(seen(memory, None))


def test_self_attention_is_torchs() -> None:
    torch.manual_seed(0)
    ours, theirs = SelfAttention(D, M, 0.0), nn.MultiheadAttention(D, M, batch_first=True)
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = ours.in_proj.weight, ours.in_proj.bias
    theirs.out_proj.load_state_dict(ours.out_proj.state_dict())
    x, positions = torch.randn(B, Q, D), torch.randn(B, Q, D)
    assert ours(x, positions, None).allclose(theirs(x + positions, x + positions, x)[0], atol=1e-6)
    whole = some_rows_masked(3)
    expected = theirs(x + positions, x + positions, x, attn_mask=~whole)[0]
    for sight in (Sight(whole, 3), Sight(whole, 3).for_scores(torch.float32)):
        assert ours(x, positions, sight).allclose(expected, atol=1e-6)


def some_rows_masked(rows: int) -> torch.Tensor:
    """bool[Q, Q]: the first rows see some columns, the others what lies behind those rows."""
    allowed = torch.arange(Q).expand(Q, Q) >= rows
    allowed[:rows] = torch.rand(rows, Q) > 0.3
    return allowed.fill_diagonal_(True)


@pytest.mark.parametrize("rows", [0, 3])
def test_products_in_half_precision_are_attention(rows: int) -> None:
    """Output and gradients, against float64 within what rounding to bfloat16 leaves."""
    torch.manual_seed(0)
    parts = [torch.randn(B, M, Q, D).bfloat16().requires_grad_() for _ in range(3)]
    exact = [part.detach().double().requires_grad_() for part in parts]
    allowed = some_rows_masked(rows) if rows else None
    grad = torch.randn(B, Q, M * D)
    ours = attend(*parts, None if allowed is None else Sight(allowed, rows), 0.0)
    theirs = F.scaled_dot_product_attention(*exact, allowed).transpose(1, 2).flatten(2)
    assert ours.dtype == torch.bfloat16
    found = (ours, *torch.autograd.grad(ours, parts, grad.bfloat16()))
    expected = (theirs, *torch.autograd.grad(theirs, exact, grad.double()))
    for mine, other in zip(found, expected, strict=True):
        assert (mine - other).norm() < 0.02 * other.norm()


def test_image_positions_follow_the_unpadded_part() -> None:
    mask = torch.zeros(1, 4, 6, dtype=torch.bool)
    mask[:, :, 4:] = True
    encoded = image_positions(mask, 8, 20, 10).view(4, 6, 8)
    for row, column in [(0, 0), (2, 3), (3, 1)]:
        y, x = ((row + 1) / 4 * 2 * math.pi, (column + 1) / 4 * 2 * math.pi)
        expected = [
            f(angle / temperature ** (k / 4))
            for angle, temperature in ((y, 20), (x, 10))
            for k in (0, 2)
            for f in (math.sin, math.cos)
        ]
        assert encoded[row, column].allclose(torch.tensor(expected), atol=1e-5)


def test_query_positions_stand_in_the_order_y_x_w_h() -> None:
    box = torch.tensor([[[0.1, 0.2, 0.3, 0.4]]])
    encoded = query_positions(box, 4)[0, 0]
    sines = [math.sin(2 * math.pi * value) for value in (0.2, 0.1, 0.3, 0.4)]
    assert encoded[::2].allclose(torch.tensor(sines), atol=1e-6)
