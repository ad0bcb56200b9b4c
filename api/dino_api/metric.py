"""How a metric of COCO is rounded, and written, wherever one is shown."""

from __future__ import annotations

from typing import Final

DIGITS: Final = 4
"""All that one validation run knows."""


def rounded(value: float) -> float:
    """The metric as a status keeps it."""
    return round(value, DIGITS)


def text(value: float | None) -> str:
    """The metric as people read it: 0.4100. Empty where there is none."""
    return "" if value is None else f"{value:.{DIGITS}f}"
