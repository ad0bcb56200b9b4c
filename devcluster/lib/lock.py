"""One command at a time per thing it changes."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lib.paths import home
from lib.say import ClusterError, say


@contextmanager
def locked(what: str, wait: float = 0) -> Iterator[None]:
    """Hold the lock named `what`, waiting for another command at most `wait` seconds.

    The kernel drops the lock when its holder dies, so that nothing stale is ever left.
    Raises ClusterError, naming the other process, when the wait is over.
    """
    folder = home() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / what, "a+") as file:
        _acquire(file.fileno(), what, wait)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _acquire(descriptor: int, what: str, wait: float) -> None:
    deadline = time.monotonic() + wait
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode() or "unknown"
        if time.monotonic() >= deadline:
            raise ClusterError(
                f"Another cluster command (process {holder}) is working on the {what} "
                "of the dev cluster: wait until it is done, then try again."
            )
        if not told:
            say(f"Waiting for another cluster command (process {holder}) ...")
            told = True
        time.sleep(0.2)
