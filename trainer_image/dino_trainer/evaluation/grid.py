"""A picture that shows what the detector learned: validation images, found and true boxes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dino_trainer.data.coco import CocoImage
from dino_trainer.data.transforms import read_image
from dino_trainer.scoring.detection import DetectionSet

TRUE = (255, 255, 255)
# Distinct on photographs and for most colour-blind people (Okabe and Ito).
CLASS_COLOURS = [(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0),
           (204, 121, 167), (0, 114, 178)]  # fmt: skip
CAPTION = 22
# Found boxes of at least that score are drawn.
THRESHOLD = 0.3
COLUMNS = 4
# Width and height of an image on the sheet, in pixels.
CELL = (400, 300)


def draw_grid(
    images: Sequence[CocoImage], detections: DetectionSet, class_names: Sequence[str], path: Path
) -> None:
    """Write a PNG with the given images in rows of COLUMNS.

    Found boxes of at least THRESHOLD are coloured by class, with name and score; true boxes are
    thin and white, crowds left out. Image i's boxes are those of `detections.of(i)`.
    """
    columns = min(COLUMNS, len(images))
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * CELL[0], rows * CELL[1] + CAPTION), (32, 32, 32))
    caption = f"colour: found, with score (from {THRESHOLD:g})   white: true"
    ImageDraw.Draw(sheet).text((6, 4), caption, fill=TRUE, font=_font(13))
    for place, image in enumerate(images):
        tile = draw_one(image, detections.of(place), class_names, THRESHOLD, CELL)
        row, column = divmod(place, columns)
        sheet.paste(tile, (column * CELL[0], row * CELL[1] + CAPTION))
    sheet.save(path)


def draw_one(
    image: CocoImage,
    detections: DetectionSet,
    class_names: Sequence[str],
    threshold: float,
    cell: tuple[int, int],
) -> Image.Image:
    """One image, fitted into a cell of (width, height) pixels, with its boxes."""
    tile = read_image(image.file, image.width, image.height)
    factor = min((cell[0] - 4) / tile.width, (cell[1] - 4) / tile.height)
    size = max(1, round(tile.width * factor)), max(1, round(tile.height * factor))
    tile = tile.resize(size)
    draw = ImageDraw.Draw(tile)
    for x, y, w, h in image.boxes[~image.crowd] * factor:
        draw.rectangle((x, y, x + w, y + h), outline=TRUE, width=1)
    for place in np.flatnonzero(detections.scores >= threshold)[::-1]:  # the best end on top
        label = int(detections.labels[place])
        box = tuple((detections.boxes[place] * factor).tolist())
        name = class_name_of(class_names, label)
        _draw_box(draw, box, f"{name} {detections.scores[place]:.2f}", label)
    return tile


def class_name_of(class_names: Sequence[str], label: int) -> str:
    """A class's name, or its number where it has none."""
    named = label < len(class_names) and class_names[label]
    return named or f"class {label}"


def _draw_box(draw: ImageDraw.ImageDraw, box: tuple[float, ...], text: str, label: int) -> None:
    left, top, right, bottom = box
    colour, font = CLASS_COLOURS[label % len(CLASS_COLOURS)], _font(11)
    draw.rectangle((left, top, max(left, right), max(top, bottom)), outline=colour, width=2)
    _, _, width, height = draw.textbbox((0, 0), text, font=font)
    above = max(0, top - height - 2)
    draw.rectangle((left, above, left + width + 3, above + height + 2), fill=colour)
    draw.text((left + 2, above), text, fill=(0, 0, 0), font=font)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
