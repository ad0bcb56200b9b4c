"""What the user reads: stages with their seconds, and errors that are sentences."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class ClusterError(Exception):
    """Something the user can act on: a sentence that says what is wrong, where, and what to do."""


def say(line: str) -> None:
    """Print one line for a person. Progress goes to standard error, so that output can be piped."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def stage(what: str, about: str | None = None) -> Iterator[None]:
    """Announce a stage with the time it takes, and print its seconds when it is done."""
    say(f"{what} (about {about}) ..." if about else f"{what} ...")
    start = time.monotonic()
    yield
    say(f"{what}: done in {time.monotonic() - start:.1f} s")


def tail(path: str, lines: int = 12) -> str:
    """The last lines of a log file, indented, for an error message."""
    try:
        with open(path, errors="replace") as file:
            last = file.readlines()[-lines:]
    except OSError:
        return ""
    return "".join("    " + line for line in last).rstrip()
