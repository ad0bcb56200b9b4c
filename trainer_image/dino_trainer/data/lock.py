"""A lock file between processes of several machines, which outlives nobody for long.

It saves work and guards nothing: whoever writes does so aside and renames, so that two holders,
which a stopped clock or a lost network may make, cost time and no data.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from pathlib import Path

from dino_trainer.storage import Say

BEAT_SECONDS = 5.0
STALE_SECONDS = 30.0
_POLL_SECONDS = 0.25


class Lock:
    """path: the file. what: named to who waits. say: hears of waiting, and may raise to end it."""

    def __init__(self, path: Path, what: str, say: Say) -> None:
        self.path, self.token = path, uuid.uuid4().hex
        self._what, self._say = what, say
        self._done = threading.Event()

    def take(self) -> list[str]:
        """Returns once the lock is held: the tokens of holders that died holding it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        dead: list[str] = []
        seen, since, told = "", time.monotonic(), False
        while not self._create():
            now = self._look()
            if now != seen:
                seen, since = now, time.monotonic()
            if now and (_died(now) or time.monotonic() - since > STALE_SECONDS):
                dead.append(now.split()[0])
                self.path.unlink(missing_ok=True)
                continue
            if not told:
                self._say(f"Another process is at {self._what}; waiting for it.")
                told = True
            time.sleep(_POLL_SECONDS)
        threading.Thread(target=self._beat, daemon=True, name="lock").start()
        return dead

    def release(self) -> None:
        """Gives the lock up, if it is still ours."""
        self._done.set()
        if self._look().startswith(self.token):
            self.path.unlink(missing_ok=True)

    def _create(self) -> bool:
        try:
            with self.path.open("x") as file:
                file.write(f"{self.token} {os.getpid()} {socket.gethostname()}")
        except FileExistsError:
            return False
        return True

    def _look(self) -> str:
        """Holder and last sign of life; empty where the lock was just given up."""
        try:
            return f"{self.path.read_text()} {self.path.stat().st_mtime_ns}"
        except FileNotFoundError:
            return ""

    def _beat(self) -> None:
        while not self._done.wait(BEAT_SECONDS):
            try:
                os.utime(self.path)
            except OSError:
                return  # taken over: whoever has it now believes us dead


def _died(seen: str) -> bool:
    """Whether the holder was on this machine and is gone."""
    parts = seen.split()
    if len(parts) != 4 or parts[2] != socket.gethostname():
        return False
    try:
        os.kill(int(parts[1]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
