"""How a command ends otherwise than well: with a sentence and an exit code of sysexits.h."""

from __future__ import annotations

from dino_api.failures import exit_code
from dino_api.names import FailureReason

USAGE = exit_code(FailureReason.INVALID_SPEC)
"""The command line or a manifest is wrong."""
DATA_ERROR = exit_code(FailureReason.INVALID_DATASET)
"""What was read, or what is left of it, is not what is needed."""
NO_INPUT = 66
"""A file or a resource is not there, or cannot be read."""
UNAVAILABLE = 69
"""The API server or a program that is needed is not reachable."""
NO_PERMISSION = 77
"""Not allowed, or not logged in."""


class Ended(Exception):
    """Ends the command; the message is for standard error, and may have several lines."""

    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(message)
        self.status = status
