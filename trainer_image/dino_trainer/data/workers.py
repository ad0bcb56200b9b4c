"""The processes that read images for a loader: where they come from, what they are sent, and what
is said when one dies.

They are forked from a server that has no threads, never from the training: a fork copies the locks
that other threads hold at that moment, such as those of OpenSSL while progress is sent, and nobody
gives them back in the copy. It would wait for ever, and the training for it.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from typing import Any, Generic, Protocol, TypedDict, TypeVar

import torch
from torch._utils import ExceptionWrapper
from torch.utils.data import DataLoader, Dataset, Sampler

from dino_api.experiment import DatasetConfig
from dino_api.names import FailureReason
from dino_trainer.errors import TrainerError
from dino_trainer.machine.child_processes import end_with_parent, fork_server, starting
from dino_trainer.machine.cores import cores_each

Place = TypeVar("Place", covariant=True)
Item = TypeVar("Item")
Joined = TypeVar("Joined")
_SERVER_GONE = 255
"""What multiprocessing takes as the exit code of all its processes where the server has ended."""


class BatchedPlaces(Protocol[Place]):
    """Places that are read together, in order."""

    def __iter__(self) -> Iterator[Sequence[Place]]: ...

    def __len__(self) -> int: ...


class Requests(Sampler[list[tuple[Place, Item]]]):
    """Batches of places, each with what lies there.

    A worker is sent what it is to read and no more: a data set of a million images is in one
    process alone.

    batches: of places; each iteration goes through them anew. item: what lies at a place.
    """

    def __init__(self, batches: BatchedPlaces[Place], item: Callable[[Place], Item]) -> None:
        self._batches, self._item = batches, item

    def __iter__(self) -> Iterator[list[tuple[Place, Item]]]:
        for batch in self._batches:
            yield [(place, self._item(place)) for place in batch]

    def __len__(self) -> int:
        return len(self._batches)


class Loader(Generic[Joined]):
    """Batches in the order of their requests, read by as many workers as the spec and the cores
    allow; by this process where `dataset.workers` is 0.

    dataset: reads one request. collate: joins what was read to a batch. pin: whether batches go to
    a GPU.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        requests: Requests[Any, Any],
        collate: Callable[[list[Any]], Joined],
        config: DatasetConfig,
        pin: bool,
    ) -> None:
        self._loader: DataLoader[Any] = DataLoader(
            dataset, batch_sampler=requests, collate_fn=collate, **_worker_options(config, pin)
        )

    def __iter__(self) -> Iterator[Joined]:
        """Starts the workers.

        Raises:
            RuntimeError: what a worker raised; or "... killed by signal: ..." where one has died.
            TrainerError: (Crashed) no worker can be started, or their server has ended.
        """
        with starting():
            batches = iter(self._loader)
        return _watched(batches, multiprocessing.active_children())

    def __len__(self) -> int:
        return len(self._loader)


def _watched(batches: Iterator[Joined], workers: Sequence[BaseProcess]) -> Iterator[Joined]:
    """The batches. Where a worker is gone torch tells its number, and this by which signal."""
    try:
        yield from batches
    except RuntimeError as error:
        for one in workers:
            code = one.exitcode or 0
            if code < 0:
                by = signal.strsignal(-code)
                raise RuntimeError(f"Worker {one.pid} was killed by signal: {by}.") from error
            if code == _SERVER_GONE:
                raise TrainerError(
                    FailureReason.CRASHED,
                    "The process that a loader's workers are forked from has ended.",
                    "It was killed, perhaps for want of memory. Run again: a training resumes from "
                    "its checkpoint. dataset.workers: 0 trains without such processes.",
                ) from error
        raise


class _WorkerOptions(TypedDict):
    """What a DataLoader is told of its workers."""

    num_workers: int
    pin_memory: bool
    worker_init_fn: Callable[[int], None] | None
    prefetch_factor: int | None
    multiprocessing_context: BaseContext | None


def _worker_options(config: DatasetConfig, pin: bool) -> _WorkerOptions:
    workers = min(config.workers, cores_each())
    return {
        "num_workers": workers,
        "pin_memory": pin and config.pin_memory,
        "worker_init_fn": quiet_worker if workers else None,
        "prefetch_factor": 4 if workers else None,
        "multiprocessing_context": fork_server() if workers else None,
    }


def quiet_worker(_: int) -> None:
    """A session of its own: Ctrl-C, `timeout` and others signal the whole group of the training
    process, which needs its workers to finish the step. It ends them itself, by SIGTERM, and
    where SIGKILL ended it, they end by themselves.
    """
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()
    torch.set_num_threads(1)
    Queue._on_queue_feeder_error = _send_error  # type: ignore[attr-defined]  # a hook of its own


def _send_error(queue: "Queue[tuple[int, Any]]", _: Exception, batch: tuple[int, Any]) -> None:
    """Sends why a batch could not be sent, such as for want of shared memory or of open files.

    Python would print it and go on, and the reader would wait for that batch for ever. For an
    `except` clause. batch: its number and what was read; bytes where the reader's pipe is closed.
    """
    if not isinstance(batch, tuple) or isinstance(batch[1], ExceptionWrapper):
        os._exit(1)  # it cannot be told, and the reader notices this
    queue.put((batch[0], ExceptionWrapper(where="while a loader's worker sent a batch")))
