"""Deformable sampling of tensors on the CPU, by compiled kernels in as many threads as torch uses.

Shapes are named as in ``sampling``; e is d / m.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dino_trainer.kernels.sampling import available, backward_kernel, forward_kernel

__all__ = ["available", "backward", "forward"]


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
        value.view(b, s * m, d // m),
        torch.tensor(shapes).view(v, 2),
        locations,
        weights.view(b, q, m, v, p),
    )
    types = (kept, torch.int64, kept, kept)
    return [
        t.detach().to(kind).contiguous().numpy() for t, kind in zip(tensors, types, strict=True)
    ], kept


def forward(value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor) -> Tensor:
    """Compute ``sampling.sample``."""
    arrays, kept = _arrays(value, shapes, locations, weights)
    b, q, m = weights.shape[:3]
    out = torch.empty((b, q, value.shape[2]), dtype=kept)
    _in_parallel(forward_kernel(out.shape[2] // m), [*arrays, out.view(b, q, m, -1).numpy()], b * m)
    return out.to(value.dtype)


def backward(
    grad: Tensor, value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute ``sampling.sample_backward``."""
    arrays, kept = _arrays(value, shapes, locations, weights)
    b, q, m = weights.shape[:3]
    row = grad.to(kept).contiguous().view(b, q, m, -1).numpy()
    grads = tuple(np.zeros_like(array) for array in (arrays[0], arrays[2], arrays[3]))
    _in_parallel(backward_kernel(row.shape[3]), [*arrays, row, *grads], b * m)
    to_value, to_locations, to_weights = (
        torch.from_numpy(array).view(t.shape).to(t.dtype)
        for array, t in zip(grads, (value, locations, weights), strict=True)
    )
    return to_value, to_locations, to_weights
