"""A sheet of images as the model will see them, with their boxes."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dino_api.experiment import ExperimentSpec
from dino_api.rules.data import data_rule
from dino_trainer.data import transforms
from dino_trainer.data.image_store import ImageFile
from dino_trainer.data.random_streams import AUGMENT, Draws
from dino_trainer.errors import TrainerError, invalid_dataset
from dino_trainer.preflight.annotations import boxes_per_image
from dino_trainer.preflight.sources import Source, Split

SAMPLES = 12
SAMPLE_COLUMNS = 4
SAMPLE_CELL = (320, 240)
# Degrees of hue between neighbouring classes: the golden angle never repeats.
_TURN = 137


def sample_sheet(spec: ExperimentSpec, split: Split, *, augmented: bool) -> bytes | None:
    """A JPEG of at most SAMPLES images; None where no image can be shown.

    augmented: each as training draws it in its first epoch, if `train.seed` is not negative; else
    as validation sees it.
    """
    tiles = list(_tiles(spec, split, augmented))
    if not tiles:
        return None
    columns = min(SAMPLE_COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * SAMPLE_CELL[0], rows * SAMPLE_CELL[1]), (32, 32, 32))
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        sheet.paste(tile, (column * SAMPLE_CELL[0], row * SAMPLE_CELL[1]))
    content = io.BytesIO()
    sheet.save(content, "JPEG", quality=80)
    return content.getvalue()


def _tiles(spec: ExperimentSpec, split: Split, augmented: bool) -> Iterator[Image.Image]:
    usable = list(_usable(split))
    chosen = np.linspace(0, len(usable) - 1, min(SAMPLES, len(usable))).round().astype(int)
    for index, source, position in (usable[place] for place in chosen):
        try:
            file, geometry = _drawn(spec, index if augmented else None, source, position)
            yield _tile(file, geometry, source, position, split.categories)
        except TrainerError:
            continue  # one that cannot be read is a finding already


def _usable(split: Split) -> Iterator[tuple[int, Source, int]]:
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
    spec: ExperimentSpec, index: int | None, source: Source, position: int
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
    source: Source,
    position: int,
    names: dict[int, str],
) -> Image.Image:
    entries = source.entries
    width, height = entries.sizes[position].tolist()
    image = transforms.picture(transforms.read_image(file, width, height), geometry)
    own = source.odd.usable & ~entries.crowd & (entries.images == position)
    boxes = entries.boxes[own]
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    kept_boxes, kept = transforms.apply_boxes(corners, (height, width), geometry)
    return _draw(image, kept_boxes, entries.labels[own][kept], names)


def _draw(
    image: Image.Image,
    boxes: NDArray[np.float32],
    labels: NDArray[np.int64],
    names: dict[int, str],
) -> Image.Image:
    factor = min((SAMPLE_CELL[0] - 4) / image.width, (SAMPLE_CELL[1] - 4) / image.height)
    tile = image.resize((max(1, int(image.width * factor)), max(1, int(image.height * factor))))
    pen = ImageDraw.Draw(tile)
    font = ImageFont.load_default(11)
    for (left, top, right, bottom), label in zip(boxes * factor, labels.tolist(), strict=True):
        colour = f"hsl({label * _TURN % 360}, 100%, 60%)"
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=colour, width=2)
        name = names.get(label) or str(label)
        pen.text((left + 3, max(0, top - 13)), name, fill=colour, font=font)
    return tile
