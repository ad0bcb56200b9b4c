"""Layers whose gradient is written out, against torch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dino_trainer.model import layers
from dino_trainer.model.layers import Conv2d, FeedForward, dense, faster_convolutions


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


@pytest.mark.parametrize("kernel, stride", [(1, 1), (1, 2), (3, 1), (3, 2)])
def test_a_convolution_of_few_places_is_a_convolution(
    kernel: int, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    conv = Conv2d(4, 6, kernel, stride, padding=kernel // 2).double()
    x = torch.randn(2, 4, 5, 7, dtype=torch.float64, requires_grad=True)
    inputs = (x, conv.weight, conv.bias)
    expected = F.conv2d(x, conv.weight, conv.bias, stride, kernel // 2)
    assert conv(x).equal(expected)  # torch's own: it has few weights
    monkeypatch.setattr(layers, "MANY_WEIGHTS", 1)
    monkeypatch.setattr(F, "conv2d", None)
    grad = torch.randn_like(expected)
    found = (conv(x), *torch.autograd.grad(conv(x), inputs, grad))
    for mine, theirs in zip(
        found, (expected, *torch.autograd.grad(expected, inputs, grad)), strict=True
    ):
        torch.testing.assert_close(mine, theirs)


def test_which_convolutions_are_replaced_and_that_weights_stay() -> None:
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(4, 4, 3, bias=False)),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, dilation=2),
        nn.Conv2d(4, 4, (1, 3)),
    )
    before = dict(net.named_parameters())
    faster_convolutions(net)
    kinds = [type(net[0][0]), *(type(conv) for conv in net[1:])]
    assert kinds == [Conv2d, nn.Conv2d, nn.Conv2d, nn.Conv2d]
    after = dict(net.named_parameters())
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)
