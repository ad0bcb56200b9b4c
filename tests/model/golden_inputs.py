"""Weights, images and targets of a golden folder, each a function of its name alone.

The rules are those of the shared fixtures' README: a PCG64 stream seeded with the CRC-32 of the
name, then a value that depends on what kind of tensor the name speaks of. A ``golden_weights.py``
beside or above a folder takes precedence; this one is for folders that come without.
"""

from __future__ import annotations

import math
import zlib

import numpy as np


def make_state(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """Return every tensor of ``shapes`` (name -> shape) as float32."""
    return {name: _tensor(name, tuple(shape)).astype(np.float32) for name, shape in shapes.items()}


def make_images(case: str, sizes: list[tuple[int, int]]) -> list[np.ndarray]:
    """Return one float32 image (3, height, width) for each size, as if already normalised."""
    names = (f"{case}/image/{index}" for index in range(len(sizes)))
    return [
        _stream(name).standard_normal((3, *size)).astype(np.float32)
        for name, size in zip(names, sizes, strict=True)
    ]


def make_targets(case: str, counts: list[int], num_classes: int) -> list[dict[str, np.ndarray]]:
    """Return labels int64[n] in 1..num_classes-1 and boxes float32[n, 4] (cxcywh) per image."""
    return [_target(_stream(f"{case}/target/{i}"), n, num_classes) for i, n in enumerate(counts)]


def _target(stream: np.random.Generator, n: int, num_classes: int) -> dict[str, np.ndarray]:
    labels = stream.integers(1, num_classes, size=n).astype(np.int64)
    centres = 0.25 + 0.5 * stream.random((n, 2))
    sizes = 0.05 + 0.35 * stream.random((n, 2))
    return {"labels": labels, "boxes": np.hstack((centres, sizes)).astype(np.float32)}


def _stream(name: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))


def _tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    stream = _stream(name)
    noise = stream.standard_normal(shape)
    leaf = name.rpartition(".")[2]
    if leaf == "running_var":
        return 0.75 + 0.5 * stream.random(shape)
    if leaf == "running_mean":
        return 0.1 * noise
    if name.endswith("sampling_offsets.bias"):
        return 1.5 * noise
    if leaf.endswith("bias"):
        return 0.05 * noise
    if len(shape) == 1:  # the scale of a normalisation layer
        return 1 + 0.1 * noise
    if name.endswith("sampling_offsets.weight"):
        return 0.1 * noise
    inputs = math.prod(shape[1:]) if len(shape) == 4 else shape[-1]
    return noise * math.sqrt(1 / inputs)
