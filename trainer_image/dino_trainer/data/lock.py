"""A lock file between processes of several machines, which outlives nobody for long.

A lease of filelock: its holder touches it, and who waits takes it over where it saw no touch for a
while of its own clock, or where the holder was a process of this machine and is gone. It saves work
and guards nothing: whoever writes does so aside and renames, so that two holders, which a stopped
clock or a lost network may make, cost time and no data.
"""

from __future__ import annotations

from pathlib import Path

from filelock import SoftFileLease, Timeout

from dino_trainer.storage.store import Say

LOCK_BEAT_SECONDS = 5.0
# All trainers that share a cache must agree on it: another value needs another folder of locks.
STALE_SECONDS = 30.0
_POLL_SECONDS = 0.25


class Lock:
    """A lock that is a file, and is taken over from a process that is gone.

    path: the file. what: named to who waits. say: hears of waiting, and may raise to end it.
    """

    def __init__(self, path: Path, what: str, say: Say) -> None:
        self.path = path
        self._what, self._say = what, say
        self._lease = SoftFileLease(
            path,
            lease_duration=STALE_SECONDS,
            heartbeat_interval=LOCK_BEAT_SECONDS,
            poll_interval=_POLL_SECONDS,
            thread_local=False,
        )

    def take(self) -> None:
        """Returns once the lock is held."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lease.acquire(blocking=False)
        except Timeout:
            self._say(f"Another process is at {self._what}; waiting for it.")
            self._lease.acquire()

    def release(self) -> None:
        """Gives the lock up, if it is still ours."""
        self._lease.release()
