"""Boxes in percents are told from boxes in pixels: never an honest file, of whatever pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dino_trainer.data.box_form import wrong_form
from dino_trainer.errors import TrainerError
from tests.unit.preflight_lab import Lab, encoded, lab, picture
from tests.unit.training_builders import a_dataset, load_folder

__all__ = ["lab"]

File = tuple[np.ndarray, np.ndarray, np.ndarray]
# What is left of a number's digits: whole pixels, halves, tenths, hundredths, all.
GRIDS = (1, 2, 10, 100, None)


def drawn(
    rng: np.random.Generator,
    count: int,
    size: tuple[Any, Any],
    grid: int | None,
    within: tuple[int, int, int, int] | None = None,
    largest: float = 60,
) -> File:
    """Boxes in pixels all over pictures of a size (or of a range of them), or `within` corners."""
    sides = np.stack([rng.integers(*s, count) if isinstance(s, tuple) else np.full(count, s)
                      for s in size], 1)  # fmt: skip
    low, high = (0, sides) if within is None else (np.array(within[:2]), np.array(within[2:]))
    extent = np.minimum(rng.uniform(4, largest, (count, 2)), high - low - 1)
    start = rng.uniform(low, high - extent)
    boxes = np.concatenate([start, extent], 1)
    if grid:
        boxes = np.maximum(np.round(boxes * grid), [0, 0, 1, 1]) / grid
    return boxes, sides, boxes[:, 2:].prod(axis=1)


AREAS = {
    "box": lambda boxes, areas: areas,
    "absent": lambda boxes, areas: areas * np.nan,
    "round masks": lambda boxes, areas: areas * np.pi / 4,
    "masks": lambda boxes, areas: areas * np.random.default_rng(0).uniform(0.3, 1, len(areas)),
    "counted pixels": lambda boxes, areas: (boxes[:, 2:] + 1).prod(axis=1),
}
HONEST: dict[str, dict[str, Any]] = {
    "photographs": {"size": ((300, 2000), (300, 2000))},
    "pictures of any size": {"size": ((24, 700), (24, 700))},
    "100 x 100": {"size": (100, 100)},
    "about 100 x 100": {"size": ((90, 116), (90, 116))},
    "round things of 88 x 89": {"size": (88, 89)},
    "digits": {"size": (32, 32), "largest": 25},
    "100 x 100 padded to 128": {"size": (128, 128), "within": (0, 0, 100, 100)},
    "100 x 100 padded to 192": {"size": (192, 192), "within": (0, 0, 100, 100)},
    "200 x 200": {"size": (200, 200)},
    "tiny things": {"size": (640, 480), "largest": 12},
    "a logo in the corner": {"size": (1920, 1080), "within": (20, 15, 90, 55), "largest": 40},
    "a clock in the corner": {"size": (1920, 1080), "within": (5, 5, 100, 40), "largest": 20},
}


def files(name: str) -> Iterator[tuple[str, File]]:
    rng = np.random.default_rng(list(HONEST).index(name))
    for areas, taken in AREAS.items():
        for grid in GRIDS:
            for count in (1, 2, 12, 60, 12, 60):
                boxes, sizes, whole = drawn(rng, count, grid=grid, **HONEST[name])
                yield f"{count} boxes, grid {grid}, {areas}", (boxes, sizes, taken(boxes, whole))


@pytest.mark.parametrize("name", HONEST)
def test_honest_boxes_are_never_percents(name: str) -> None:
    assert [said for said, file in files(name) if wrong_form(*file) == "boxes-percents"] == []


def percents(file: File, digits: int | None, areas: str) -> File:
    """As a tool would write the same boxes. areas: in pixels, of the percents, or none."""
    boxes, sizes, whole = file
    boxes = 100 * boxes / np.tile(sizes, 2)
    boxes = boxes if digits is None else boxes.round(digits)
    kinds = {"pixels": whole, "percents": boxes[:, 2:].prod(axis=1), "none": whole * np.nan}
    return boxes, sizes, kinds[areas]


@pytest.mark.parametrize("areas", ["pixels", "percents", "none"])
@pytest.mark.parametrize("digits", [2, None])
@pytest.mark.parametrize("grid", [1, None], ids=["whole pixels", "drawn"])
@pytest.mark.parametrize("size", [(640, 480), (1920, 1080), (1000, 800), (320, 240)])
def test_percents_of_large_pictures_are_told(
    size: tuple[int, int], grid: int | None, digits: int | None, areas: str
) -> None:
    rng = np.random.default_rng(0)
    file = drawn(rng, 40, size, grid, largest=min(size) / 2)
    assert wrong_form(*percents(file, digits, areas)) == "boxes-percents"
    assert wrong_form(*file) is None


@pytest.mark.parametrize("size", [(96, 64), (40, 30), (128, 128), (200, 150), (101, 130)])
@pytest.mark.parametrize("digits", [2, None])
def test_percents_of_small_pictures_are_told_by_the_pixels_that_they_make(
    size: tuple[int, int], digits: int | None
) -> None:
    file = drawn(np.random.default_rng(0), 40, size, 1, largest=min(size) / 2)
    assert wrong_form(*percents(file, digits, "none")) == "boxes-percents"


@pytest.mark.parametrize("size", [(640, 480), (96, 64), (200, 150)])
def test_areas_in_pixels_tell_of_few_boxes(size: tuple[int, int]) -> None:
    file = drawn(np.random.default_rng(2), 4, size, None, largest=min(size) / 2)
    assert wrong_form(*percents(file, None, "pixels")) == "boxes-percents"


def test_centres_in_percents_are_told_too() -> None:
    boxes, sizes, areas = percents(
        drawn(np.random.default_rng(0), 40, (640, 480), None, largest=200), None, "none"
    )
    boxes[:, :2] += boxes[:, 2:] / 2
    assert wrong_form(boxes, sizes, areas) == "boxes-percents"


def small_pictures(lab: Lab) -> None:
    """Honest data of pictures of about 100 x 100, with boxes of fractions all over them."""
    rng = np.random.default_rng(0)
    for side in lab.sides:
        for image in side.coco["images"]:
            size = tuple(rng.integers(94, 108, 2).tolist())
            image["width"], image["height"] = size
            side.put(image["file_name"], encoded(picture(image["id"], size)))
        sizes = {image["id"]: (image["width"], image["height"]) for image in side.coco["images"]}
        for box in side.coco["annotations"]:
            w, h = rng.uniform(5, 60, 2).round(2).tolist()
            across, down = sizes[box["image_id"]]
            x, y = rng.uniform(0, across - w), rng.uniform(0, down - h)
            box["bbox"], box["area"] = [round(x, 2), round(y, 2), w, h], round(w * h, 2)


def test_preflight_finds_nothing_in_honest_pictures_of_about_100(lab: Lab) -> None:
    small_pictures(lab)
    assert lab.run() == 0
    assert lab.findings == {}


def test_the_remedy_works_to_the_letter(lab: Lab) -> None:
    """Multiply x and width by the image's width / 100, y and height by its height / 100."""
    wide = (160, 120)
    for side in lab.sides:
        for image in side.coco["images"]:
            image["width"], image["height"] = wide
            side.put(image["file_name"], encoded(picture(image["id"], wide)))
        for box in side.coco["annotations"]:
            x, y, w, h = box["bbox"]
            box["bbox"] = [100 * x / 160, 100 * y / 120, 100 * w / 160, 100 * h / 120]
    assert lab.run() == 65
    assert set(lab.findings) == {"boxes-percents"}
    assert "Multiply x and width by the image's width / 100" in lab.err
    for side in lab.sides:
        for box in side.coco["annotations"]:
            x, y, w, h = box["bbox"]
            box["bbox"] = [x * 160 / 100, y * 120 / 100, w * 160 / 100, h * 120 / 100]
    assert lab.run() == 0
    assert lab.findings == {}


def test_training_and_evaluation_refuse_them_in_the_same_words(tmp_path: Path) -> None:
    folder = a_dataset(tmp_path / "data", 8)
    path = folder / "annotations.json"
    document = json.loads(path.read_text())
    for box in document["annotations"]:
        x, y, w, h = box["bbox"]
        box["bbox"] = [100 * x / 96, 100 * y / 64, 100 * w / 96, 100 * h / 64]
    path.write_text(json.dumps(document))
    with pytest.raises(TrainerError, match="are in percents: their numbers are hundredths") as why:
        load_folder(folder)
    assert why.value.reason == "InvalidDataset"
    assert "width / 100" in why.value.remedy
