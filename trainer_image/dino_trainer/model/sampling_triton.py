"""Deformable sampling on a GPU: two Triton kernels, compiled on first use.

The function of ``sampling_cpu``, of the same types, on a CUDA device; shapes are named in
``sampling``. One launch forward and one backward (and one that fills zeros), and no sampled value
is ever written to memory. A program mixes the samples of some queries of one head, one sample
after another: neighbouring queries of a head look at neighbouring cells.

The gradient of the value is a sum over all queries that looked at a cell. Its parts are added
atomically, in float32 (float64 for float64), in the order in which they come: its last bits vary
from run to run, as they do with ``grid_sample`` on a GPU. ``sampling_choice`` leaves these kernels
alone where ``torch.use_deterministic_algorithms`` is set.

**Not run on a GPU yet.** Seen without one: what they compute, by Triton's interpreter, and that
they compile for compute capabilities 8.0, 9.0 and 10.0 (tests/model/test_sampling_triton.py).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

WARPS = 4
THREADS = 32 * WARPS
VECTOR = 4  # elements of the value that a thread has of a neighbour
KEPT = {torch.float64: tl.float64}  # sums of all other types are kept in float32
# Triton compiles a kernel of its own for each integer that is 1 or divisible by 16, but for these.
# It cannot be told so of a tuple: sides of levels come as floats.
CHANGING = ["tokens", "queries"]


@triton.jit
def _whole(number):
    """Return a whole number that came as a float."""
    return tl.full((), number, tl.float32).to(tl.int32)


@triton.jit
def _queries(queries, m: tl.constexpr, rows: tl.constexpr):
    """Return the program's image and head, which of its queries exist, and their rows [rows].

    A row counts through [b, q, m]. Programs of one head follow one another.
    """
    blocks = tl.cdiv(queries, rows)
    plane = tl.program_id(0) // blocks
    b, head = (plane // m).to(tl.int64), plane % m
    q = tl.program_id(0) % blocks * rows + tl.arange(0, rows)
    return b, head, q < queries, (b * queries + q) * m + head


@triton.jit
def _locate(locations, at, here, h, w, kept: tl.constexpr):
    """Return where samples lie (0 outside), whether inside, and whether not a number: [rows] each.

    ``at`` int[rows] counts samples. x and y run from -1/2 on along w and h cells.
    """
    x = (tl.load(locations + 2 * at, here, 0.0).to(kept) + 1) * 0.5 * w - 0.5
    y = (tl.load(locations + 2 * at + 1, here, 0.0).to(kept) + 1) * 0.5 * h - 0.5
    inside = here & (x > -1) & (y > -1) & (x < w) & (y < h)
    broken = (x != x) | (y != y)
    return tl.where(inside, x, 0.0), tl.where(inside, y, 0.0), inside, broken


@triton.jit
def _neighbours(x, y, inside, h, w, wide: tl.constexpr, c, e: tl.constexpr):
    """Return what mixing the four neighbours of samples needs.

    Offsets [rows, channels] of the upper left one in its level, whether each exists (upper left,
    upper right, lower left, lower right), and how far right of and below it the samples lie [rows].
    """
    left, top = tl.floor(x), tl.floor(y)
    column, line = left.to(tl.int32), top.to(tl.int32)
    offsets = ((line * w + column) * wide)[:, None] + c[None, :]
    above, below = inside & (line >= 0), inside & (line + 1 < h)
    before, after = column >= 0, column + 1 < w
    real = (c < e)[None, :]
    exist = (
        (above & before)[:, None] & real,
        (above & after)[:, None] & real,
        (below & before)[:, None] & real,
        (below & after)[:, None] & real,
    )
    return offsets, exist, x - left, y - top


@triton.jit
def _read(cells, offsets, exist, w, wide: tl.constexpr, kept: tl.constexpr):
    """Return the four neighbours [rows, channels]; one that does not exist reads as zero."""
    v00 = tl.load(cells + offsets, exist[0], 0.0).to(kept)
    v01 = tl.load(cells + offsets + wide, exist[1], 0.0).to(kept)
    v10 = tl.load(cells + offsets + w * wide, exist[2], 0.0).to(kept)
    v11 = tl.load(cells + offsets + (w + 1) * wide, exist[3], 0.0).to(kept)
    return v00, v01, v10, v11


@triton.jit
def _add(onto, offsets, exist, w, wide: tl.constexpr, a00, a01, a10, a11, g):
    """Add ``g`` [rows, channels] to the four neighbours, each with its factor [rows]."""
    tl.atomic_add(onto + offsets, a00[:, None] * g, exist[0], sem="relaxed")
    tl.atomic_add(onto + offsets + wide, a01[:, None] * g, exist[1], sem="relaxed")
    tl.atomic_add(onto + offsets + w * wide, a10[:, None] * g, exist[2], sem="relaxed")
    tl.atomic_add(onto + offsets + (w + 1) * wide, a11[:, None] * g, exist[3], sem="relaxed")


@triton.jit(do_not_specialize=CHANGING)
def forward_kernel(
    value, locations, weights, out, sides, tokens, queries,
    m: tl.constexpr, e: tl.constexpr, v: tl.constexpr, p: tl.constexpr,
    rows: tl.constexpr, channels: tl.constexpr, points: tl.constexpr, kept: tl.constexpr,
):  # fmt: skip
    """Fill ``out`` [b, q, m, e].

    value [b, s, m, e], locations [b, q, m, v, p, 2], weights [b, q, m, v, p]; ``sides`` are height
    and width of each level in turn. ``rows`` queries of a program; ``channels`` and ``points`` are
    e and p made powers of two.
    """
    wide: tl.constexpr = m * e
    b, head, here, row = _queries(queries, m, rows)
    c = tl.arange(0, channels)
    cells = value + b * tokens * wide + head * e
    mixed = tl.zeros((rows, channels), kept)
    for level in tl.static_range(v):
        h, w = _whole(sides[2 * level]), _whole(sides[2 * level + 1])
        for point in range(p):
            at = (row * v + level) * p + point
            x, y, inside, broken = _locate(locations, at, here, h, w, kept)
            offsets, exist, far, lower = _neighbours(x, y, inside, h, w, wide, c, e)
            v00, v01, v10, v11 = _read(cells, offsets, exist, w, wide, kept)
            weight = tl.load(weights + at, here, 0.0).to(kept)
            weight = tl.where(broken, float("nan"), weight)  # a diverged model is noticed by it
            up, down = weight * (1 - lower), weight * lower
            mixed += (up * (1 - far))[:, None] * v00 + (up * far)[:, None] * v01
            mixed += (down * (1 - far))[:, None] * v10 + (down * far)[:, None] * v11
        cells += h * w * wide
    tl.store(out + (row * e)[:, None] + c[None, :], mixed, here[:, None] & (c < e)[None, :])


@triton.jit(do_not_specialize=CHANGING)
def backward_kernel(
    value, locations, weights, grad, to_value, to_locations, to_weights, sides, tokens, queries,
    m: tl.constexpr, e: tl.constexpr, v: tl.constexpr, p: tl.constexpr,
    rows: tl.constexpr, channels: tl.constexpr, points: tl.constexpr, kept: tl.constexpr,
):  # fmt: skip
    """Add to ``to_value`` and fill the other two gradients, given that of the output.

    The gradients of a level's samples are gathered in registers and stored together.
    """
    wide: tl.constexpr = m * e
    b, head, here, row = _queries(queries, m, rows)
    c, spot = tl.arange(0, channels), tl.arange(0, points)
    first = b * tokens * wide + head * e
    cells, onto = value + first, to_value + first
    g = tl.load(grad + (row * e)[:, None] + c[None, :], here[:, None] & (c < e)[None, :], 0.0)
    g = g.to(kept)
    for level in tl.static_range(v):
        h, w = _whole(sides[2 * level]), _whole(sides[2 * level + 1])
        mixed = tl.zeros((rows, points), kept)
        across, along = mixed, mixed  # along x, along y
        for point in range(p):
            at = (row * v + level) * p + point
            x, y, inside, broken = _locate(locations, at, here, h, w, kept)
            offsets, exist, far, lower = _neighbours(x, y, inside, h, w, wide, c, e)
            v00, v01, v10, v11 = _read(cells, offsets, exist, w, wide, kept)
            d00, d01 = tl.sum(g * v00, 1), tl.sum(g * v01, 1)
            d10, d11 = tl.sum(g * v10, 1), tl.sum(g * v11, 1)
            near, upper = 1 - far, 1 - lower
            weight = tl.load(weights + at, here, 0.0).to(kept)
            up, down = weight * upper, weight * lower
            _add(onto, offsets, exist, w, wide, up * near, up * far, down * near, down * far, g)
            # What was read as zero drops out of the slopes: it is constant there.
            dx = weight * (upper * (d01 - d00) + lower * (d11 - d10)) * 0.5 * w
            dy = weight * (near * (d10 - d00) + far * (d11 - d01)) * 0.5 * h
            dw = upper * (near * d00 + far * d01) + lower * (near * d10 + far * d11)
            mine, nan = (spot == point)[None, :], float("nan")
            mixed = tl.where(mine, tl.where(broken, nan, dw)[:, None], mixed)
            across = tl.where(mine, tl.where(broken, nan, dx)[:, None], across)
            along = tl.where(mine, tl.where(broken, nan, dy)[:, None], along)
        ends = ((row * v + level) * p)[:, None] + spot[None, :]
        stored = here[:, None] & (spot < p)[None, :]
        tl.store(to_weights + ends, mixed, stored)
        tl.store(to_locations + 2 * ends, across, stored)
        tl.store(to_locations + 2 * ends + 1, along, stored)
        cells += h * w * wide
        onto += h * w * wide


def adds_vectors(device: torch.device) -> bool:
    """Whether the device adds four numbers in one atomic operation.

    Where it does not, a thread takes one element: with more, all products would change places
    between the threads before they are added.
    """
    return device.type != "cuda" or torch.cuda.get_device_capability(device) >= (9, 0)


def _launch(
    kernel: triton.JITFunction, tensors: tuple[Tensor, ...], shapes: list[int], vector: int
) -> None:
    """Run ``kernel`` over all heads of value, locations and the other ``tensors``."""
    value, locations = tensors[:2]
    b, s, d = value.shape
    q, m, v, p = locations.shape[1:5]
    channels = triton.next_power_of_2(d // m)
    rows = max(1, THREADS * vector // channels)
    programs = b * m * triton.cdiv(q, rows)
    if not programs:
        return
    with torch.cuda.device_of(value):
        kernel[(programs,)](
            *tensors, tuple(map(float, shapes)), s, q,
            m=m, e=d // m, v=v, p=p, rows=rows, channels=channels,
            points=triton.next_power_of_2(p), kept=KEPT.get(value.dtype, tl.float32),
            num_warps=WARPS, enable_fp_fusion=True,
        )  # fmt: skip


def forward(value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor) -> Tensor:
    """Compute ``sampling.sample``."""
    value, locations, weights = (t.contiguous() for t in (value, locations, weights))
    out = value.new_empty((*locations.shape[:2], value.shape[2]))
    _launch(forward_kernel, (value, locations, weights, out), shapes, VECTOR)
    return out


def backward(
    grad: Tensor, value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute ``sampling.sample_backward``."""
    value, locations, weights, grad = (t.contiguous() for t in (value, locations, weights, grad))
    kept = torch.float64 if value.dtype == torch.float64 else torch.float32
    to_value = torch.zeros_like(value, dtype=kept)
    others = torch.empty_like(locations), torch.empty_like(weights)
    vector = VECTOR if adds_vectors(value.device) else 1
    _launch(backward_kernel, (value, locations, weights, grad, to_value, *others), shapes, vector)
    return to_value.to(value.dtype), *others
