"""One optimiser step: forward and backward passes over its micro-batches, then the update."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dino_trainer.data.loader import Batch
from dino_trainer.data.sampler import STEP, generator_for, seed_of
from dino_trainer.train.loss import Parts
from dino_trainer.train.run import Run


@dataclass
class StepLosses:
    """The losses of a step's micro-batches, on the device: each float32[], and its parts."""

    totals: list[Tensor] = field(default_factory=list)
    parts: list[Parts] = field(default_factory=list)

    def fetch(self, norm: Tensor) -> tuple[list[float], dict[str, float], float]:
        """Return the totals, the parts summed by name, and `norm`, in one copy from the device."""
        parts = [one.values for one in self.parts]
        numbers = torch.cat((torch.stack(self.totals), *parts, norm[None])).tolist()
        rest = iter(numbers[len(self.totals) :])
        sums: defaultdict[str, float] = defaultdict(float)
        for one in self.parts:
            for name in one.names:
                sums[name] += next(rest)
        return numbers[: len(self.totals)], sums, next(rest)


def boxes_in(batches: Sequence[Batch]) -> int:
    """True boxes of a process's part of a step."""
    return sum(batch.targets.total for batch in batches)


def random_numbers(run: Run) -> torch.Generator:
    """All that is random in a step depends on its number and the process's rank alone."""
    key = (STEP, run.plan.seed, run.step) + ((run.world.rank,) if run.world.rank else ())
    torch.manual_seed(seed_of(*key))
    return generator_for(*key, device=run.device)


def accumulate(run: Run, batches: Sequence[Batch], num_boxes: float) -> StepLosses:
    """Add up the gradients of the step's micro-batches.

    Args:
        run: whose gradients; they are averaged over all processes in the last backward pass.
        batches: this process's micro-batches.
        num_boxes: boxes of all micro-batches of all processes, divided by the number of
            processes. With it, the sum of parts is the loss of one large batch.

    Returns:
        The micro-batches' parts of the loss.
    """
    noise = random_numbers(run)
    run.optimizer.zero_grad(set_to_none=True)
    losses = StepLosses()
    for place, batch in enumerate(batches, start=1):
        alone = run.world.no_sync(run.parallel) if place < len(batches) else nullcontext()
        with alone:
            loss = run.parallel(batch.to(run.device), noise, num_boxes)
            run.scaler.scale(loss).backward()
        losses.totals.append(loss.detach())
        losses.parts.append(run.loss.parts)
    return losses


def update(run: Run) -> Tensor:
    """Change the weights and their average.

    Gradients of fp16 that overflowed change nothing: the scaler leaves the step out.

    Returns:
        float32[], the norm of all gradients before it was cut, on the device.
    """
    run.scaler.unscale_(run.optimizer)
    norm = nn.utils.clip_grad_norm_(run.trainable, run.spec.train.clip_grad_norm)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    if run.ema:
        run.ema.update()
    return norm
