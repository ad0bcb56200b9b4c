"""One line of the examination."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class LineState(StrEnum):
    """ok: there, and nothing speaks against it. warn: there, and something will go worse for it.
    missing: not there, or not usable."""

    OK = "ok"
    WARN = "warn"
    MISSING = "missing"


@dataclass(frozen=True)
class Line:
    """detail: what was seen. remedy: what to do, "" where there is nothing. reason: of
    `dino_api.failures`, why what was asked for fails here; None for what a machine may lack."""

    name: str
    state: LineState
    detail: str
    remedy: str = ""
    reason: str | None = None
