"""Small layers that the encoder, the decoder and the heads share.

Shapes: b batch, n tokens or queries, d hidden size, f feed-forward size.

Under ``torch.autocast`` linear and convolution layers compute in half precision; norms, softmax,
boxes, the choice of queries and the losses stay in float32. torch does the same for norms and
softmax on GPUs, but not on CPUs: here it is written down.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dino_trainer.model.products import add_block, dense, full

# Below so many places, and from so many weights on, a convolution spends its time on its weights.
FEW_PLACES, MANY_WEIGHTS = 128, 2**20
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu}


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Within it ``torch.autocast`` lowers nothing."""
    return torch.autocast(device.type, enabled=False)


def run_layer(layer: nn.Module, recompute: bool, *inputs: object) -> Tensor:
    """Run ``layer``; with ``recompute`` it keeps its inputs only and runs again for the gradient.

    Then it is told to ``keep`` what it would compute again by itself: twice is enough. The gradient
    is the same to the last bit.
    """
    if recompute and torch.is_grad_enabled():
        return checkpoint(layer, *inputs, keep=True, use_reentrant=False)
    return layer(*inputs)


class LayerNorm(nn.LayerNorm):
    """Layer normalisation in float32 whatever comes in."""

    def forward(self, input: Tensor) -> Tensor:
        """Return float32[..., d]."""
        return super().forward(full(input))


class GroupNorm(nn.GroupNorm):
    """Group normalisation in float32 whatever comes in."""

    def forward(self, input: Tensor) -> Tensor:
        """Return float32[b, d, h, w]."""
        return super().forward(full(input))


class Conv2d(nn.Conv2d):
    """A convolution without groups or dilation; made of any other by ``faster_convolutions``.

    On a CPU torch's own reorders all weights three times in a step. Where the map is small and the
    weights are many (the last stage, the projections behind it), that takes longer than to compute:
    there it is one matrix product, which takes the weights as they lie.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return float[b, outputs, h, w]."""
        if torch.compiler.is_exporting():  # for a device, a batch and weights as yet unknown
            return super().forward(input)
        (k, _), (stride, _), padding = self.kernel_size, self.stride, int(self.padding[0])
        b, (h, w) = input.shape[0], ((n + 2 * padding - k) // stride + 1 for n in input.shape[2:])
        if (
            input.device.type != "cpu"
            or b * h * w > FEW_PLACES
            or self.weight.numel() < MANY_WEIGHTS
        ):
            return super().forward(input)
        places = F.unfold(input, k, padding=padding, stride=stride)  # [b, c * k * k, h * w]
        rows = F.linear(places.transpose(1, 2).flatten(0, 1), self.weight.flatten(1), self.bias)
        return rows.view(b, h, w, -1).permute(0, 3, 1, 2)


def faster_convolutions(module: nn.Module) -> None:
    """Make every convolution inside ``module`` that can be one a ``Conv2d``; weights stay."""
    for name, child in module.named_children():
        if type(child) is nn.Conv2d and _is_plain(child):
            with torch.device("meta"):
                made = Conv2d(
                    child.in_channels,
                    child.out_channels,
                    child.kernel_size,  # type: ignore[arg-type]
                    child.stride,  # type: ignore[arg-type]
                    child.padding,  # type: ignore[arg-type]
                    bias=child.bias is not None,
                )
            made.weight, made.bias = child.weight, child.bias
            setattr(module, name, made)
        else:
            faster_convolutions(child)


def _is_plain(conv: nn.Conv2d) -> bool:
    """Whether ``conv`` is square, without groups, dilation or another padding than zeros."""
    sides = (conv.kernel_size, conv.stride, conv.padding)
    square = all(not isinstance(side, str) and side[0] == side[1] for side in sides)
    return square and conv.groups == 1 and conv.dilation == (1, 1) and conv.padding_mode == "zeros"


class Mlp(nn.Module):
    """Linear layers with ReLU between them: [..., inputs] to [..., outputs]."""

    def __init__(self, inputs: int, hidden: int, outputs: int, depth: int) -> None:
        super().__init__()
        sizes = [inputs, *[hidden] * (depth - 1), outputs]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        """Return float[..., outputs]."""
        return dense(x.flatten(0, -2), *self.layers).view(*x.shape[:-1], -1)

    @torch.no_grad()
    def start_at_zero(self) -> None:
        """Draw all layers anew, and make the last one return nothing but zeros."""
        last: nn.Linear | None = None
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            layer.reset_parameters()
            last = layer
        assert last is not None
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)


class FeedForward(nn.Module):
    """linear2(activation(linear1(x))): float[b, n, d] to float[b, n, d], f wide inside."""

    def __init__(self, d: int, f: int, dropout: float, activation: str) -> None:
        super().__init__()
        self.linear1 = nn.Linear(d, f)
        self.linear2 = nn.Linear(f, d)
        self.dropout = make_dropout(dropout)
        self.activation = ACTIVATIONS[activation]
        self.plain = activation == "relu" and not dropout

    def forward(self, x: Tensor, keep: bool = False) -> Tensor:
        """Return float[b, n, d]. ``keep``: see ``products.dense``."""
        rows = x.flatten(0, -2)
        if self.plain:
            return dense(rows, self.linear1, self.linear2, keep=keep).view(x.shape)
        rows = self.activation(self.linear1(rows))
        return self.linear2(self.dropout(rows)).view(x.shape)

    def add_to(self, norm: LayerNorm, x: Tensor, keep: bool = False) -> Tensor:
        """Return y + dropout(forward(y)) of y = norm(x), float32[b, n, d].

        One node of the graph that keeps ``x`` alone, unless somebody looks at what lies between.
        """
        seen = norm._forward_hooks or self._forward_hooks or torch.compiler.is_exporting()
        if self.plain and not keep and not seen:
            rows = x.flatten(0, -2)
            return add_block(rows, norm, self.linear1, self.linear2).view(x.shape)
        y = norm(x)
        return y + self.dropout(self(y, keep))


def make_dropout(ratio: float) -> nn.Module:
    """Return a dropout layer, or nothing to run where the ratio is 0."""
    return nn.Dropout(ratio) if ratio else nn.Identity()
