"""Deformable sampling on the CPU, compiled on first use; no C++ compiler is needed.

A plane is what one head of one image reads: [s, e], named as in ``model.sampling``. The samples of
a query are mixed as they are read, e neighbours in memory at once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np

from dino_trainer.kernels.shipped import choose_target

choose_target()
try:
    import numba
except ImportError:  # the trainer then samples with torch alone
    numba = None  # type: ignore[assignment]

# Values are read and summed in any order, but not-a-number stays what it is: a diverged model is
# noticed by it.
FAST_MATH = {"contract", "reassoc", "nsz", "arcp"}


def available() -> bool:
    """Whether numba is installed."""
    return numba is not None


def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile ``function`` for each type it meets, keeping the result on disk where one can."""
    if numba is None:
        return function
    compiler = partial(numba.njit, nogil=True, fastmath=FAST_MATH, error_model="numpy")
    try:
        return compiler(cache=True)(function)
    except RuntimeError:  # no folder for the cache can be written: compile in each process
        return compiler()(function)


@_compile
def _place(location, size, one):  # type: ignore[no-untyped-def]
    """Return where a location in -1..1 lies along a side of ``size`` cells, from -1/2 on."""
    half = one / (one + one)
    return (location + one) * half * size - half


@_compile
def _neighbours(place, size, one):  # type: ignore[no-untyped-def]
    """Return the two cells around ``place``, their weights, and 1 or 0: is each in the level?

    A cell outside has weight zero; in its place the nearest one inside is named.
    """
    below = np.floor(place)
    part, low = place - below, int(below)
    low_in = one if low >= 0 else one - one
    high_in = one if low + 1 < size else one - one
    cells = (max(low, 0), min(low + 1, size - 1))
    return cells, ((one - part) * low_in, part * high_in), (low_in, high_in)


@lru_cache(maxsize=8)
def forward_kernel(e: int) -> Callable[..., None]:
    """Return the kernel for ``e`` channels per head: a constant, so that sums stay in registers."""

    @_compile
    def kernel(  # type: ignore[no-untyped-def]
        value, shapes, locations, weights, out, first, last
    ):
        """Fill the planes first..last of ``out`` [b, q, m, e].

        value [b, s * m, e], shapes int64[v, 2] (height, width), locations [b, q, m, v, p, 2],
        weights [b, q, m, v, p].
        """
        heads, kept = weights.shape[2], weights.dtype.type
        one = kept(1)
        mixed = np.empty(e, weights.dtype)
        for plane in range(first, last):
            b, m = plane // heads, plane % heads
            rows = value[b]
            for q in range(weights.shape[1]):
                mixed[:] = 0
                start = 0
                for v in range(weights.shape[3]):
                    h, w = shapes[v, 0], shapes[v, 1]
                    height, width = kept(h), kept(w)
                    for p in range(weights.shape[4]):
                        x = _place(locations[b, q, m, v, p, 0], width, one)
                        y = _place(locations[b, q, m, v, p, 1], height, one)
                        if not (x > -one and y > -one and x < width and y < height):
                            if x != x or y != y:
                                mixed[:] = np.nan
                            continue
                        (left, right), (near, far), _ = _neighbours(x, w, one)
                        (top, bottom), (upper, lower), _ = _neighbours(y, h, one)
                        upper, lower = (
                            upper * weights[b, q, m, v, p],
                            lower * weights[b, q, m, v, p],
                        )
                        up, down = start + top * w, start + bottom * w
                        v00, v01 = rows[(up + left) * heads + m], rows[(up + right) * heads + m]
                        v10, v11 = rows[(down + left) * heads + m], rows[(down + right) * heads + m]
                        a00, a01, a10, a11 = upper * near, upper * far, lower * near, lower * far
                        for c in range(e):
                            mixed[c] += a00 * v00[c] + a01 * v01[c] + a10 * v10[c] + a11 * v11[c]
                    start += h * w
                out[b, q, m] = mixed

    return kernel


@_compile
def _add(row, factor, onto):  # type: ignore[no-untyped-def]
    """Add ``factor`` times ``row`` to ``onto``."""
    for c in range(row.shape[0]):
        onto[c] += factor * row[c]


@lru_cache(maxsize=8)
def backward_kernel(e: int) -> Callable[..., None]:
    """Return the kernel of the gradients for ``e`` channels per head."""

    @_compile
    def kernel(  # type: ignore[no-untyped-def]
        value, shapes, locations, weights, grad, to_value, to_locations, to_weights, first, last
    ):
        """Fill the planes first..last of the three gradients, given that of the output.

        ``to_value`` starts as zeros, as do the others. No two planes write to the same place.
        """
        heads, kept = weights.shape[2], weights.dtype.type
        one = kept(1)
        half = one / (one + one)
        for plane in range(first, last):
            b, m = plane // heads, plane % heads
            rows, onto = value[b], to_value[b]
            for q in range(weights.shape[1]):
                row = grad[b, q, m]
                start = 0
                for v in range(weights.shape[3]):
                    h, w = shapes[v, 0], shapes[v, 1]
                    height, width = kept(h), kept(w)
                    for p in range(weights.shape[4]):
                        x = _place(locations[b, q, m, v, p, 0], width, one)
                        y = _place(locations[b, q, m, v, p, 1], height, one)
                        if not (x > -one and y > -one and x < width and y < height):
                            if x != x or y != y:
                                to_locations[b, q, m, v, p] = np.nan
                                to_weights[b, q, m, v, p] = np.nan
                            continue
                        (left, right), (near, far), (in_left, in_right) = _neighbours(x, w, one)
                        (top, bottom), (upper, lower), (in_top, in_bottom) = _neighbours(y, h, one)
                        up, down = start + top * w, start + bottom * w
                        i00, i01 = (up + left) * heads + m, (up + right) * heads + m
                        i10, i11 = (down + left) * heads + m, (down + right) * heads + m
                        v00, v01, v10, v11 = rows[i00], rows[i01], rows[i10], rows[i11]
                        d00 = d01 = d10 = d11 = one - one
                        for c in range(e):
                            d00 += row[c] * v00[c]
                            d01 += row[c] * v01[c]
                            d10 += row[c] * v10[c]
                            d11 += row[c] * v11[c]
                        weight = weights[b, q, m, v, p]
                        _add(row, weight * upper * near, onto[i00])
                        _add(row, weight * upper * far, onto[i01])
                        _add(row, weight * lower * near, onto[i10])
                        _add(row, weight * lower * far, onto[i11])
                        across = upper * (d01 * in_right - d00 * in_left)
                        across += lower * (d11 * in_right - d10 * in_left)
                        along = near * (d10 * in_bottom - d00 * in_top)
                        along += far * (d11 * in_bottom - d01 * in_top)
                        to_weights[b, q, m, v, p] = upper * (near * d00 + far * d01) + lower * (
                            near * d10 + far * d11
                        )
                        to_locations[b, q, m, v, p, 0] = weight * across * half * width
                        to_locations[b, q, m, v, p, 1] = weight * along * half * height
                    start += h * w

    return kernel


WIDTHS = (16, 32)
"""Channels per head that an image brings kernels for: 256 channels and 8 heads, as is usual, make
32; half of these channels make 16."""


def precompile() -> None:
    """Compile the kernels for all WIDTHS in float32 and keep them, without running them."""
    for width in WIDTHS:
        _precompile(width)


def _precompile(e: int) -> None:
    value, out = np.zeros((1, 1, e), np.float32), np.zeros((1, 1, 1, e), np.float32)
    locations = np.zeros((1, 1, 1, 1, 1, 2), np.float32)
    weights = np.zeros((1, 1, 1, 1, 1), np.float32)
    arrays = (value, np.zeros((1, 2), np.int64), locations, weights)
    outputs = ((out,), (out, value, locations, weights))  # the gradients are of the inputs' types
    kernel: Any
    for kernel, written in zip((forward_kernel(e), backward_kernel(e)), outputs, strict=True):
        kernel.compile(tuple(map(numba.typeof, (*arrays, *written, 0, 1))))
