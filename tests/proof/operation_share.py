"""How much of the operations is tried: some, evenly spread, in `make test`; all in `make proof`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
WANTED = os.environ.get("DINO_OPERATIONS", "")
"""How many of them, or `all`."""
ALL = WANTED == "all"
WALKS = int(os.environ.get("DINO_WALKS", "8"))
"""Walks of edits in memory."""
API_WALKS = int(os.environ.get("DINO_WALKS", "2"))
"""Those before the API server."""
USUAL = 330


def chosen(things: Sequence[T], usual: int = USUAL) -> list[T]:
    """So many, evenly spread over all."""
    count = len(things) if ALL else int(WANTED or usual)
    step = max(1.0, len(things) / max(1, count))
    return [things[int(n * step)] for n in range(min(count, len(things)))]
