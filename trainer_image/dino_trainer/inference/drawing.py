"""Boxes, names and scores on an image, in one colour a class."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from PIL import Image, ImageColor

from dino_trainer.errors import invalid_spec
from dino_trainer.inference.objects import Objects
from dino_trainer.pages.marks import Colour, Mark, class_colour, draw_marks

# Kinds that any viewer shows; others are written as PNG.
_FORMATS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".jif": "JPEG",
    ".png": "PNG", ".bmp": "BMP", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF",
}  # fmt: skip
_LONGEST = {"JPEG": 65_500, "WEBP": 16_383}
_LOSSY: dict[str, dict[str, int | str]] = {
    "JPEG": {"quality": 90},
    "WEBP": {"quality": 90},
    "TIFF": {"compression": "tiff_adobe_deflate"},
}


def colours_of(names: Sequence[str], chosen: Mapping[str, str] | None) -> list[Colour]:
    """The colour of each label: what `inference.color_map` says, else one of the label's own.

    A class has the same colour in every run. Raises InvalidSpec for a class that the model does
    not have, and for what is no colour.
    """
    given = {name: _parsed(name, text) for name, text in (chosen or {}).items()}
    known = {name for name in names if name}
    if unknown := [name for name in given if name not in known]:
        raise invalid_spec(
            f"inference.color_map names {', '.join(map(repr, unknown))}, and the model has no such "
            "class.",
            f"Use the names of its classes: {', '.join(sorted(known)[:20])}; a class that is left "
            "out gets a colour of its own.",
        )
    return [given.get(name) or class_colour(label) for label, name in enumerate(names)]


def _parsed(name: str, text: str) -> Colour:
    try:
        return ImageColor.getrgb(text)[:3]
    except ValueError as error:
        raise invalid_spec(
            f"inference.color_map.{name}: {text!r} is not a colour.",
            'Write a name such as "green", or "#00a060".',
        ) from error


def draw_objects(
    image: Image.Image,
    objects: Objects,
    names: Sequence[str],
    colours: Sequence[Colour],
    width: int,
) -> None:
    """Draws on `image`, 8-bit RGB, in place; the best object lies on top.

    width: of the outlines, in pixels.
    """
    marks = []
    for place in reversed(range(len(objects))):
        label = int(objects.labels[place])
        text = f"{names[label]} {objects.scores[place]:.2f}"
        marks.append(Mark(objects.boxes[place].tolist(), colours[label], text, width))
    draw_marks(image, marks)


def drawn_names(images: Sequence[str]) -> list[str]:
    """The file of each image with what was found drawn on it.

    That of the image where a picture of its kind is written, else with `.png` after it.
    """
    taken, names = set(images), []
    for name in images:
        made = name
        if PurePath(name).suffix.lower() not in _FORMATS:
            made = f"{name}.png"
            while made in taken:
                made = f"{made}.png"
        taken.add(made)
        names.append(made)
    return names


def encode(image: Image.Image, name: str) -> bytes:
    """The picture as a file of the kind that `name` ends with; PNG where that has none as long."""
    kind = _FORMATS.get(PurePath(name).suffix.lower(), "PNG")
    if max(image.size) > _LONGEST.get(kind, max(image.size)):
        kind = "PNG"
    content = io.BytesIO()
    image.save(content, kind, **_LOSSY.get(kind, {}))
    return content.getvalue()
