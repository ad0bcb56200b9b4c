"""A line now and then about something that takes longer than a few seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from dino_api.names import FailureReason
from dino_trainer.errors import TrainerError

_QUIET_SECONDS = 5.0


def human_bytes(count: float) -> str:
    """Writes 1536 as `1.5 KB`."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TB"


def human_seconds(seconds: float) -> str:
    """Writes 3700 as `1 h 2 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class ByteMeter:
    """Counts bytes from any thread and says how far it is, at most every 5 seconds.

    what: the start of each line. total: bytes in all, 0 where not known.
    stop: when set, the next count raises Preempted, which ends the copy at once.
    """

    def __init__(
        self,
        what: str,
        total: int,
        say: Callable[[str], None],
        stop: threading.Event | None = None,
        quiet: float = _QUIET_SECONDS,
    ) -> None:
        self._what, self._total, self._say, self._stop = what, total, say, stop
        self._quiet = quiet
        self._lock = threading.Lock()
        self._done = 0
        self._started = self._spoken_at = time.monotonic()

    def __call__(self, count: int) -> None:
        if self._stop is not None and self._stop.is_set():
            raise TrainerError(FailureReason.PREEMPTED, f"Stopped while {self._what}.")
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._spoken_at < self._quiet:
                return
            self._spoken_at = now
            line = self._line(now - self._started)
        self._say(line)

    def _line(self, seconds: float) -> str:
        speed = human_bytes(self._done / seconds)
        if not self._total:
            return f"{self._what}: {human_bytes(self._done)}, {speed}/s"
        share = 100 * self._done / self._total
        total = human_bytes(self._total)
        return f"{self._what}: {human_bytes(self._done)} of {total} ({share:.0f} %), {speed}/s"
