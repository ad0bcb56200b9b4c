"""Boxes that are not COCO's [x, y, width, height] in pixels: shares or percents, or corners.

They are read without an error and train a detector that finds nothing. A file is judged as a whole,
since a single box of any form may be a real one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dino_trainer.data.percents import Boxes, Sizes, are_percents

# Shares: of at least so many of the boxes. A few may be clicks by mistake.
_MOST = 0.5
# Corners: so many boxes must fit as corners, so many of them not into their image as sizes; with
# areas that tell, fewer boxes are enough.
_FIT, _REACH_OUT, _ENOUGH = 0.99, 0.1, 10
_NEAR = 0.01


def wrong_form(boxes: Boxes, sizes: Sizes, areas: Boxes) -> str | None:
    """The rule that a file's boxes break; None where they are in pixels.

    boxes: [n, 4] as written. sizes: [n, 2] of each box's image. areas: [n], NaN where none is given
    or it is no area.
    """
    if not len(boxes):
        return None
    if normalised(boxes, sizes).mean() >= _MOST:
        return "boxes-normalised"
    if are_percents(boxes, sizes, areas):
        return "boxes-percents"
    return "boxes-corners" if _are_corners(boxes, sizes, areas) else None


def normalised(boxes: Boxes, sizes: Sizes) -> NDArray[np.bool_]:
    """Marks of [n] boxes those of which every number is within 0..1 (a pixel, as they stand)."""
    inside = ((boxes >= 0) & (boxes <= 1)).all(axis=1)
    within: NDArray[np.bool_] = np.logical_and(
        inside & (sizes > 1).all(axis=1), (boxes[:, 2:] > 0).all(axis=1)
    )
    return within


def _are_corners(boxes: Boxes, sizes: Sizes, areas: Boxes) -> bool:
    start, end = boxes[:, :2], boxes[:, 2:]
    fit = ((end > start) & (start >= -1) & (end <= sizes + 1)).all(axis=1)
    if fit.mean() < _FIT:
        return False
    out = (start + end > sizes + 1).any(axis=1)
    as_corners, as_sizes = (end - start).prod(axis=1), end.prod(axis=1)
    known = np.isfinite(areas) & ~np.isclose(as_corners, as_sizes, rtol=_NEAR)
    if known.any():
        says_corners = np.isclose(areas[known], as_corners[known], rtol=_NEAR).mean()
        says_sizes = np.isclose(areas[known], as_sizes[known], rtol=_NEAR).mean()
        if says_corners >= _FIT:
            return bool(out.any()) or len(boxes) >= _ENOUGH
        # A converter that takes corners for sizes writes the product of the last two as area.
        if says_sizes >= _FIT and not out.any():
            return False
    return len(boxes) >= _ENOUGH and bool(out.mean() >= _REACH_OUT)
