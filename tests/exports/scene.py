"""Six pictures and their boxes, for every tool to load in its own way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

# Not in the order of the alphabet, and the last has no box: tools differ in both.
CLASSES = ["zebra", "ant", "moth"]
SIZE = (96, 72)
# Name: boxes of class, x, y, width, height in pixels. One has none, one reaches to the corner.
PICTURES: dict[str, list[tuple[str, float, float, float, float]]] = {
    "one.jpg": [("zebra", 10.25, 8.5, 30.5, 20), ("ant", 50, 30, 20, 24)],
    "two.png": [("ant", 5, 40, 24.75, 18)],
    "none.jpg": [],
    "the third.jpg": [("zebra", 60, 36, 36, 36)],
    "sub/four.jpg": [("zebra", 20, 10, 24, 30), ("ant", 3, 3, 12, 10)],
    "five.jpg": [("ant", 33.3, 12.6, 40, 33.3)],
}


def draw(folder: Path) -> None:
    """Writes `scene.json` and `images/` into `folder`."""
    for seed, (name, boxes) in enumerate(PICTURES.items()):
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _picture(seed, boxes).save(path)
    (folder / "scene.json").write_text(json.dumps(_scene(), indent=1))


def _scene() -> dict[str, Any]:
    images = [
        {
            "name": name,
            "width": SIZE[0],
            "height": SIZE[1],
            "boxes": [{"class": kind, "box": list(box)} for kind, *box in boxes],
        }
        for name, boxes in PICTURES.items()
    ]
    return {"classes": CLASSES, "images": images}


def _picture(seed: int, boxes: list[tuple[str, float, float, float, float]]) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 90, (SIZE[1], SIZE[0], 3), np.uint8)
    for kind, *box in boxes:
        x, y, width, height = (round(value) for value in box)
        pixels[y : y + height, x : x + width, CLASSES.index(kind)] = 230
    return Image.fromarray(pixels)
