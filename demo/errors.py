"""How a demo ends early: one sentence, and the command that shows more."""

from __future__ import annotations


class DemoError(Exception):
    """What went wrong, for a person. `look` is the command to look further with, or empty."""

    def __init__(self, sentence: str, look: str = "") -> None:
        super().__init__(sentence)
        self.look = look


class Stopped(Exception):
    """Another stage failed or the user pressed Ctrl-C; this one was ended for it."""
