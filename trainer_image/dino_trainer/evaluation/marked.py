"""Boxes with words at them, drawn on an image: for reports of an evaluation and of a preflight."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_MOST_SIDE, _QUALITY = 720, 75


@dataclass(frozen=True)
class Mark:
    """A box to draw, (x, y, width, height) in pixels of the original, and what to write at it."""

    box: NDArray[np.float64]
    colour: tuple[int, int, int]
    text: str


def draw_marks(picture: Image.Image, drawn: Sequence[Mark], side: int = _MOST_SIDE) -> bytes:
    """A JPEG whose longer side has at most `side` pixels. picture: the original."""
    factor = min(1.0, side / max(picture.size))
    picture = picture.resize([max(1, round(length * factor)) for length in picture.size])
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(max(11, min(picture.size) // 36))
    for mark in drawn:
        pen.rectangle(_corners(mark, factor, picture.size), outline=mark.colour, width=2)
    for mark in drawn:  # names above all boxes
        _write(pen, _corners(mark, factor, picture.size), mark, font)
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=_QUALITY)
    return content.getvalue()


def _corners(mark: Mark, factor: float, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The two corners on a picture of this size, those far from it just outside its edges.

    Pillow walks along lines pixel by pixel, also where there is no picture.
    """
    left, top, width, height = (mark.box * factor).tolist()
    corners = (left, top, left + max(width, 0), top + max(height, 0))
    x0, y0, x1, y1 = (min(max(one, -2.0), max(size) + 2.0) for one in corners)
    return x0, y0, x1, y1


def _write(
    pen: ImageDraw.ImageDraw,
    corner: Sequence[float],
    mark: Mark,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    _, _, width, height = pen.textbbox((0, 0), mark.text, font=font)
    left, top = max(0.0, corner[0]), max(0.0, corner[1] - height - 2)
    pen.rectangle((left, top, left + width + 3, top + height + 2), fill=mark.colour)
    pen.text((left + 2, top), mark.text, fill=(0, 0, 0), font=font)
