"""Which images make up which training step, as a pure function of the seed.

Nothing here has a memory. Step n always holds the same images, whoever asks, in whatever process
and after whatever interruption, so a run continues exactly where it stopped and the number of
loader workers cannot change a result.

A step takes `global_batch` images: `batch_size` x `accumulate` on each of `world` processes. They
are a slice of the epoch's order, and each process's share is a slice of that, which it takes in
micro-batches of `forward_batch` images. Where the cuts are decides nothing but memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol, TypedDict

import numpy as np
import torch

from dino_trainer.data.random_streams import ORDER, seed_of
from dino_trainer.data.sizes import PaddingCost, by_size, padding


@dataclass(frozen=True)
class SampleKey:
    """One image in one epoch: all that decides its augmentation beside the seed."""

    epoch: int
    index: int


class PositionContent(TypedDict):
    """The `Position` in a checkpoint."""

    epoch: int
    seen: int
    cuts: list[list[int]]


@dataclass(frozen=True)
class Position:
    """A place between two steps.

    epoch: epochs finished. seen: images of the next one that finished steps took. cuts: by how
    many at a time they were taken, (images of a step, images in all), earliest first; more than
    one pair if the number of processes changed. Where it is empty, all were taken as the plan at
    hand takes them.
    """

    epoch: int = 0
    seen: int = 0
    cuts: tuple[tuple[int, int], ...] = ()

    def plain(self) -> PositionContent:
        """The content of it in a checkpoint."""
        return {"epoch": self.epoch, "seen": self.seen, "cuts": [list(cut) for cut in self.cuts]}

    @classmethod
    def read(cls, plain: PositionContent) -> "Position":
        """What `plain` wrote."""
        cuts = tuple((step, taken) for step, taken in plain["cuts"])
        return cls(plain["epoch"], plain["seen"], cuts)

    def after(self, step: int, taken: int) -> "Position":
        """The place `taken` images later in the same epoch, taken `step` at a time."""
        if not taken:
            return self
        cuts = self.cuts or (((step, self.seen),) if self.seen else ())
        if cuts and cuts[-1][0] == step:
            cuts = (*cuts[:-1], (step, cuts[-1][1] + taken))
        else:
            cuts = (*cuts, (step, taken))
        return Position(self.epoch, self.seen + taken, cuts)


class ImageSizes(Protocol):
    """Tells the size of each image in an epoch, int[n, 2] as height and width."""

    def of(self, epoch: int) -> np.ndarray: ...


@dataclass(frozen=True)
class TrainPlan:
    """The order of a whole training, or of what is left of it.

    An epoch is a fresh shuffle cut into `steps_per_epoch` full steps; the images that do not fill
    a last one are left out of that epoch, and the next shuffle leaves out others. With `sizes`,
    the images of a step are of like size, those of a micro-batch more so, and the steps are
    shuffled again.

    Steps are numbered so that epoch e begins at step e x `steps_per_epoch`. A run that goes on in
    the middle of an epoch with another number of processes takes the images of that epoch that
    were not seen, none twice; the epoch's last steps keep their numbers.

    Args:
        images: in the data set.
        batch_size: images per process and forward pass, unless `micro_batch` says less.
        epochs: of the whole training.
        seed: of the whole training.
        accumulate: batches of a process per step.
        world: processes.
        start: where the run begins.
        sizes: for batches of like size.
        micro_batch: images of a forward pass, at most `batch_size`; None: `batch_size`.

    Raises:
        ValueError: if there are fewer images than a step takes.
    """

    images: int
    batch_size: int
    epochs: int
    seed: int
    accumulate: int = 1
    world: int = 1
    start: Position = Position()
    sizes: ImageSizes | None = None
    micro_batch: int | None = None

    def __post_init__(self) -> None:
        if self.images >= self.global_batch:
            return
        step, remedy = f"one batch of {self.batch_size}", "lower dataset.batch_size or add images"
        if self.global_batch != self.batch_size:
            step = f"the {self.global_batch} of one step ({self.batch_size} a batch"
            step += f", {self.accumulate} batches a step" if self.accumulate > 1 else ""
            step += f", {self.world} processes" if self.world > 1 else ""
            step += ")"
        raise ValueError(
            f"The training data has {self.images} image(s), fewer than {step}: {remedy}."
        )

    @property
    def global_batch(self) -> int:
        """Images of a step, all processes together."""
        return self.share * self.world

    @property
    def share(self) -> int:
        """Images of a step that one process takes."""
        return self.batch_size * self.accumulate

    @property
    def forward_batch(self) -> int:
        """Images of a forward pass: a micro-batch, or a whole batch."""
        return min(self.micro_batch or self.batch_size, self.batch_size)

    @property
    def passes(self) -> int:
        """Forward passes of a step, the last one with what is left."""
        return -(-self.share // self.forward_batch)

    @property
    def steps_per_epoch(self) -> int:
        return self.images // self.global_batch

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    @property
    def first_step(self) -> int:
        """The number of the step that begins at `start`."""
        left = (self.images - self.start.seen) // self.global_batch
        return (self.start.epoch + 1) * self.steps_per_epoch - left

    def position(self, step: int) -> Position:
        """The place before step `step`, which is `first_step` or a later one."""
        epoch, index = divmod(step, self.steps_per_epoch)
        if epoch != self.start.epoch:
            return Position(epoch).after(self.global_batch, index * self.global_batch)
        return self.start.after(self.global_batch, (step - self.first_step) * self.global_batch)

    def progress(self, position: Position) -> float:
        """How much of the training lies before `position`, 0 to 1; its pace is the epochs'."""
        whole = self.steps_per_epoch * self.global_batch
        return (position.epoch + min(1.0, position.seen / whole)) / self.epochs

    def resumed(self, position: Position) -> "TrainPlan":
        """The same training from `position`, which may be of a plan with another `world`."""
        return replace(self, start=position)

    def order(self, epoch: int) -> list[int]:
        """The image indices of one epoch that are not seen at its start, in training's order."""
        left = torch.randperm(self.images, generator=self._generator(epoch)).numpy()
        if self.sizes is None:
            seen = self.start.seen if epoch == self.start.epoch else 0
            order: list[int] = left[seen:].tolist()
        else:
            order = self._by_size(left, epoch, self.sizes.of(epoch)).tolist()
        return order

    def padding(self) -> PaddingCost | None:
        """The padding of the epoch at `start`, all of it, micro-batches aside; None unplanned.

        It takes as long as the planning of an epoch: 1 to 2 s for 100,000 images.
        """
        if self.sizes is None:
            return None
        epoch = min(self.start.epoch, self.epochs - 1)
        order = self.resumed(Position()).order(epoch)
        return padding(self.sizes.of(epoch)[order], self.batch_size)

    def batches(
        self, rank: int = 0, first_step: int | None = None
    ) -> Iterator[list[list[SampleKey]]]:
        """What process `rank` takes in each step from `first_step` (default: `start`) to the end.

        Yields:
            One entry a step: its micro-batches, `passes` of them.
        """
        first_step = self.first_step if first_step is None else first_step
        for epoch in range(first_step // self.steps_per_epoch, self.epochs):
            begin = max(epoch * self.steps_per_epoch, self.first_step)
            order = self.order(epoch)
            for step in range(max(begin, first_step), (epoch + 1) * self.steps_per_epoch):
                place = (step - begin) * self.global_batch + rank * self.share
                keys = [SampleKey(epoch, index) for index in order[place : place + self.share]]
                cuts = range(0, self.share, self.forward_batch)
                yield [keys[cut : cut + self.forward_batch] for cut in cuts]

    def _generator(self, *key: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed_of(ORDER, self.seed, *key))

    def _by_size(self, left: np.ndarray, epoch: int, sizes: np.ndarray) -> np.ndarray:
        """Steps of like size from the shuffle `left`, without what earlier cuts of it took."""
        taken: tuple[tuple[int, int], ...] = ()
        if epoch == self.start.epoch and self.start.seen:
            taken = self.start.cuts or ((self.global_batch, self.start.seen),)
        group = 0
        for cut, (group, count) in enumerate(taken):
            left = self._grouped(left, group, sizes, epoch, cut)[count:]
        if group == self.global_batch:
            return left
        return self._grouped(left, self.global_batch, sizes, epoch, len(taken))

    def _grouped(
        self, left: np.ndarray, group: int, sizes: np.ndarray, epoch: int, cut: int
    ) -> np.ndarray:
        """`left` in groups of like size, shuffled; last the ones that fill none."""
        whole = len(left) // group * group
        order = by_size(sizes[left[:whole]], group, self.batch_size)
        chosen = left[:whole][order].reshape(-1, group)
        shuffle = torch.randperm(len(chosen), generator=self._generator(epoch, cut)).numpy()
        return np.concatenate([chosen[shuffle].reshape(-1), left[whole:]])
