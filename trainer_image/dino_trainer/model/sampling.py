"""Deformable sampling on the CPU, compiled by numba on first use; no C++ compiler is needed.

Shapes: b batch, s tokens of all levels, q queries, m heads, e = d / m, v levels, p points per
level and head. A plane is what one head of one image reads: [s, e].

torch's ``grid_sample`` makes every sample of every head a tensor of its own before they are mixed:
v * p times the output, three times over. Here the samples of a query are mixed as they are read,
e neighbours in memory at once. Sums are kept in float32 (float64 for float64 input), whatever the
type of the value.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

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


def _compile(function: Callable[..., None]) -> Callable[..., None]:
    """Compile ``function`` for each type it meets, keeping the result on disk where one can."""
    if numba is None:
        return function
    compiler = partial(numba.njit, nogil=True, fastmath=FAST_MATH, error_model="numpy")
    try:
        return compiler(cache=True)(function)
    except RuntimeError:  # no folder for the cache can be written: compile in each process
        return compiler()(function)


@_compile
def _forward(  # type: ignore[no-untyped-def]
    value, shapes, locations, weights, out, first, last
) -> None:
    """Fill the planes first..last of ``out`` [b, q, m, e].

    value [b, s, m, e], shapes int64[v, 2] (height, width), locations [b, q, m, v, p, 2],
    weights [b, q, m, v, p].
    """
    heads, e = value.shape[2], value.shape[3]
    levels, points = weights.shape[3], weights.shape[4]
    one = weights.dtype.type(1)
    half = weights.dtype.type(0.5)
    for plane in range(first, last):
        b, m = plane // heads, plane % heads
        for q in range(weights.shape[1]):
            row = out[b, q, m]
            row[:] = 0
            start = 0
            for v in range(levels):
                h, w = shapes[v, 0], shapes[v, 1]
                for p in range(points):
                    x = (locations[b, q, m, v, p, 0] + one) * half * w - half
                    y = (locations[b, q, m, v, p, 1] + one) * half * h - half
                    if x != x or y != y:
                        row[:] = np.nan
                        continue
                    if x <= -1 or y <= -1 or x >= w or y >= h:
                        continue
                    left, top = int(np.floor(x)), int(np.floor(y))
                    fx, fy = x - left, y - top
                    weight = weights[b, q, m, v, p]
                    upper, lower = (one - fy) * weight, fy * weight
                    # A neighbour outside the level counts nothing; its place is read from inside.
                    if top < 0:
                        upper = upper * 0
                    if top + 1 >= h:
                        lower = lower * 0
                    near, far = one - fx, fx
                    if left < 0:
                        near = near * 0
                    if left + 1 >= w:
                        far = far * 0
                    up, down = start + max(top, 0) * w, start + min(top + 1, h - 1) * w
                    x0, x1 = max(left, 0), min(left + 1, w - 1)
                    v00, v01 = value[b, up + x0, m], value[b, up + x1, m]
                    v10, v11 = value[b, down + x0, m], value[b, down + x1, m]
                    a00, a01, a10, a11 = upper * near, upper * far, lower * near, lower * far
                    for c in range(e):
                        row[c] += a00 * v00[c] + a01 * v01[c] + a10 * v10[c] + a11 * v11[c]
                start += h * w


@_compile
def _backward(  # type: ignore[no-untyped-def]
    value, shapes, locations, weights, grad, to_value, to_locations, to_weights, first, last
) -> None:
    """Fill the planes first..last of the three gradients, given that of the output.

    ``to_value`` starts as zeros. No two planes write to the same place.
    """
    heads, e = value.shape[2], value.shape[3]
    levels, points = weights.shape[3], weights.shape[4]
    one = weights.dtype.type(1)
    half = weights.dtype.type(0.5)
    for plane in range(first, last):
        b, m = plane // heads, plane % heads
        for q in range(weights.shape[1]):
            row = grad[b, q, m]
            start = 0
            for v in range(levels):
                h, w = shapes[v, 0], shapes[v, 1]
                for p in range(points):
                    x = (locations[b, q, m, v, p, 0] + one) * half * w - half
                    y = (locations[b, q, m, v, p, 1] + one) * half * h - half
                    if x != x or y != y:
                        to_locations[b, q, m, v, p] = np.nan
                        to_weights[b, q, m, v, p] = np.nan
                        continue
                    if x <= -1 or y <= -1 or x >= w or y >= h:
                        to_locations[b, q, m, v, p] = 0
                        to_weights[b, q, m, v, p] = 0
                        continue
                    left, top = int(np.floor(x)), int(np.floor(y))
                    fx, fy = x - left, y - top
                    weight = weights[b, q, m, v, p]
                    up, down = start + max(top, 0) * w, start + min(top + 1, h - 1) * w
                    x0, x1 = max(left, 0), min(left + 1, w - 1)
                    v00, v01 = value[b, up + x0, m], value[b, up + x1, m]
                    v10, v11 = value[b, down + x0, m], value[b, down + x1, m]
                    d00 = d01 = d10 = d11 = half * 0
                    for c in range(e):
                        d00 += row[c] * v00[c]
                        d01 += row[c] * v01[c]
                        d10 += row[c] * v10[c]
                        d11 += row[c] * v11[c]
                    has_left, has_right = left >= 0, left + 1 < w
                    has_top, has_bottom = top >= 0, top + 1 < h
                    if has_top and has_left:
                        g = to_value[b, up + x0, m]
                        a = weight * (one - fx) * (one - fy)
                        for c in range(e):
                            g[c] += a * row[c]
                    else:
                        d00 = half * 0
                    if has_top and has_right:
                        g = to_value[b, up + x1, m]
                        a = weight * fx * (one - fy)
                        for c in range(e):
                            g[c] += a * row[c]
                    else:
                        d01 = half * 0
                    if has_bottom and has_left:
                        g = to_value[b, down + x0, m]
                        a = weight * (one - fx) * fy
                        for c in range(e):
                            g[c] += a * row[c]
                    else:
                        d10 = half * 0
                    if has_bottom and has_right:
                        g = to_value[b, down + x1, m]
                        a = weight * fx * fy
                        for c in range(e):
                            g[c] += a * row[c]
                    else:
                        d11 = half * 0
                    upper, lower = d00 + fx * (d01 - d00), d10 + fx * (d11 - d10)
                    to_weights[b, q, m, v, p] = upper + fy * (lower - upper)
                    across = (d01 - d00) * (one - fy) + (d11 - d10) * fy
                    to_locations[b, q, m, v, p, 0] = weight * across * half * w
                    to_locations[b, q, m, v, p, 1] = weight * (lower - upper) * half * h
                start += h * w


@lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads of this process; a forked child, which inherits none, gets its own."""
    return ThreadPoolExecutor(threads, thread_name_prefix="sampling")


def _in_parallel(kernel: Callable[..., None], arrays: list[Any], planes: int) -> None:
    """Run ``kernel`` over all planes, in as many threads as torch uses."""
    threads = max(1, min(torch.get_num_threads(), planes))
    bounds = [planes * i // threads for i in range(threads + 1)]
    waiting = []
    if threads > 1:
        pool = _pool(os.getpid(), torch.get_num_threads())
        waiting = [pool.submit(kernel, *arrays, *bounds[i : i + 2]) for i in range(1, threads)]
    kernel(*arrays, 0, bounds[1])
    wait(waiting)
    for future in waiting:
        future.result()


def _arrays(
    value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor
) -> tuple[list[np.ndarray], torch.dtype]:
    """Return the kernels' inputs, all of the type in which sums are kept, and that type."""
    b, s, d = value.shape
    q, m, v, p = locations.shape[1:5]
    kept = torch.float64 if value.dtype == torch.float64 else torch.float32
    tensors = (
        value.view(b, s, m, d // m),
        torch.tensor(shapes).view(v, 2),
        locations,
        weights.view(b, q, m, v, p),
    )
    types = (kept, torch.int64, kept, kept)
    return [
        t.detach().to(kind).contiguous().numpy() for t, kind in zip(tensors, types, strict=True)
    ], kept


@torch.library.custom_op("dino::sample", mutates_args=())
def sample(value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor) -> Tensor:
    """See ``attention.ms_deform_attn``; ``shapes`` is flat here: h0, w0, h1, w1, …"""
    arrays, kept = _arrays(value, shapes, locations, weights)
    b, q, m = weights.shape[:3]
    out = torch.empty((b, q, value.shape[2]), dtype=kept)
    _in_parallel(_forward, [*arrays, out.view(b, q, m, -1).numpy()], b * m)
    return out.to(value.dtype)


@sample.register_fake
def _(value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor) -> Tensor:
    b, q = weights.shape[:2]
    return value.new_empty((b, q, value.shape[2]))


@torch.library.custom_op("dino::sample_backward", mutates_args=())
def sample_backward(
    grad: Tensor, value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of value, locations and weights, each of its tensor's type."""
    arrays, kept = _arrays(value, shapes, locations, weights)
    b, q, m = weights.shape[:3]
    row = grad.to(kept).contiguous().view(b, q, m, -1).numpy()
    found = (np.zeros_like(arrays[0]), np.empty_like(arrays[2]), np.empty_like(arrays[3]))
    _in_parallel(_backward, [*arrays, row, *found], b * m)
    to_value, to_locations, to_weights = (
        torch.from_numpy(array).view(t.shape).to(t.dtype)
        for array, t in zip(found, (value, locations, weights), strict=True)
    )
    return to_value, to_locations, to_weights


@sample_backward.register_fake
def _(
    grad: Tensor, value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        value.new_empty(value.shape),
        locations.new_empty(locations.shape),
        weights.new_empty(weights.shape),
    )


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    value, ctx.shapes, locations, weights = inputs
    ctx.save_for_backward(value, locations, weights)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    value, locations, weights = ctx.saved_tensors
    to_value, to_locations, to_weights = sample_backward(
        grad, value, ctx.shapes, locations, weights
    )
    return to_value, None, to_locations, to_weights


sample.register_autograd(_differentiate, setup_context=_keep)
