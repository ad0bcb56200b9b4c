"""An exponential moving average of the weights, often better than the weights themselves."""

import copy

import torch
from torch import nn


class Ema:
    """A second model whose weights follow the first.

    After each step `average = decay * average + (1 - decay) * weights`. Buffers are not averaged:
    the model's are constants (frozen batch norm).

    Args:
        model: the model that is trained; copied, on the same device.
        decay: 0..1. About 1 / (1 - decay) steps are remembered.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        pairs = zip(self.model.parameters(), model.parameters(), strict=True)
        moving = [(mine, theirs) for mine, theirs in pairs if theirs.requires_grad]
        self._average: list[torch.Tensor] = [mine for mine, _ in moving]
        self._weights: list[torch.Tensor] = [theirs for _, theirs in moving]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the model's present weights: one launch for all tensors."""
        torch._foreach_lerp_(self._average, self._weights, 1.0 - self.decay)
