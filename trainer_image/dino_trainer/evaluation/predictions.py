"""predictions.json: detections in COCO's results form, as pycocotools' loadRes reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from dino_trainer.scoring.detection import DetectionSet
from dino_trainer.scoring.matching import BoxSet
from dino_trainer.storage.files import named, replacing

_AT_ONCE = 20_000


def write_predictions(path: Path, detections: DetectionSet, image_ids: Sequence[int]) -> None:
    """All detections, one a line, in their order, with every digit.

    pycocotools on this file finds the very statistics that were reported: rounded numbers would
    change sides of a threshold now and then. image_ids: by place in the data set.
    Raises DiskFull and what else writing ends with.
    """
    with named(path), replacing(path) as aside, aside.open("w", encoding="ascii") as file:
        lead = "[\n"
        for part in _parts(BoxSet.of_detections(detections)):
            file.write(lead + ",\n".join(_lines(part, image_ids)))
            lead = ",\n"
        file.write("[]\n" if lead == "[\n" else "\n]\n")


def _parts(boxes: BoxSet) -> Iterator[BoxSet]:
    for start in range(0, len(boxes), _AT_ONCE):
        yield boxes.at(np.arange(start, min(start + _AT_ONCE, len(boxes))))


def _lines(boxes: BoxSet, image_ids: Sequence[int]) -> Iterator[str]:
    images = [image_ids[place] for place in boxes.images.tolist()]
    rows = zip(
        images, boxes.labels.tolist(), boxes.boxes.tolist(), boxes.scores.tolist(), strict=True
    )
    for image, label, (x, y, w, h), score in rows:
        yield (
            f'{{"image_id":{image},"category_id":{label},'
            f'"bbox":[{x!r},{y!r},{w!r},{h!r}],"score":{score!r}}}'
        )
