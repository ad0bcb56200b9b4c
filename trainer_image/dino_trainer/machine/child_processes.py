"""Processes that read images for this one: forked from a server, and gone when this one is."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext
from types import ModuleType

from dino_api.names import FailureReason
from dino_trainer.errors import TrainerError

PRELOADED = [
    "__main__",
    "dino_trainer.data.loader",
    *(f"PIL.{name}ImagePlugin" for name in ("Bmp", "Gif", "Jpeg", "Png", "Ppm")),
    "torch.nested._internal.nested_tensor",
]
"""What the server has imported when it forks: it takes a second and a half, once. The last ones are
what reading and joining images import when first needed, which is in each worker anew."""


def fork_server() -> BaseContext:
    """Starts the process that others are forked from, unless it runs: early, best of all, as it
    imports what it needs while this one goes on.

    A fork of this process itself would copy the locks that its threads hold at that moment. The
    server has no threads. It does not hear of SIGTERM, which may go to all of a process group: what
    it forks may be needed to end in order. `end_with_parent` makes that hear of it again.

    Raises TrainerError (Crashed) where it cannot be started.
    """
    leave_unusable_folder()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED + named_main(sys.modules["__main__"]))
    with starting():
        resource_tracker.ensure_running()  # the next would start it, and unblock SIGTERM
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


@contextmanager
def starting() -> Iterator[None]:
    """Around what starts processes. Raises TrainerError (Crashed) where that fails."""
    try:
        yield
    except (OSError, EOFError) as error:
        raise TrainerError(
            FailureReason.CRASHED,
            f"No process can be started that reads images: {error or type(error).__name__}.",
            "TMPDIR must be a folder that can be written, with a path of at most 70 bytes; the "
            "limits of processes (ulimit -u, a pod's pids) and of open files (ulimit -n) and the "
            "memory must suffice. Or set dataset.workers: 0, which needs no such process to train.",
        ) from error


def leave_unusable_folder() -> None:
    """A process that is started enters the folder of this one, which may be deleted, or closed to
    this user (after `sudo -u`). No relative path means anything there, so any other will do.
    """
    try:
        os.chdir(os.getcwd())
    except OSError:
        os.chdir("/")


def named_main(main: ModuleType) -> list[str]:
    """The module that `python -m` runs, by its name. The server would not import it, as it does a
    script, and each process that it forks would, with all that it needs.
    """
    name = main.__spec__.name if main.__spec__ else ""
    return [name] if name and not name.endswith("__main__") else []


def end_with_parent() -> None:
    """Ends this process of multiprocessing's, however it was started, when the one dies that asked
    for it, even by SIGKILL: each has the end of a pipe that its parent holds open.

    On a laptop nothing else ends it: it would keep its memory, and the locks that it holds. From
    here on SIGTERM reaches it.

    Of a fork server the kernel knows another parent, the server, which itself ends when no process
    of its is left. So neither the kernel nor torch, who ask for that parent, would notice.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None, "multiprocessing has started this process"

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="parent", daemon=True).start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
