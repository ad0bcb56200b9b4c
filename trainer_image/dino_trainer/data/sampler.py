"""The plan of a training in the forms that a loader wants: generators, and micro-batches."""

from collections.abc import Iterator

import torch

from dino_trainer.data.plan import Position, SampleKey, TrainPlan
from dino_trainer.data.random_streams import AUGMENT, INIT, ORDER, STEP, seed_of

__all__ = [
    "AUGMENT",
    "INIT",
    "ORDER",
    "STEP",
    "MicroBatches",
    "Position",
    "SampleKey",
    "TrainPlan",
    "generator_for",
    "seed_of",
]


def generator_for(*key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator whose stream depends on `key` and the kind of device alone."""
    return torch.Generator(device).manual_seed(seed_of(*key))


class MicroBatches:
    """One process's micro-batches from the plan's start to its end."""

    def __init__(self, plan: TrainPlan, rank: int) -> None:
        self.plan, self.rank = plan, rank

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for step in self.plan.batches(self.rank):
            yield from step

    def __len__(self) -> int:
        return (self.plan.steps - self.plan.first_step) * self.plan.passes
