"""Pictures of images with mistakes: what is right, what is wrong, and what is missing."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw, ImageFont

from dino_trainer.data.coco import CocoImage
from dino_trainer.data.transforms import read_image
from dino_trainer.evaluation.grid import class_name_of
from dino_trainer.scoring.matching import BoxSet
from dino_trainer.scoring.verdict import DetectionKind, Verdict

MOST_SIDE, _QUALITY = 720, 82
# Apart for most colour-blind people (Okabe and Ito); each also says in words what it is.
MARK_COLOURS = {
    DetectionKind.RIGHT: (0, 158, 115),
    DetectionKind.CONFUSED: (230, 159, 0),
    DetectionKind.FALSE: (213, 94, 0),
}
MISSED, CROWD = (86, 180, 233), (170, 170, 170)


@dataclass(frozen=True)
class Mark:
    """A box to draw, (x, y, width, height) in pixels of the original, and what to write at it."""

    box: NDArray[np.float64]
    colour: tuple[int, int, int]
    text: str


def marks(
    place: int, detections: BoxSet, truth: BoxSet, verdict: Verdict, names: Sequence[str]
) -> list[Mark]:
    """What to draw on the image at `place`, the mistakes last, as they matter most."""
    made = [
        Mark(truth.boxes[at], CROWD, f"{class_name_of(names, int(truth.labels[at]))}, a crowd")
        for at in np.flatnonzero((truth.images == place) & truth.crowd)
    ]
    own = np.flatnonzero(detections.images == place)
    for kind in (DetectionKind.RIGHT, DetectionKind.FALSE, DetectionKind.CONFUSED):
        made += [
            Mark(
                detections.boxes[at],
                MARK_COLOURS[kind],
                _text(at, detections, truth, verdict, names),
            )
            for at in own[verdict.kinds[own] == kind][::-1]
        ]
    made += [
        Mark(truth.boxes[at], MISSED, f"{class_name_of(names, int(truth.labels[at]))} missed")
        for at in np.flatnonzero((truth.images == place) & verdict.missed)
    ]
    return made


def _text(
    at: int, detections: BoxSet, truth: BoxSet, verdict: Verdict, names: Sequence[str]
) -> str:
    caption = f"{class_name_of(names, int(detections.labels[at]))} {detections.scores[at]:.2f}"
    if verdict.kinds[at] != DetectionKind.CONFUSED:
        return caption
    is_a = class_name_of(names, int(truth.labels[verdict.partners[at]]))
    return f"{caption}, is {is_a}"


def draw_marks(image: CocoImage, drawn: Sequence[Mark], side: int = MOST_SIDE) -> bytes:
    """A JPEG whose longer side has at most `side` pixels. Raises InvalidDataset."""
    picture = read_image(image.file, image.width, image.height)
    factor = min(1.0, side / max(picture.size))
    picture = picture.resize([max(1, round(length * factor)) for length in picture.size])
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(max(11, min(picture.size) // 36))
    for mark in drawn:
        left, top, width, height = (mark.box * factor).tolist()
        corners = (left, top, left + max(width, 0), top + max(height, 0))
        pen.rectangle(corners, outline=mark.colour, width=2)
    for mark in drawn:  # names above all boxes
        _write(pen, (mark.box[:2] * factor).tolist(), mark, font)
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=_QUALITY)
    return content.getvalue()


def _write(
    pen: ImageDraw.ImageDraw,
    corner: list[float],
    mark: Mark,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    _, _, width, height = pen.textbbox((0, 0), mark.text, font=font)
    left, top = max(0.0, corner[0]), max(0.0, corner[1] - height - 2)
    pen.rectangle((left, top, left + width + 3, top + height + 2), fill=mark.colour)
    pen.text((left + 2, top), mark.text, fill=(0, 0, 0), font=font)
