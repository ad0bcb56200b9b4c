"""Small layers that the encoder, the decoder and the heads share.

Shapes: b batch, n tokens or queries, d hidden size, f feed-forward size.

Under ``torch.autocast`` linear and convolution layers compute in half precision; norms, softmax,
boxes, the choice of queries and the losses stay in float32. torch does the same for norms and
softmax on GPUs, but not on CPUs: here it is written down.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

# In place where the gradient needs the result alone.
ACTIVATIONS = {"relu": F.relu_, "gelu": F.gelu}


def full(x: Tensor) -> Tensor:
    """Return ``x`` in float32 if it is of half precision, else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Within it ``torch.autocast`` lowers nothing."""
    return torch.autocast(device.type, enabled=False)


def run_layer(layer: nn.Module, recompute: bool, *inputs: Any) -> Any:
    """Run ``layer``; with ``recompute`` it keeps its inputs only and runs again for the gradient.

    The gradient is the same to the last bit.
    """
    if recompute and torch.is_grad_enabled():
        return checkpoint(layer, *inputs, use_reentrant=False)
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


class Mlp(nn.Module):
    """Linear layers with ReLU between them: [..., inputs] to [..., outputs]."""

    def __init__(self, inputs: int, hidden: int, outputs: int, depth: int) -> None:
        super().__init__()
        sizes = [inputs, *[hidden] * (depth - 1), outputs]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        """Return float[..., outputs]."""
        rows = x.flatten(0, -2)  # linear layers reshape anything else to rows, and back, each time
        for layer in self.layers[:-1]:
            rows = F.relu_(layer(rows))
        return self.layers[-1](rows).view(*x.shape[:-1], -1)


class FeedForward(nn.Module):
    """linear2(activation(linear1(x))): float[b, n, d] to float[b, n, d], f wide inside."""

    def __init__(self, d: int, f: int, dropout: float, activation: str) -> None:
        super().__init__()
        self.linear1 = nn.Linear(d, f)
        self.linear2 = nn.Linear(f, d)
        self.dropout = make_dropout(dropout)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """Return float[b, n, d]."""
        rows = self.linear1(x.flatten(0, -2))
        return self.linear2(self.dropout(self.activation(rows))).view(x.shape)


def make_dropout(ratio: float) -> nn.Module:
    """Return a dropout layer, or nothing to run where the ratio is 0."""
    return nn.Dropout(ratio) if ratio else nn.Identity()
