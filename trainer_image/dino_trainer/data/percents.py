"""Boxes in percents of the image, 0..100, as annotation tools such as Label Studio keep them.

Honest boxes look the same in small images, and in the first 100 pixels of large ones. A file is
told as percents only where something else than the range of its numbers says so.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]
Sizes = NDArray[np.int64]

PERCENT = 100.0
# So many of the boxes must agree, and there must be so many where no area tells; in small images
# so many percents reach out.
_AGREE, _ENOUGH, _REACH_OUT = 0.99, 10, 0.1
# Sums of rounded numbers may be a little more than 100; and so near are two equal areas, of which
# one may be without its fraction.
_ROUNDED, _NEAR = 0.01, 0.01
# A number of at most two digits behind the point is off by so much of a hundredth of the side.
_DIGITS = 0.005
# Images of another size that were padded to a square or to a multiple of 64 are not twice as
# large; in sides of 200 and more, boxes of pixels lie beyond 100.
_LARGE = 200
# Places of 10 x 10 whose boxes all lie within 100 pixels by chance: one file in 10^9.
_PLACE, _CHANCE = 10.0, 1e-9
# Percents of an image reach its far sides.
_FAR = 75.0


def are_percents(boxes: Boxes, sizes: Sizes, areas: Boxes) -> bool:
    """Whether a file's boxes are percents. Arguments: as of `box_form.wrong_form`."""
    inside = ((boxes >= 0) & (boxes <= PERCENT + _ROUNDED)).all(axis=1)
    if inside.mean() < _AGREE:
        return False
    return _areas_say_so(boxes, sizes, areas) or (
        len(boxes) >= _ENOUGH
        and (_are_whole_pixels(boxes, sizes) or _lie_in_the_corner(boxes, sizes))
    )


def _areas_say_so(boxes: Boxes, sizes: Sizes, areas: Boxes) -> bool:
    """Areas in pixels are those of the boxes read as percents.

    A mask has less area than its box, which in an image below 100 x 100 may be just that area:
    there, boxes must also reach out of their image. Where pixels are counted it has a row and a
    column more, which of one box in an image above 100 x 100 may be just that.
    """
    as_sizes = boxes[:, 2:].prod(axis=1)
    as_percents = as_sizes * (sizes / PERCENT).prod(axis=1)
    telling = np.isfinite(areas) & ~np.isclose(as_percents, as_sizes, rtol=5 * _NEAR, atol=1)
    if not telling.any():
        return False
    agree = np.isclose(areas, as_percents, rtol=_NEAR, atol=1)[telling].mean() >= _AGREE
    times = 1 if telling.sum() >= _ENOUGH else 2
    larger = (as_percents > times * as_sizes)[telling].all()
    out = (boxes[:, :2] + boxes[:, 2:] > sizes + 1).any(axis=1).mean() >= _REACH_OUT
    return bool(agree and (larger or out))


def _are_whole_pixels(boxes: Boxes, sizes: Sizes) -> bool:
    """Fractions as they stand, and whole pixels when they are read as percents.

    Sides of whole hundreds are not judged: there halves, quarters and tenths of a pixel are such.
    """
    judged = np.tile(sizes % int(PERCENT) != 0, 2)  # [n, 4], by the side that a number is of
    some = judged.any(axis=1)
    if some.sum() < _ENOUGH or not _are_fractions(np.where(judged, boxes, 0)[some]):
        return False
    sides = np.tile(sizes / PERCENT, 2)
    pixels = boxes * sides
    whole = np.abs(pixels - np.round(pixels)) <= _ROUNDED + _DIGITS * sides
    return bool((whole | ~judged)[some].all(axis=1).mean() >= _AGREE)


def _are_fractions(boxes: Boxes) -> bool:
    """Most of them; whole numbers are pixels."""
    return bool((boxes != np.round(boxes)).any(axis=1).mean() > 0.5)


def _lie_in_the_corner(boxes: Boxes, sizes: Sizes) -> bool:
    """All boxes of large images start within their first 100 pixels, all over that square.

    What always stands there, a logo or a clock, has few places.
    """
    large = (sizes >= _LARGE).all(axis=1)
    ends = (boxes[:, :2] + boxes[:, 2:])[large]
    if large.sum() < _ENOUGH or (ends.max(axis=0) < _FAR).any() or not _are_fractions(boxes):
        return False
    room = np.maximum(sizes[large] - boxes[large, 2:], PERCENT)  # where a box of pixels may start
    chances = np.log((PERCENT / room).prod(axis=1))
    places = (boxes[large, :2] // _PLACE).astype(np.int64)
    _, place = np.unique(places, axis=0, return_inverse=True)
    counts = np.bincount(place.ravel())
    by_place = np.bincount(place.ravel(), chances) / counts
    return len(counts) >= _ENOUGH and bool(by_place.sum() <= np.log(_CHANCE))
