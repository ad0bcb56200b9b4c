"""Waiting on a machine that may be busy: as long as it takes, and never silently.

With busy neighbours everything takes many times as long as on an idle machine. So a limit is only
for what will never come, and what is known to have failed must raise from the question itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from lib.say import ClusterError, say

LONGEST = 900.0
SILENCE = 20.0
STATUS = "`devcluster/cluster status` and `devcluster/cluster logs NAME` say more."


class Waiting:
    """Tells what is waited for, now and then."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._began = self._told = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    def pause(self, seconds: float, seen: Callable[[], str] = lambda: "") -> None:
        """Sleep. A line each SILENCE seconds says what is waited for, and what is seen of it."""
        if time.monotonic() - self._told >= SILENCE:
            self._told = time.monotonic()
            now = seen()
            say(f"  {self.seconds:.0f} s waiting for {self.what}{now and ': '}{now}")
        time.sleep(seconds)


def wait_for(
    what: str,
    ready: Callable[[], bool],
    seen: Callable[[], str] = lambda: "",
    more: Callable[[], str] = lambda: STATUS,
    within: float = LONGEST,
) -> None:
    """Ask until something is ready.

    Args:
        what: what is waited for.
        ready: the question. What cannot come any more raises ClusterError from it.
        seen: the state of things in one line, for those who wait.
        more: what the error says, for whom waited in vain: the next command, or a log's end.
        within: seconds after which it never comes, on however busy a machine.
    """
    waiting = Waiting(what)
    while not ready():
        if waiting.seconds > within:
            raise ClusterError(f"Waited {within:.0f} s for {what}: {more()}")
        waiting.pause(0.1, seen)
