"""A sheet of images as the model will see them, with their boxes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from dino_api.experiment import ExperimentSpec
from dino_api.rules.data import data_rule
from dino_trainer.data import transforms
from dino_trainer.data.image_store import ImageFile
from dino_trainer.data.random_streams import AUGMENT, Draws
from dino_trainer.errors import TrainerError, invalid_dataset
from dino_trainer.pages.marks import Mark, as_jpeg, class_colour, fitted, sheet_of
from dino_trainer.preflight.annotations import boxes_per_image
from dino_trainer.preflight.sources import PreflightSource, PreflightSplit

SAMPLES = 12
SAMPLE_COLUMNS = 4
SAMPLE_CELL = (320, 240)


def sample_sheet(spec: ExperimentSpec, split: PreflightSplit, *, augmented: bool) -> bytes | None:
    """A JPEG of at most SAMPLES images; None where no image can be shown.

    augmented: each as training draws it in its first epoch, if `train.seed` is not negative; else
    as validation sees it.
    """
    tiles = list(_tiles(spec, split, augmented))
    if not tiles:
        return None
    return as_jpeg(sheet_of(tiles, SAMPLE_COLUMNS, SAMPLE_CELL))


def _tiles(spec: ExperimentSpec, split: PreflightSplit, augmented: bool) -> Iterator[Image.Image]:
    usable = list(_usable(split))
    chosen = np.linspace(0, len(usable) - 1, min(SAMPLES, len(usable))).round().astype(int)
    for index, source, position in (usable[place] for place in chosen):
        try:
            file, geometry = _drawn(spec, index if augmented else None, source, position)
            yield _tile(file, geometry, source, position, split.categories)
        except TrainerError:
            continue  # one that cannot be read is a finding already


def _usable(split: PreflightSplit) -> Iterator[tuple[int, PreflightSource, int]]:
    """Place in the split, source and position of images with boxes and without an error."""
    index = 0
    for source in split.sources:
        counts = boxes_per_image(source)
        for position, facts in enumerate(source.facts):
            broken = facts is None or any(
                data_rule(id).severity == "error" for id, _ in facts.flaws
            )
            if counts[position] and not broken:
                yield index, source, position
            index += 1


def _drawn(
    spec: ExperimentSpec, index: int | None, source: PreflightSource, position: int
) -> tuple[ImageFile, transforms.Geometry]:
    """The file, and what becomes of it. index: of the image in training's order, None elsewhere."""
    width, height = source.entries.sizes[position].tolist()
    file = source.staged.images.find(source.entries.file_names[position])
    if file is None:
        raise invalid_dataset(f"{source.image(position)} is gone.")
    config = spec.dataset.augmentation
    if index is None:
        return file, transforms.draw_eval(config, (height, width))
    draws = Draws(AUGMENT, max(0, spec.train.seed), 0, index)
    return file, transforms.draw_train(config, (height, width), draws)


def _tile(
    file: ImageFile,
    geometry: transforms.Geometry,
    source: PreflightSource,
    position: int,
    names: dict[int, str],
) -> Image.Image:
    entries = source.entries
    width, height = entries.sizes[position].tolist()
    image = transforms.picture(transforms.read_image(file, width, height), geometry)
    own = source.odd.usable & ~entries.crowd & (entries.images == position)
    boxes = entries.boxes[own]
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    shown, kept = transforms.apply_boxes(corners, (height, width), geometry)
    marks = [
        Mark(box, class_colour(label), names.get(label) or str(label))
        for box, label in zip(shown.tolist(), entries.labels[own][kept].tolist(), strict=True)
    ]
    return fitted(image, marks, SAMPLE_CELL)
