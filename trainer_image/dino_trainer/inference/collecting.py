"""What all processes finish, to the first one, image after image in their order.

Processes take the batches by turns, as cards are dealt, and meet every few turns: each sends what
it has finished since, so that no process ever holds more than a little of the result. A batch holds
the same images whoever takes it, so another number of processes leaves the very same files.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dino_api.names import FailureReason
from dino_trainer.distributed.world import World
from dino_trainer.errors import TrainerError
from dino_trainer.inference.rendering import FinishedImage, Renderer
from dino_trainer.report.pace import Watch

IMAGES_BETWEEN_MEETINGS = 32
"""Of each process. Meeting makes all wait for the slowest, and what is finished waits for it."""
MOST_BYTES = 16 << 20
"""That a process sends at once. Where it has more, all meet again before they go on."""


@dataclass(frozen=True)
class SentImages:
    """What one process sends. seen: the images that it has looked at. more: whether it has more to
    send. stop: whether it was asked to stop."""

    images: list[FinishedImage]
    seen: int
    more: bool
    stop: bool


@dataclass(frozen=True)
class MeetingOutcome:
    """What all hear: images that are done, whether all stop, whether anybody has more to send."""

    done: int
    stop: bool
    more: bool


class ImageOrder:
    """Images of all processes, brought back into their order.

    Those of one process come in order. batch: images of one batch.
    """

    def __init__(self, processes: int, batch: int) -> None:
        self._queues: list[deque[FinishedImage]] = [deque() for _ in range(processes)]
        self._batch, self._next = batch, 0

    def add(self, rank: int, images: list[FinishedImage]) -> None:
        """What one process has sent."""
        self._queues[rank].extend(images)

    def ready(self) -> Iterator[FinishedImage]:
        """Those before which none is missing, each once."""
        while queue := self._queues[self._next // self._batch % len(self._queues)]:
            self._next += 1
            yield queue.popleft()


class Collector:
    """The meetings of an inference; all processes are to call the same methods in the same order.

    total: images in all. batch: of them in a batch. write: is given every image, in order, on the
    first process.
    """

    def __init__(
        self,
        world: World,
        total: int,
        batch: int,
        watch: Watch,
        write: Callable[[FinishedImage], None],
    ) -> None:
        self._world, self._total, self._watch, self._write = world, total, watch, write
        self._order = ImageOrder(world.size, batch)
        # A process without peers need not wait for anybody.
        self._turns = max(1, IMAGES_BETWEEN_MEETINGS // batch) if world.size > 1 else 1
        self._done = 0

    def after(self, turn: int, renderer: Renderer, seen: int) -> None:
        """After each turn of all processes, counted from 1. seen: images of this one so far.

        Raises Preempted where one of them was asked to stop and images are left to look at.
        """
        if turn % self._turns == 0:
            self.meet(renderer, seen)

    def meet(self, renderer: Renderer, seen: int) -> None:
        """Sends what is finished. Raises Preempted as `after` does, on all processes."""
        more = True
        while more:
            images = renderer.taken(MOST_BYTES)
            sent = SentImages(images, seen, renderer.more, self._watch.stop.is_set())
            parts = self._world.gather(sent)
            outcome = None if parts is None else self._take_in(parts)
            outcome = self._world.broadcast(outcome)
            assert outcome is not None  # the first process always has one
            if outcome.stop:
                raise TrainerError(
                    FailureReason.PREEMPTED,
                    f"Stopped on request after {outcome.done} of {self._total} images.",
                )
            more = outcome.more

    def _take_in(self, parts: list[SentImages]) -> MeetingOutcome:
        """Writes what is complete."""
        for rank, part in enumerate(parts):
            self._order.add(rank, part.images)
        for image in self._order.ready():
            self._write(image)
        done = sum(part.seen for part in parts)
        if done > self._done:
            self._done = done
            self._watch.progress(done, self._total)
        # Asked again: who hears of the progress may stop it.
        asked = self._watch.stop.is_set() or any(part.stop for part in parts)
        return MeetingOutcome(done, asked and done < self._total, any(part.more for part in parts))
