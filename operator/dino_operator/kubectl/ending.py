"""How a command ends: with 0, or with a sentence and an exit code of sysexits.h."""

from __future__ import annotations

from dino_api.failures import exit_code
from dino_api.names import FailureReason

DONE = 0
USAGE = exit_code(FailureReason.INVALID_SPEC)
"""The command line or a manifest is wrong."""
DATA_ERROR = exit_code(FailureReason.INVALID_DATASET)
"""What was read, or what is left of it, is not what is needed."""
NO_INPUT = 66
"""A file or a resource is not there, or cannot be read."""
UNAVAILABLE = 69
"""The API server, the object store or a program that is needed is not reachable."""
CANNOT_CREATE = 73
"""A file that is to be written cannot be."""
NO_PERMISSION = 77
"""Not allowed, or not logged in."""
INTERRUPTED = 130
"""Ended by Ctrl-C, as shells count it."""
INSTALL = "In a checkout of the project: uv tool install '.[{}]'."
"""How what is missing is had; {}: the extras. No registry has the package."""
CODES = {
    DONE: "done",
    USAGE: "the command or a manifest is wrong: mend it, then try again",
    DATA_ERROR: "the data, or what was made of it, is not what is needed",
    NO_INPUT: "a file or a resource is not there, or cannot be read",
    UNAVAILABLE: "the API server, the object store or a program is not reachable",
    CANNOT_CREATE: "a file cannot be written",
    NO_PERMISSION: "not allowed, or not logged in",
    INTERRUPTED: "ended by Ctrl-C",
}
"""Every exit code, in a few words: for `--help` and the docs."""


class CommandExit(Exception):
    """Ends the command; the message is for standard error, and may have several lines."""

    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(message)
        self.status = status
