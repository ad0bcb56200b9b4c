"""Category ids that a list counts from 0 and its boxes from 1, or the other way round.

Of such a file only the boxes of one class name a category that is not listed; all others name a
wrong one, without a word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from dino_trainer.data.flaws import Flaw

_BACKGROUND = re.compile(r"[\W_]*(?:background|bg|none|ignore)[\W_]*", re.I)


def shifted(listed: Mapping[int, str], annotations: Sequence[Any], path: str) -> Flaw | None:
    """The flaw of such a file; None of any other.

    listed: names by id, which must be counted without gaps from 0 or 1. annotations: as they stand
    in the file. Of a background there is no box, so that the list may well begin with it.
    """
    first, last = min(listed, default=0), max(listed, default=0)
    counted = first in (0, 1) and len(listed) == last - first + 1
    if not counted or _BACKGROUND.fullmatch(listed[first]):
        return None
    used = {
        one["category_id"]
        for one in annotations
        if isinstance(one, dict) and type(one.get("category_id")) is int
    }
    shift = 1 if first == 0 else -1
    at_either_end = {last + 1, first} if shift == 1 else {first - 1, last}
    beyond = (last + 1) if shift == 1 else first - 1
    unknown = used - set(listed)
    if unknown != {beyond} or used & at_either_end != {beyond}:
        return None
    ranges = f"the list has {_span(first, last)}, the boxes {_span(min(used), max(used))}"
    return Flaw("category-ids-shifted", f"({ranges})", f"{path}: {ranges}.")


def _span(first: int, last: int) -> str:
    return f"{first} to {last}" if first < last else str(first)
