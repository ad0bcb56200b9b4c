"""Which images make up which training step, as a pure function of the seed.

Nothing here has a memory. Step n always holds the same images, whoever asks, in whatever process
and after whatever interruption, so a run continues exactly where it stopped and the number of
loader workers cannot change a result.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

import torch

# What a random stream is for. Distinct purposes must never share a stream.
INIT, ORDER, AUGMENT, STEP = range(4)


def seed_of(*key: int) -> int:
    """A 63-bit seed from a tuple of integers; close keys give unrelated seeds."""
    digest = blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator_for(*key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator whose stream depends on `key` and the kind of device alone."""
    return torch.Generator(device).manual_seed(seed_of(*key))


@dataclass(frozen=True)
class SampleKey:
    """One image in one epoch: all that decides its augmentation beside the seed."""

    epoch: int
    index: int


@dataclass(frozen=True)
class TrainPlan:
    """The order of a whole training.

    An epoch is a fresh shuffle cut into `steps_per_epoch` full batches; the images that do not
    fill a last batch are left out of that epoch, and the next shuffle leaves out others.

    Raises:
        ValueError: if there are fewer images than a batch holds.
    """

    images: int
    batch_size: int
    epochs: int
    seed: int

    def __post_init__(self) -> None:
        if self.images < self.batch_size:
            raise ValueError(
                f"The training data has {self.images} image(s), fewer than one batch of "
                f"{self.batch_size}: lower dataset.batch_size or add images."
            )

    @property
    def steps_per_epoch(self) -> int:
        return self.images // self.batch_size

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def order(self, epoch: int) -> list[int]:
        """The image indices of one epoch, shuffled."""
        generator = generator_for(ORDER, self.seed, epoch)
        return torch.randperm(self.images, generator=generator).tolist()

    def batches(self, first_step: int = 0) -> Iterator[list[SampleKey]]:
        """The batches of steps `first_step`, `first_step` + 1, … to the end of training."""
        first_epoch, skip = divmod(first_step, self.steps_per_epoch)
        for epoch in range(first_epoch, self.epochs):
            order = self.order(epoch)
            for step in range(skip, self.steps_per_epoch):
                chosen = order[step * self.batch_size : (step + 1) * self.batch_size]
                yield [SampleKey(epoch, index) for index in chosen]
            skip = 0


class StepSampler(torch.utils.data.Sampler[list[SampleKey]]):
    """`TrainPlan.batches` in the form that a DataLoader takes as `batch_sampler`."""

    def __init__(self, plan: TrainPlan, first_step: int = 0) -> None:
        self.plan = plan
        self.first_step = first_step

    def __iter__(self) -> Iterator[list[SampleKey]]:
        return self.plan.batches(self.first_step)

    def __len__(self) -> int:
        return self.plan.steps - self.first_step
