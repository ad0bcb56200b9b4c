"""What no detector can be credited with is said, with the number that a perfect one would get."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dino_trainer.data.coco import CocoDataset
from dino_trainer.data.scorable import check_scored
from dino_trainer.errors import TrainerError
from dino_trainer.scoring.detection import DetectionSet
from dino_trainer.scoring.scorer import Scorer
from tests.unit.training_builders import a_dataset, load_folder

KEY = "evaluate.max_detections"


def data(folder: Path, *rows: tuple[int, int, int], **more: Any) -> CocoDataset:
    """Four images; rows: (image, category, how many boxes). more: of every box."""
    a_dataset(folder, 4, seed=3)
    path = folder / "annotations.json"
    document = json.loads(path.read_text())
    boxes = [
        {"image_id": image, "category_id": category, "bbox": [3 * (n % 30), 5 * (n // 30), 3, 5]}
        for image, category, count in rows
        for n in range(count)
    ]
    document["annotations"] = [{"id": n, **box, **more} for n, box in enumerate(boxes)]
    path.write_text(json.dumps(document))
    return load_folder(folder)


def perfect(dataset: CocoDataset, most: int = 100) -> float:
    """The mAP of a detector that finds every box."""
    counts = [len(image.labels) for image in dataset.images]
    boxes = np.concatenate([image.boxes for image in dataset.images]).astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]
    labels = np.concatenate([image.labels for image in dataset.images])
    scores = np.linspace(1, 0.5, len(boxes), dtype=np.float32)
    found = DetectionSet(np.repeat(np.arange(len(counts)), counts), labels, scores, boxes)
    return float(Scorer(dataset, None, most).score(found)[0])


@pytest.mark.parametrize(
    "rows",
    [
        [(1, 1, 150)],
        [(1, 1, 150), (2, 3, 4)],
        [(1, 1, 300), (2, 1, 7), (3, 3, 140), (4, 3, 1)],
        [(1, 1, 101)],
    ],
)
def test_the_best_possible_map_is_that_of_a_perfect_detector(
    tmp_path: Path, rows: list[tuple[int, int, int]]
) -> None:
    dataset = data(tmp_path / "data", *rows)
    [said] = check_scored(dataset, None, 100, KEY, 900)
    score = perfect(dataset)
    assert score < 1
    assert f"no detector has a mAP above {score:.3f}. Raise {KEY}" in said
    assert dataset.images[0].file.name in said
    assert check_scored(dataset, None, 300, KEY, 900) == []
    assert perfect(dataset, 300) == pytest.approx(1)


def test_detections_that_the_model_does_not_give_are_counted(tmp_path: Path) -> None:
    """50 of each of two classes: none has more than 100, and the model gives 60 in all."""
    dataset = data(tmp_path / "data", (1, 1, 50), (1, 3, 50), (2, 1, 3))
    [said] = check_scored(dataset, None, 100, KEY, 60)
    name = dataset.images[0].file.name
    assert said == (
        f"1 images have more boxes than the model gives detections, 60 ({name} has 100): 40 of "
        "103 boxes cannot be found. Raise model.num_select"
    )
    assert check_scored(dataset, None, 100, KEY, 100) == []
    assert check_scored(dataset, [3], 100, KEY, 60) == []


def test_areas_beyond_cocos_are_said(tmp_path: Path) -> None:
    dataset = data(tmp_path / "data", (1, 1, 4), (2, 3, 4))
    dataset.images[0].areas[:3] = 1.5e10
    [said] = check_scored(dataset, None, 100, KEY, 900)
    assert said.startswith("3 boxes have an area above 10^10 square pixels, and COCO's scoring doe")
    assert check_scored(dataset, [3], 100, KEY, 900) == []


def test_areas_that_are_all_beyond_cocos_are_refused(tmp_path: Path) -> None:
    dataset = data(tmp_path / "data", (1, 1, 4), area=10_000_000_001)
    assert perfect(dataset) == -1
    with pytest.raises(TrainerError, match=r"All 4 boxes .* above 10\^10") as why:
        check_scored(dataset, None, 100, KEY, 900)
    assert why.value.reason == "InvalidDataset"
    at_the_bound = data(tmp_path / "bound", (1, 1, 4), area=10_000_000_000)
    assert perfect(at_the_bound) == pytest.approx(1)
    assert check_scored(at_the_bound, None, 100, KEY, 900) == []
