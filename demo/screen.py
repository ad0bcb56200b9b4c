"""What the user sees: lines that stay, and one line at the bottom that is written over."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from typing import TextIO

QUIET_SECONDS = 10.0  # between two plain lines where there is no terminal


class Screen:
    """Prints from any thread.

    On a terminal `live` rewrites one line; elsewhere it prints one now and then.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._terminal = self._out.isatty()
        self._live = ""
        self._printed_at = 0.0
        self._lock = threading.RLock()

    def say(self, text: str = "") -> None:
        """A line that stays."""
        with self._lock:
            self._wipe()
            print(text, file=self._out, flush=True)
            self._draw()

    def live(self, text: str) -> None:
        """The line at the bottom; empty removes it.

        Without a terminal: a plain line each QUIET_SECONDS, if it changed.
        """
        with self._lock:
            if self._terminal:
                self._wipe()
                self._live = text
                self._draw()
            elif (
                text and text != self._live and time.monotonic() - self._printed_at >= QUIET_SECONDS
            ):
                self._live, self._printed_at = text, time.monotonic()
                print(text, file=self._out, flush=True)

    def _wipe(self) -> None:
        if self._terminal and self._live:
            self._out.write("\r\x1b[2K")

    def _draw(self) -> None:
        if self._terminal and self._live:
            self._out.write(self._live[: shutil.get_terminal_size().columns - 1])
            self._out.flush()


def clock(seconds: float) -> str:
    """75 -> 1:15."""
    whole = max(0, int(seconds))
    return f"{whole // 60}:{whole % 60:02d}"
