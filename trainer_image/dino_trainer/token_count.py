"""How many tokens images have: the positions of all feature maps, of which queries are chosen.

The detector refuses images with fewer tokens than queries; preflight counts them before. Nothing in
here imports torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_api.tokens import sides

MapSize = tuple[int, int]


def level_shapes(backbone: str, levels: Iterable[int], size: MapSize) -> tuple[MapSize, ...]:
    """Height and width of each feature map. levels: as `model.return_interm_indices`. size: of the
    batch, in pixels."""
    levels = tuple(levels)
    by_axis = [sides(backbone, levels, side) for side in size]
    return tuple(zip(*by_axis, strict=True))


def token_counts(backbone: str, levels: Iterable[int], sizes: NDArray[Any]) -> NDArray[np.int64]:
    """Counts [n] tokens of batches of `sizes`, int[n, 2]."""
    levels = tuple(levels)
    heights, widths = (sides(backbone, levels, sizes[:, axis]) for axis in (0, 1))
    counts: NDArray[np.int64] = np.sum(
        [h * w for h, w in zip(heights, widths, strict=True)], axis=0, dtype=np.int64
    )
    return counts


def too_few(
    shapes: Iterable[MapSize], queries: int, whose: str = "model.num_queries"
) -> str | None:
    """What is wrong with images of these feature maps, None where they have tokens enough.

    whose: what the sentence calls the number of queries.
    """
    shapes = tuple(shapes)
    count = sum(h * w for h, w in shapes)
    if count >= queries:
        return None
    maps = " + ".join(f"{h}x{w}" for h, w in shapes)
    return f"give {count} tokens, fewer than {whose} = {queries} (maps of {maps})"
