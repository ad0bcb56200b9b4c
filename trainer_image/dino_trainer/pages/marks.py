"""Boxes with names at them, drawn on pictures and on sheets of pictures: the one way of drawing.

For what a training, an evaluation and a preflight show, and for the pictures of an inference.
"""

from __future__ import annotations

import colorsys
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Corners = tuple[float, float, float, float]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Distinct on photographs and for most colour-blind people (Okabe and Ito).
_FIRST = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0),
          (204, 121, 167), (0, 114, 178))  # fmt: skip
# The golden angle as a share of the circle: neighbours differ, and no hue comes again.
_TURN = 0.381966
_BLACK, _WHITE, _BACKGROUND = (0, 0, 0), (255, 255, 255), (32, 32, 32)
# The luminance beside which black and white have the same contrast, as WCAG reckons it.
_MIDDLE = 0.179
# Pixels that a picture is smaller than its cell, so that neighbours are apart.
_GAP = 4
# Of a line of text above a sheet.
_CAPTION_HEIGHT, _CAPTION_FONT = 22, 13
# Of a picture on a page, the longer side.
_PAGE_SIDE, _QUALITY = 720, 80


@dataclass(frozen=True)
class Mark:
    """A box to draw, and what to write at it.

    corners: left, top, right and bottom, in pixels of the original. line: the width of its
    outline, in pixels of the picture.
    """

    corners: Sequence[float]
    colour: Colour
    text: str = ""
    line: int = 2


def corners_of(box: Iterable[float]) -> Corners:
    """Left, top, right and bottom of (x, y, width, height)."""
    left, top, width, height = map(float, box)
    return left, top, left + width, top + height


def class_colour(label: int) -> Colour:
    """The colour of a class by its label alone: the same in every run."""
    if label < len(_FIRST):
        return _FIRST[label]
    red, green, blue = colorsys.hls_to_rgb(label * _TURN % 1, 0.6, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_marks(picture: Image.Image, marks: Sequence[Mark], factor: float = 1.0) -> None:
    """Draws on `picture`, 8-bit RGB, in place; the last lies on top, and names above all boxes.

    factor: how large the picture is beside the original.
    """
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(max(11, min(picture.size) // 36))
    for mark in marks:
        pen.rectangle(_within(mark, factor, picture.size), outline=mark.colour, width=mark.line)
    for mark in marks:
        if mark.text:
            _write(pen, _within(mark, factor, picture.size), mark, font)


def fitted(picture: Image.Image, marks: Sequence[Mark], cell: tuple[int, int]) -> Image.Image:
    """The picture, as large as a cell of (width, height) pixels has room for, with these boxes."""
    factor = min((room - _GAP) / length for room, length in zip(cell, picture.size, strict=True))
    return _scaled(picture, marks, factor)


def no_larger(
    picture: Image.Image, marks: Sequence[Mark] = (), side: int = _PAGE_SIDE
) -> Image.Image:
    """The picture with these boxes; its longer side has at most `side` pixels."""
    return _scaled(picture, marks, min(1.0, side / max(picture.size)))


def as_jpeg(picture: Image.Image) -> bytes:
    """The picture as a file for a page."""
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=_QUALITY)
    return content.getvalue()


def sheet_of(
    pictures: Sequence[Image.Image], columns: int, cell: tuple[int, int], caption: str = ""
) -> Image.Image:
    """Pictures in rows, each in a cell of (width, height) pixels, below a line of text if any."""
    columns = min(columns, len(pictures))
    rows, above = -(-len(pictures) // columns), _CAPTION_HEIGHT if caption else 0
    made = Image.new("RGB", (columns * cell[0], rows * cell[1] + above), _BACKGROUND)
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        made.paste(picture, (column * cell[0], row * cell[1] + above))
    if caption:
        font = ImageFont.load_default(_CAPTION_FONT)
        ImageDraw.Draw(made).text((6, 4), caption, fill=_WHITE, font=font)
    return made


def _scaled(picture: Image.Image, marks: Sequence[Mark], factor: float) -> Image.Image:
    width, height = (max(1, round(length * factor)) for length in picture.size)
    made = picture.resize((width, height))
    draw_marks(made, marks, factor)
    return made


def _within(mark: Mark, factor: float, size: tuple[int, int]) -> Corners:
    """The two corners on a picture of this size, those far from it just outside its edges.

    Pillow walks along lines pixel by pixel, also where there is no picture.
    """
    left, top, right, bottom = (one * factor for one in mark.corners)
    least, most = -float(mark.line), max(size) + float(mark.line)
    corners = (left, top, max(left, right), max(top, bottom))
    x0, y0, x1, y1 = (min(max(one, least), most) for one in corners)
    return x0, y0, x1, y1


def _write(pen: ImageDraw.ImageDraw, corners: Corners, mark: Mark, font: Font) -> None:
    """A name on its colour, above the box, or inside of it where there is no room."""
    _, _, width, height = pen.textbbox((0, 0), mark.text, font=font)
    left, top = max(0.0, corners[0]), max(0.0, corners[1] - height - 2)
    pen.rectangle((left, top, left + width + 3, top + height + 2), fill=mark.colour)
    pen.text((left + 2, top), mark.text, fill=_ink(mark.colour), font=font)


def _ink(colour: Colour) -> Colour:
    """Black or white, whichever is read better on that colour."""
    red, green, blue = ((part / 255) ** 2.2 for part in colour)
    light = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return _BLACK if light > _MIDDLE else _WHITE
