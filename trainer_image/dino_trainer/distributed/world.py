"""The processes that share one training, as one of them sees them.

The training loop is written once, for any number of processes: alone, every method here returns
what it was given. `group.Group` is the World of a process that has peers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import nn

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process's place. Methods that communicate must be called by all ranks, in one order.

    rank: 0 … size - 1 over all nodes; rank 0 alone writes checkpoints and reports.
    size: processes in all. local_rank: place among the processes of this node.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @classmethod
    def alone(cls) -> World:
        """A process without peers."""
        return World()

    @property
    def is_main(self) -> bool:
        """Whether this process writes what the training leaves behind."""
        return self.rank == 0

    def reduce(self, values: Sequence[float]) -> list[float]:
        """The sums of `values` over all ranks: one message over the CPU, no wait for the GPU."""
        return [float(value) for value in values]

    def wrap(self, model: nn.Module) -> nn.Module:
        """What to call in place of `model` so that gradients are averaged over the ranks.

        Parameters stay those of `model`; keep using `model` for everything but the forward pass.
        Freeze parameters before, never after.
        """
        return model

    def no_sync(self, wrapped: nn.Module) -> AbstractContextManager[None]:
        """Forward and backward passes in it only add to the gradients of this rank.

        For all but the last of the passes of an optimiser step.
        """
        return nullcontext()

    def barrier(self) -> None:
        """Waits until all ranks are here."""

    def broadcast(self, value: T) -> T:
        """Rank 0's `value`, on every rank. Any object that can be pickled."""
        return value

    def gather(self, value: T) -> list[T] | None:
        """Every rank's `value` by rank, on rank 0; None on the others."""
        return [value]

    @contextmanager
    def first_here(self) -> Iterator[None]:
        """Local rank 0 does the block first; its node's other ranks then find its work done.

        For files that the processes of a node share, such as staged data.
        """
        if self.local_rank:
            self.barrier()
        yield
        if not self.local_rank:
            self.barrier()
