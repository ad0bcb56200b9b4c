"""Small layers that the encoder, the decoder and the heads share.

Shapes: b batch, n tokens or queries, d hidden size, f feed-forward size.
"""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu}


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
            rows = F.relu(layer(rows))
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
