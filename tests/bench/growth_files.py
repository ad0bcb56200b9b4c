"""Synthetic data sets of any size: an annotation file with the index of its archive, or arrays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dino_trainer.data.coco import CocoDataset, CocoImage
from dino_trainer.data.image_store import FileInMemory
from tests.bench.coco_sizes import coco_like_sizes

if TYPE_CHECKING:
    from dino_trainer.scoring.detection import DetectionSet

ANNOTATIONS, INDEX = "annotations.json", "index.json"
# Images that are written at a time, so that writing a million of them takes no memory.
_AT_ONCE = 10_000


class Shape(NamedTuple):
    """A data set: images, boxes of each, classes in all."""

    images: int
    boxes: int = 2
    classes: int = 80


def write(folder: Path, shape: Shape) -> None:
    """The annotation file, and the index of an archive that holds the images."""
    sizes = coco_like_sizes(shape.images)
    with (folder / ANNOTATIONS).open("w") as file:
        file.write('{"images":[')
        file.writelines(_joined(_images(sizes)))
        file.write('],"annotations":[')
        file.writelines(_joined(_boxes(sizes, shape)))
        names = [{"id": n, "name": f"class {n}"} for n in range(1, shape.classes + 1)]
        file.write(f'],"categories":{json.dumps(names)}}}')
    with (folder / INDEX).open("w") as file:
        file.write('{"files":{')
        file.writelines(_joined(f'"{name(n)}":[{1024 * n},1024]' for n in range(shape.images)))
        file.write("}}")


def name(image: int) -> str:
    """The file of an image."""
    return f"{image:012d}.jpg"


def _joined(entries: Iterator[str]) -> Iterator[str]:
    lead = ""
    for entry in entries:
        yield lead + entry
        lead = ",\n"


def _images(sizes: np.ndarray) -> Iterator[str]:
    for n, (height, width) in enumerate(sizes.tolist()):
        yield f'{{"id":{7 * n + 3},"file_name":"{name(n)}","width":{width},"height":{height}}}'


def _boxes(sizes: np.ndarray, shape: Shape) -> Iterator[str]:
    random, number = np.random.default_rng(0), 0
    for start in range(0, shape.images, _AT_ONCE):
        of = np.repeat(sizes[start : start + _AT_ONCE, ::-1], shape.boxes, axis=0)
        boxes = made_boxes(of, random).round(2).tolist()
        for place, (x, y, w, h) in enumerate(boxes):
            image = 7 * (start + place // shape.boxes) + 3
            category = 1 + number % shape.classes
            number += 1
            yield (
                f'{{"id":{number},"image_id":{image},"category_id":{category},'
                f'"bbox":[{x},{y},{w},{h}],"area":{w * h:.2f},"iscrowd":0}}'
            )


def made_boxes(sides: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(x, y, width, height) float64[n, 4] inside of images of (width, height) int[n, 2]."""
    size = random.uniform(0.02, 0.5, (len(sides), 2)) * sides
    corner = random.uniform(0, 1, (len(sides), 2)) * (sides - size)
    return np.concatenate([corner, size], axis=1)


def made_dataset(shape: Shape) -> CocoDataset:
    """The same as it is when it was read, without a file."""
    sizes = coco_like_sizes(shape.images)
    random = np.random.default_rng(0)
    boxes = made_boxes(np.repeat(sizes[:, ::-1], shape.boxes, axis=0), random)
    labels = 1 + np.arange(len(boxes)) % shape.classes
    areas, crowd = boxes[:, 2] * boxes[:, 3], np.zeros(len(boxes), np.bool_)
    file = FileInMemory("1.jpg", b"")
    images = []
    for n, (height, width) in enumerate(sizes.tolist()):
        own = slice(n * shape.boxes, (n + 1) * shape.boxes)
        image = CocoImage(n, file, width, height, boxes[own], labels[own], areas[own], crowd[own])
        images.append(image)
    return CocoDataset(tuple(images), {n: f"class {n}" for n in range(1, shape.classes + 1)}, ())


def made_detections(dataset: CocoDataset, most: int) -> DetectionSet:
    """Up to `most` detections of each image: its boxes, moved a little, every third by a wrong
    name."""
    from dino_trainer.scoring.detection import DetectionSet  # imports torch, which others need not

    random = np.random.default_rng(1)
    counts = [min(most, len(image.labels)) for image in dataset.images]
    boxes = np.concatenate([image.boxes[:most] for image in dataset.images])
    labels = np.concatenate([image.labels[:most] for image in dataset.images])
    labels = np.where(np.arange(len(labels)) % 3 == 0, labels % len(dataset.categories) + 1, labels)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    moved = corners + random.normal(0, 0.05, corners.shape) * np.tile(boxes[:, 2:], 2)
    return DetectionSet(
        np.repeat(np.arange(len(counts)), counts),
        labels,
        random.random(len(labels)).astype(np.float32),
        moved.astype(np.float32),
    )
