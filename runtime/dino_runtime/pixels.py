"""From an image to what the graph is given, as the trainer prepares it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from dino_runtime.exported_file import Description

Picture = str | Path | Image.Image | NDArray[np.uint8]


def upright(picture: Picture) -> Image.Image:
    """8-bit RGB as viewers show it: turned by its EXIF, 16 bits cut to the upper eight.

    An array is uint8[height, width, 3] in RGB. Raises OSError for a file that is no image, and
    Pillow's DecompressionBombError for one that says to be far too large.
    """
    if isinstance(picture, np.ndarray):
        return Image.fromarray(picture).convert("RGB")
    image = picture if isinstance(picture, Image.Image) else Image.open(picture)
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        upper = np.asarray(image).astype(np.int64) >> 8
        image = Image.fromarray(upper.clip(0, 255).astype(np.uint8))
    return image.convert("RGB")


def prepared(image: Image.Image, wanted: Description) -> NDArray[np.uint8] | NDArray[np.float32]:
    """[1, 3, height, width] of the graph's size: bytes end to end, else normalised."""
    height, width = wanted.size
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    channels = np.asarray(resized).transpose(2, 0, 1)[None]
    if wanted.end_to_end:
        return np.ascontiguousarray(channels)
    mean, std = (np.array(each, np.float32)[:, None, None] for each in (wanted.mean, wanted.std))
    return ((channels.astype(np.float32) / 255 - mean) / std).astype(np.float32)
