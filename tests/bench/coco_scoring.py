"""Scoring a validation: the trainer's scorer against pycocotools' COCOeval, statistics equal."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dino_trainer.data.coco import CocoDataset, CocoImage
from dino_trainer.scoring.detection import DetectionSet
from dino_trainer.scoring.scorer import Scorer
from tests.bench.harness import machine, paired

SIDE = 640
SIZE = {"images": 2000, "detections": 100, "classes": 80, "truths": 7}


@dataclass(frozen=True)
class ScoringInput:
    """The same true boxes and detections in the form that each side starts from."""

    dataset: CocoDataset
    found: DetectionSet
    truth: COCO  # with its index
    rows: np.ndarray  # float64[n, 7]: image, x, y, w, h, score, class, as loadRes takes it

    def ours(self) -> np.ndarray:
        """The twelve statistics, from what `detect` returns; the preparation is included."""
        return Scorer(self.dataset).score(self.found)

    def peer(self) -> np.ndarray:
        """The same by pycocotools, from its fastest input; its index of the truth is ready."""
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(self.truth, self.truth.loadRes(self.rows), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return evaluation.stats


def make_case(images: int, detections: int, classes: int, truths: int) -> ScoringInput:
    """Random boxes; the first detections of an image are near its true boxes, the rest anywhere.

    Args:
        images: how many. detections: per image. classes: their ids are 1..classes.
        truths: true boxes per image, at most `detections`.
    """
    rng = np.random.default_rng(0)
    boxes = _boxes(rng, images, truths)
    labels = rng.integers(1, classes + 1, (images, truths))
    found = _boxes(rng, images, detections)
    found[:, :truths] = boxes * rng.normal(1, 0.1, boxes.shape)
    found_labels = rng.integers(1, classes + 1, (images, detections))
    found_labels[:, :truths] = labels
    scores = -np.sort(-rng.random((images, detections)).astype(np.float32), axis=1)
    corners = np.concatenate([found[..., :2], found[..., :2] + found[..., 2:]], axis=2)
    corners = corners.reshape(-1, 4).astype(np.float32)
    places = np.repeat(np.arange(images), detections)
    names = {id: f"class {id}" for id in range(1, classes + 1)}
    return ScoringInput(
        CocoDataset(tuple(map(_image, range(images), boxes, labels)), names, ()),
        DetectionSet(places, found_labels.ravel(), scores.ravel(), corners),
        _truth(boxes, labels, names),
        _rows(places, corners.astype(np.float64), scores.ravel(), found_labels.ravel()),
    )


def _boxes(rng: np.random.Generator, images: int, count: int) -> np.ndarray:
    """float64[images, count, 4]: x, y, w, h, of all three of COCO's sizes."""
    sizes = np.exp(rng.uniform(2, 5.5, (images, count, 2)))
    return np.concatenate([rng.uniform(0, 1, sizes.shape) * (SIDE - sizes), sizes], axis=2)


def _image(place: int, boxes: np.ndarray, labels: np.ndarray) -> CocoImage:
    return CocoImage(
        id=place,
        file=Path(f"{place}.jpg"),
        width=SIDE,
        height=SIDE,
        boxes=boxes,
        labels=labels,
        areas=boxes[:, 2] * boxes[:, 3],
        crowd=np.zeros(len(boxes), np.bool_),
    )


def _truth(boxes: np.ndarray, labels: np.ndarray, names: dict[int, str]) -> COCO:
    annotations: list[dict[str, Any]] = [
        {
            "id": place * boxes.shape[1] + index + 1,
            "image_id": place,
            "category_id": int(labels[place, index]),
            "bbox": box.tolist(),
            "area": float(box[2] * box[3]),
            "iscrowd": 0,
        }
        for place, row in enumerate(boxes)
        for index, box in enumerate(row)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": i, "width": SIDE, "height": SIDE} for i in range(len(boxes))],
            "annotations": annotations,
            "categories": [{"id": id, "name": name} for id, name in names.items()],
        }
        truth.createIndex()
    return truth


def _rows(
    places: np.ndarray, corners: np.ndarray, scores: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    sizes = corners[:, 2:] - corners[:, :2]
    columns = [places[:, None], corners[:, :2], sizes, scores[:, None], labels[:, None]]
    return np.concatenate(columns, axis=1, dtype=np.float64)


def main() -> None:
    case = make_case(**SIZE)
    if not np.array_equal(case.ours(), case.peer()):
        sys.exit("The statistics differ from pycocotools'; the speed means nothing.")
    both = paired(case.ours, case.peer, rounds=3, warmup=0)
    both.bench(
        "coco_scoring",
        machine(),
        parts={**SIZE, "statistics": "equal to the last bit"},
        target=">= 50x",
        note="The twelve COCO statistics of a validation. Ours is the trainer's scorer with its "
        "preparation, the peer is pycocotools' COCOeval with its index of the truth ready.",
    ).emit()


if __name__ == "__main__":
    main()
