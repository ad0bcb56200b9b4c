"""Training processes for tests: forked from a server that has imported torch once."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import torch

from dino_trainer.distributed import World
from dino_trainer.distributed.group import joined
from dino_trainer.distributed.meeting import OneNode
from dino_trainer.errors import failure_of
from dino_trainer.machine.child_processes import end_with_parent
from tests.patience import LONG

_CONTEXT = multiprocessing.get_context("forkserver")


def in_ranks(size: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `function(world, *arguments)` returned in each of `size` processes.

    A rank that raised returns the reason of its failure; one that died, None.
    """
    meeting = OneNode().meet(threading.Event()).env
    with _one_thread():
        started = [_start(rank, size, meeting, function, arguments) for rank in range(size)]
    results = []
    for process, receiver in started:
        assert receiver.poll(LONG), "a rank hangs"
        try:
            results.append(receiver.recv())
        except EOFError:
            results.append(None)
        process.join()
    for result in results:
        assert not (isinstance(result, tuple) and result[:1] == ("InternalError",)), result
    return results


def _start(
    rank: int, size: int, meeting: dict[str, str], function: Callable[..., Any], arguments: Any
) -> tuple[Any, Connection]:
    env = {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)} | meeting
    receiver, sender = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_rank, args=(env, sender, function, arguments))
    process.start()
    sender.close()
    return process, receiver


def _rank(
    env: dict[str, str], sender: Connection, function: Callable[..., Any], arguments: Any
) -> None:
    end_with_parent()
    os.environ.update(env)
    torch.set_num_threads(1)
    try:
        with joined(0) as world:
            result = function(world, *arguments)
    # The test decides what to think of it.
    except Exception as error:  # noqa: BLE001
        failure = failure_of(error)
        result = (failure.reason, failure.message)
    sender.send(result)
    sender.close()
    # Like a rank of the command: no farewell to peers that may be gone.
    os._exit(0)


@contextmanager
def _one_thread() -> Iterator[None]:
    """The server is started with the environment of the first call."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


__all__ = ["World", "in_ranks"]
