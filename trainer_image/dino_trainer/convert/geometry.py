"""Upright boxes around whatever was drawn. Coordinates are pixels, y goes down."""

from __future__ import annotations

import math
from collections.abc import Iterable

from dino_trainer.convert.records import Box

Point = tuple[float, float]


def around(name: str, points: Iterable[Point]) -> Box:
    """The smallest box that holds all points."""
    xs, ys = zip(*points, strict=True)
    left, top = min(xs), min(ys)
    return Box(name, left, top, max(xs) - left, max(ys) - top)


def turned(box: Box, degrees: float, pivot: Point | None = None) -> Box:
    """The box around `box` turned clockwise, about its centre unless a pivot is given."""
    if degrees % 360 == 0:
        return box
    x, y = pivot or (box.x + box.width / 2, box.y + box.height / 2)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners = [
        (box.x + across * box.width - x, box.y + down * box.height - y)
        for across in (0, 1)
        for down in (0, 1)
    ]
    return around(box.name, [(x + a * cos - b * sin, y + a * sin + b * cos) for a, b in corners])


def ellipse(name: str, centre: Point, radii: Point, degrees: float) -> Box:
    """The box around an ellipse that is turned about its centre."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    half_width = math.hypot(radii[0] * cos, radii[1] * sin)
    half_height = math.hypot(radii[0] * sin, radii[1] * cos)
    x, y = centre
    return Box(name, x - half_width, y - half_height, 2 * half_width, 2 * half_height)
