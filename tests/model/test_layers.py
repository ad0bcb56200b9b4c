"""Layers whose gradient is written out, against torch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dino_trainer.model.layers import FeedForward, dense


def by_torch(rows: Tensor, *layers: nn.Linear) -> Tensor:
    for layer in layers[:-1]:
        rows = F.relu(layer(rows))
    return layers[-1](rows)


def some_layers() -> tuple[Tensor, list[nn.Linear]]:
    torch.manual_seed(0)
    return torch.randn(7, 6), [nn.Linear(6, 5), nn.Linear(5, 8), nn.Linear(8, 3)]


def results(function: object, rows: Tensor, layers: list[nn.Linear], half: bool) -> list[Tensor]:
    """The output and the gradients of all that needs one."""
    rows = rows.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        out = function(rows, *layers)  # type: ignore[operator]
    wanted = [rows, *(p for layer in layers for p in layer.parameters() if p.requires_grad)]
    return [out, *torch.autograd.grad(out.float().square().sum(), wanted)]


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("half", [False, True])
def test_rectified_is_linear_layers_with_relu_between(depth: int, half: bool) -> None:
    rows, layers = some_layers()
    ours = results(dense, rows, layers[:depth], half)
    expected = results(by_torch, rows, layers[:depth], half)
    assert [x.dtype for x in ours] == [x.dtype for x in expected]
    for mine, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_rectified_leaves_frozen_layers_and_inputs_alone() -> None:
    rows, layers = some_layers()
    layers[0].requires_grad_(False)
    layers[1].bias.requires_grad_(False)
    dense(rows, *layers).sum().backward()
    assert [p.grad is None for layer in layers for p in layer.parameters()] == [
        *(True, True),
        *(False, True),
        *(False, False),
    ]
    ours = results(dense, rows, layers, False)
    for mine, theirs in zip(ours, results(by_torch, rows, layers, False), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("activation, dropout", [("relu", 0.0), ("gelu", 0.0), ("relu", 0.5)])
def test_feed_forward(activation: str, dropout: float) -> None:
    torch.manual_seed(0)
    block, x = FeedForward(4, 16, dropout, activation).eval(), torch.randn(2, 3, 4)
    function = {"relu": F.relu, "gelu": F.gelu}[activation]
    torch.testing.assert_close(block(x), block.linear2(function(block.linear1(x))))
