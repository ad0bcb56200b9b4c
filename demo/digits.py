"""A detection dataset from real handwriting: scikit-learn's 1,797 digits in scenes with boxes.

Writers differ between the splits: training scenes use the first part of the collection, validation
scenes the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from demo.coco import CocoBox, Scene, write_split

WIDTH, HEIGHT = 320, 240
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CATEGORIES = [{"id": digit + 1, "name": name} for digit, name in enumerate(NAMES)]
SCENES = {"train": 320, "val": 60}
"""Of the demo, which is to be over soon."""
WITH_TEST = {"train": 400, "val": 100, "test": 100}
TRAIN_SHARE = 0.8  # of the handwritten digits
FREE_PIXELS = 4  # between two digits, so that a box holds one


@dataclass(frozen=True)
class Handwriting:
    """Greyscale digits as float32[n, 8, 8] from 0 (paper) to 1 (ink), and the digit each shows."""

    pixels: np.ndarray
    labels: np.ndarray


def make_digits(folder: Path, scenes: Mapping[str, int] = SCENES, seed: int = 0) -> None:
    """Write images.tar.gz and annotations.json of each split, by its name, below `folder`: `train`
    by its own writers, all others by the rest. The same seed, the same bytes.
    """
    train, rest = load_handwriting()
    for name, count in scenes.items():
        writing = train if name == "train" else rest
        rng = np.random.default_rng([seed, len(name)])
        made = [make_scene(writing, rng, f"{name}_{i:04d}.jpg") for i in range(count)]
        write_split(folder / name, made, CATEGORIES)


def load_handwriting() -> tuple[Handwriting, Handwriting]:
    """The digits for training and those for validation."""
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    pixels = (digits.images / 16.0).astype(np.float32)
    cut = int(len(pixels) * TRAIN_SHARE)
    return (
        Handwriting(pixels[:cut], digits.target[:cut]),
        Handwriting(pixels[cut:], digits.target[cut:]),
    )


def make_scene(writing: Handwriting, rng: np.random.Generator, file_name: str) -> Scene:
    """One photograph-like sheet with two to five digits of various sizes, turned a little, on a
    shaded background.
    """
    picture = paper(rng)
    boxes: list[CocoBox] = []
    for _ in range(int(rng.integers(2, 6))):
        which = int(rng.integers(len(writing.labels)))
        ink = draw_digit(writing.pixels[which], rng)
        corner = free_corner(ink.size, boxes, rng)
        if corner is None:
            continue
        picture.paste(
            ink_colour(rng), (*corner, corner[0] + ink.width, corner[1] + ink.height), ink
        )
        boxes.append(
            CocoBox(*corner, ink.width, ink.height, category=int(writing.labels[which]) + 1)
        )
    return Scene(
        file_name, picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.0, 0.8))), tuple(boxes)
    )


def paper(rng: np.random.Generator) -> Image.Image:
    """A light sheet: two tints, a gradient in a random direction, faint ruled lines half of the
    time, grain.
    """
    one, other = rng.uniform(150, 250, 3), rng.uniform(150, 250, 3)
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    slope = np.cos(angle) * x / WIDTH + np.sin(angle) * y / HEIGHT
    slope = (slope - slope.min()) / np.ptp(slope)
    pixels = one + (other - one) * slope[..., None] + rng.normal(0, 6, (HEIGHT, WIDTH, 1))
    picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    if rng.random() < 0.5:
        rule(picture, rng)
    return picture


def rule(picture: Image.Image, rng: np.random.Generator) -> None:
    """Draw the lines of an exercise book."""
    pen = ImageDraw.Draw(picture)
    colour = tuple(int(v) for v in rng.uniform(120, 200, 3))
    for y in range(int(rng.integers(5, 30)), HEIGHT, int(rng.integers(18, 40))):
        pen.line((0, y, WIDTH, y), fill=colour)


def ink_colour(rng: np.random.Generator) -> tuple[int, int, int]:
    """Something dark."""
    red, green, blue = (int(v) for v in rng.uniform(0, 110, 3))
    return red, green, blue


def draw_digit(pixels: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """An ink mask (mode L) cropped to its ink, about 40 to 116 pixels high, turned a little."""
    # Ink touches the edge of many sources: a frame of paper lets their outlines close.
    framed = np.pad(pixels, 1)
    small = Image.fromarray((framed * 255).astype(np.uint8))
    side = int(rng.uniform(44, 116) * len(framed) / len(pixels))
    large = small.resize((side, side), Image.Resampling.BICUBIC)
    turned = large.rotate(rng.uniform(-15, 15), Image.Resampling.BICUBIC, expand=True)
    # Edges enlarged from 8x8 are soft for many pixels: steepen them at half of full ink.
    sharp = turned.point([min(255, max(0, (value - 96) * 4)) for value in range(256)])
    return sharp.crop(sharp.getbbox() or (0, 0, side, side))


def free_corner(
    size: tuple[int, int], boxes: list[CocoBox], rng: np.random.Generator
) -> tuple[int, int] | None:
    """Where a mask of this size overlaps no box, or None after 20 tries."""
    for _ in range(20):
        x = int(rng.integers(0, max(1, WIDTH - size[0])))
        y = int(rng.integers(0, max(1, HEIGHT - size[1])))
        if not any(box.meets(x, y, *size, FREE_PIXELS) for box in boxes):
            return x, y
    return None
