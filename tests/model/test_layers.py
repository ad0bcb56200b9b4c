"""Layers whose gradient is written out, against torch's own."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dino_trainer.model import layers, products
from dino_trainer.model.layers import Conv2d, FeedForward, LayerNorm, faster_convolutions
from dino_trainer.model.products import dense, of_sum


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


@pytest.mark.parametrize("half", [False, True])
def test_rows_in_parts_and_kept_activations_give_the_same(
    half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, layers_ = some_layers()
    expected = results(dense, rows, layers_, half)
    kept = results(partial(dense, keep=True), rows, layers_, half)
    assert all(mine.equal(theirs) for mine, theirs in zip(kept, expected, strict=True))
    monkeypatch.setattr(products, "NUMBERS_ON_CPU", 3 * 8)  # three rows of seven
    for mine, theirs in zip(results(dense, rows, layers_, half), expected, strict=True):
        assert (mine - theirs).norm() <= (0.02 if half else 1e-6) * theirs.norm()


def sum_by_torch(x: Tensor, positions: Tensor, *parts: nn.Linear) -> list[Tensor]:
    return [part(x + positions).flatten(0, 1) for part in parts]


@pytest.mark.parametrize("half", [False, True])
def test_layers_of_a_sum(half: bool) -> None:
    """One row of positions for both images, and a frozen weight."""
    torch.manual_seed(0)
    x, positions = torch.randn(2, 5, 6), torch.randn(1, 5, 6)
    parts = [nn.Linear(6, 4), nn.Linear(6, 3)]
    parts[1].weight.requires_grad_(False)
    wanted = [x.requires_grad_(), positions.requires_grad_()]
    wanted += [p for part in parts for p in part.parameters() if p.requires_grad]
    found = []
    for function in (of_sum, sum_by_torch):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            made = function(x, positions, *parts)
        loss = made[0].float().square().sum() + 2 * made[1].float().square().sum()
        found.append([*made, *torch.autograd.grad(loss, wanted)])
    for mine, theirs in zip(*found, strict=True):
        assert mine.dtype == theirs.dtype
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("at_once", [3, 100])
def test_a_feed_forward_block_added_to_what_a_norm_gave(
    half: bool, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in parts of three rows of ten, against torch; of a kept one to the last bit."""
    torch.manual_seed(0)
    monkeypatch.setattr(products, "NUMBERS_ON_CPU", at_once * 16)
    norm, block = LayerNorm(6), FeedForward(6, 16, 0.0, "relu")
    for p in norm.parameters():
        nn.init.normal_(p)
    block.linear1.bias.requires_grad_(False)
    x = torch.randn(2, 5, 6, requires_grad=True)
    parts = (norm, block.linear1, block.linear2)
    wanted = [x, *(p for part in parts for p in part.parameters() if p.requires_grad)]

    def by_torch() -> Tensor:
        y = norm(x)
        return y + block.linear2(F.relu(block.linear1(y)))

    found = []
    for function in (
        lambda: block.add_to(norm, x),
        lambda: block.add_to(norm, x, keep=True),
        by_torch,
    ):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            made = function()
        found.append([made, *torch.autograd.grad(made.square().sum(), wanted)])
    for mine, kept, theirs in zip(*found, strict=True):
        assert mine.dtype == theirs.dtype
        assert (mine - theirs).norm() <= (0.02 if half else 1e-6) * theirs.norm()
        assert mine.equal(kept) or at_once == 3


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("in_cache", [3, 100])
def test_without_gradients_blocks_give_the_same(
    half: bool, in_cache: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In parts of three rows of ten, too; a batch that fits is equal to the last bit."""
    torch.manual_seed(0)
    norm, block, x = LayerNorm(6), FeedForward(6, 16, 0.0, "relu"), torch.randn(2, 5, 6)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        expected = [block(x).detach(), block.add_to(norm, x).detach()]
        monkeypatch.setattr(products, "ROWS_IN_CACHE", in_cache)
        monkeypatch.setattr(products, "NUMBERS_ON_CPU", 0)  # is not asked
        with torch.inference_mode():
            ours = [block(x), block.add_to(norm, x)]
    for mine, theirs in zip(ours, expected, strict=True):
        assert mine.dtype == theirs.dtype
        assert (mine - theirs).norm() <= (0.02 if half else 1e-6) * theirs.norm()
        assert in_cache == 3 or mine.equal(theirs)


def test_hooks_of_a_block_see_what_lies_between() -> None:
    norm, block, seen = LayerNorm(6), FeedForward(6, 16, 0.0, "relu"), []
    for module in (norm, block):
        module.register_forward_hook(lambda *call: seen.append(call[2]))
    made = block.add_to(norm, torch.randn(1, 5, 6))
    assert made.equal(seen[0] + seen[1])


def test_what_blocks_keep_for_the_backward_pass() -> None:
    """Of two layers with 16 numbers between them, the input; of a sum, its two parts."""
    x, positions = torch.randn(1, 5, 6, requires_grad=True), torch.randn(1, 5, 6)
    block, part = FeedForward(6, 16, 0.0, "relu"), nn.Linear(6, 4)
    own = {p.data_ptr() for p in (*block.parameters(), *part.parameters())}
    kept: set[int] = set()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.add(t.data_ptr()), lambda t: t):
        block(x)
        of_sum(x, positions, part)
    assert kept - own == {x.data_ptr(), positions.data_ptr()}
    sizes: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()), lambda t: t):
        block.add_to(LayerNorm(6), x)
    assert sizes.count(x.numel()) == 1
    assert max(sizes) == block.linear1.weight.numel()


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
