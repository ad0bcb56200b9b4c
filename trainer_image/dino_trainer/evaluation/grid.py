"""A picture that shows what the detector learned: validation images, their detections and truth."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dino_trainer.data.coco import CocoImage
from dino_trainer.data.transforms import read_image
from dino_trainer.pages.marks import Mark, class_colour, corners_of, fitted, sheet_of
from dino_trainer.scoring.detection import DetectionSet

TRUE = (255, 255, 255)
# Detections of at least that score are drawn.
THRESHOLD = 0.3
COLUMNS = 4
# Width and height of an image on the sheet, in pixels.
CELL = (400, 300)


def draw_grid(
    images: Sequence[CocoImage], detections: DetectionSet, class_names: Sequence[str], path: Path
) -> None:
    """Write a PNG with the given images in rows of COLUMNS.

    Detections of at least THRESHOLD are coloured by class, with name and score; true boxes are
    thin and white, crowds left out. Image i's boxes are those of `detections.of(i)`.
    """
    caption = f"colour: found, with score (from {THRESHOLD:g})   white: true"
    tiles = [_tile(image, detections.of(at), class_names) for at, image in enumerate(images)]
    sheet_of(tiles, COLUMNS, CELL, caption).save(path)


def _tile(image: CocoImage, detections: DetectionSet, class_names: Sequence[str]) -> Image.Image:
    """One image, fitted into its cell, with its boxes."""
    boxes = image.boxes[~image.crowd].tolist()
    true = [Mark(corners_of(box), TRUE, line=1) for box in boxes]
    own = np.flatnonzero(detections.scores >= THRESHOLD)[::-1]  # the best end on top
    drawn = [_mark(detections, place, class_names) for place in own.tolist()]
    return fitted(read_image(image.file, image.width, image.height), [*true, *drawn], CELL)


def _mark(detections: DetectionSet, place: int, class_names: Sequence[str]) -> Mark:
    label = int(detections.labels[place])
    text = f"{class_name_of(class_names, label)} {detections.scores[place]:.2f}"
    return Mark(detections.boxes[place].tolist(), class_colour(label), text)


def class_name_of(class_names: Sequence[str], label: int) -> str:
    """A class's name, or its number where it has none."""
    named = label < len(class_names) and class_names[label]
    return named or f"class {label}"
