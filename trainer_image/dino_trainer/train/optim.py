"""Optimiser and learning-rate schedule.

The schedule is a function of the step, so a resumed run needs no scheduler state, and the rate
at any step can be asked for without having trained up to it. Epochs begin at the same multiples of
`steps_per_epoch` whatever was before, so it also holds where the number of processes changes.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dino_api.experiment import OptimConfig

# Weights that come pretrained. A pyramid that we put on top of them (backbone.neck) does not.
BACKBONE = "backbone.body."


@dataclass(frozen=True)
class Schedule:
    """The factor by which both base learning rates are multiplied at each step."""

    config: OptimConfig
    steps_per_epoch: int
    steps: int

    def factor(self, step: int) -> float:
        """The factor of the 0-based optimiser step `step`: warm-up times decay."""
        warmup = self.config.warmup_steps
        rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
        return rise * self._decay(step)

    def _decay(self, step: int) -> float:
        config, epoch = self.config, step // self.steps_per_epoch
        if config.lr_scheduler == "MultiStep":
            return config.lr_decay ** bisect_right(sorted(config.lr_steps), epoch)
        if config.lr_scheduler == "StepLR":
            return config.lr_decay ** (epoch // config.lr_step_size)
        if config.lr_scheduler == "Cosine":
            return 0.5 * (1.0 + math.cos(math.pi * step / self.steps))
        start = config.lr_decay_start * self.steps  # Linear: flat, then down to zero
        return min(1.0, max(0.0, (self.steps - step) / max(self.steps - start, 1.0)))

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> float:
        """Set the learning rates of `step`; returns that of the transformer."""
        factor = self.factor(step)
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        lr: float = optimizer.param_groups[0]["lr"]
        return lr


def build_optimizer(
    model: nn.Module,
    config: OptimConfig,
    distances: Mapping[str, int] | None = None,
    extra: Iterable[nn.Parameter] = (),
) -> torch.optim.Optimizer:
    """AdamW or SGD over few groups: the backbone at `lr_backbone`, all else at `lr`.

    Few groups: the optimiser then updates hundreds of tensors in a few kernels. Frozen parameters
    are left out.

    distances: of a plain ViT, layers between a parameter and the output, by parameter name. Its
    layers train at `lr` times `layer_decay_rate` to that power, as in TAO and in BEiT.

    extra: parameters that train beside the model's, at `lr`.

    Raises:
        ValueError: if everything is frozen.
    """
    by_lr: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = name.startswith(BACKBONE), _base_lr(name, config, distances or {})
            by_lr.setdefault(key, []).append(parameter)
    if not by_lr:
        raise ValueError("train.freeze leaves nothing to train: remove a name from it.")
    if others := list(extra):
        by_lr.setdefault((False, config.lr), []).extend(others)
    # The transformer first: its rate is the one that is reported.
    groups = [
        {"params": parameters, "lr": lr, "base_lr": lr}
        for (_, lr), parameters in sorted(by_lr.items(), key=lambda item: item[0])
    ]
    if config.optimizer == "SGD":
        return torch.optim.SGD(
            groups, momentum=config.momentum, weight_decay=config.weight_decay, foreach=True
        )
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay, fused=True)


def take_over(
    optimizer: torch.optim.Optimizer, before: torch.optim.Optimizer, state: Mapping[str, Any]
) -> None:
    """Gives an optimiser what another remembered of each parameter, and none of its rates.

    before: over the same parameters, with the groups that `state` was saved of: the saved form
    counts parameters through, and other rates may make other groups. Raises ValueError or KeyError
    where `state` is of other parameters.
    """
    before.load_state_dict(dict(state))
    optimizer.state.update(before.state)


def _base_lr(name: str, config: OptimConfig, distances: Mapping[str, int]) -> float:
    """The base learning rate of one parameter."""
    if not name.startswith(BACKBONE):
        return config.lr
    if name in distances:
        return config.lr * config.layer_decay_rate ** distances[name]
    return config.lr_backbone
