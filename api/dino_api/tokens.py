"""How many tokens an image has: the positions of all feature maps, of which queries are chosen."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

# Of stages 0..3; a level beyond them halves the one before.
_FIRST, _LAST_STAGE = 4, 3
# Maps are rounded up, whatever the backbone; these cut their patches without padding. (With _ols
# the first convolution pads, the others do not.) Other networks of timm may have a few tokens less.
_ROUNDS_DOWN = re.compile(r"^timm/convnext(v2)?_(?!.*_ols)")


def sides(backbone: str, levels: Iterable[int], pixels: Any) -> list[Any]:
    """The side of each feature map. levels: as `model.return_interm_indices`. pixels: the same side
    of the batch, a whole number or an array of them, as which the answers come."""
    down = _ROUNDS_DOWN.match(backbone) is not None
    lengths: list[Any] = []
    for level in levels:
        if level > _LAST_STAGE:
            lengths.append(-(-lengths[-1] // 2))
        else:
            stride = _FIRST * 2**level
            lengths.append(pixels // stride if down else -(-pixels // stride))
    return lengths


def count(backbone: str, levels: Iterable[int], height: int, width: int) -> int:
    """The tokens of one size."""
    levels = tuple(levels)
    down, across = (sides(backbone, levels, side) for side in (height, width))
    return sum(h * w for h, w in zip(down, across, strict=True))
