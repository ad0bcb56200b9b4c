"""One command at a time per thing it changes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from lib.paths import home
from lib.patience import Waiting
from lib.say import say


@contextmanager
def locked(what: str) -> Iterator[None]:
    """Hold the lock named `what`, waiting for another command as long as that one holds it.

    The kernel drops the lock when its holder dies, so that nothing stale is ever left. Who waits is
    told for whom: how long a command takes depends on the machine, so that there is no limit.
    """
    folder = home() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / what, "a+") as file:
        _acquire(file.fileno(), what)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _acquire(descriptor: int, what: str) -> None:
    waiting = None
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode() or "unknown"
        other = f"another cluster command (process {holder}), which works on the {what}"
        if waiting is None:
            say(f"Waiting for {other} ...")
            waiting = Waiting(other)
        waiting.pause(0.2)
