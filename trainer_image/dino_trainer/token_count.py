"""How many tokens images have: the positions of all feature maps, of which queries are chosen.

The detector refuses images with fewer tokens than queries; preflight counts them before. Nothing in
here imports torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

MapSize = tuple[int, int]
# Of stages 0..3; a level beyond them halves the one before.
_FIRST, _LAST_STAGE = 4, 3
# Maps are rounded up, whatever the backbone; these cut their patches without padding. (With _ols
# the first convolution pads, the others do not.) Other networks of timm may have a few tokens less.
_ROUNDS_DOWN = re.compile(r"^timm/convnext(v2)?_(?!.*_ols)")


def level_shapes(backbone: str, levels: Iterable[int], size: MapSize) -> tuple[MapSize, ...]:
    """Height and width of each feature map. levels: as `model.return_interm_indices`. size: of the
    batch, in pixels."""
    sides = [_sides(backbone, levels, np.array(side)) for side in size]
    return tuple((int(h), int(w)) for h, w in zip(*sides, strict=True))


def token_counts(backbone: str, levels: Iterable[int], sizes: NDArray[Any]) -> NDArray[np.int64]:
    """[n] tokens of batches of `sizes`, int[n, 2]."""
    levels = tuple(levels)
    heights, widths = (_sides(backbone, levels, sizes[:, axis]) for axis in (0, 1))
    return np.sum([h * w for h, w in zip(heights, widths, strict=True)], axis=0, dtype=np.int64)


def too_few(shapes: Iterable[MapSize], queries: int) -> str | None:
    """What is wrong with images of these feature maps, None where they have tokens enough."""
    shapes = tuple(shapes)
    count = sum(h * w for h, w in shapes)
    if count >= queries:
        return None
    maps = " + ".join(f"{h}x{w}" for h, w in shapes)
    return f"give {count} tokens, fewer than model.num_queries = {queries} (maps of {maps})"


def _sides(backbone: str, levels: Iterable[int], pixels: NDArray[Any]) -> list[NDArray[Any]]:
    down = _ROUNDS_DOWN.match(backbone) is not None
    found: list[NDArray[Any]] = []
    for level in levels:
        if level > _LAST_STAGE:
            found.append(-(-found[-1] // 2))
        else:
            stride = _FIRST * 2**level
            found.append(pixels // stride if down else -(-pixels // stride))
    return found
