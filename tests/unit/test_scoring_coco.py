"""The scorer's statistics are pycocotools', to the last bit."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dino_trainer.data.coco import CocoDataset, CocoImage, load_coco
from dino_trainer.data.image_store import Folder
from dino_trainer.data.stage import StagedSource
from dino_trainer.detectors.torch_detector import in_training
from dino_trainer.model import build_dino
from dino_trainer.report.pace import Watch
from dino_trainer.scoring.detection import DetectionSet, detect, join
from dino_trainer.scoring.scorer import Scorer
from dino_trainer.spec.micro_batch import in_batches_of
from tests.unit.training_builders import a_dataset, a_spec, load_folder

CATEGORIES = [1, 3, 7]


def random_case(
    seed: int, images: int, crowd: float, whole: bool, shuffled: bool
) -> tuple[dict[str, Any], DetectionSet]:
    """Random true boxes of all sizes, and detections: near misses, false ones, equal scores."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(images) + 5 if shuffled else np.arange(images)
    annotations, parts = [], []
    for place in range(images):
        rows = []
        for _ in range(rng.integers(0, 9)):
            w, h = np.exp(rng.uniform(1, 5.3, 2))
            x, y = rng.uniform(0, 400, 2)
            box = [float(round(v) if whole else v) for v in (x, y, w, h)]
            label = int(rng.choice(CATEGORIES))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": int(ids[place]),
                    "category_id": label,
                    "bbox": box,
                    "area": box[2] * box[3] * rng.choice([1.0, 0.6]),
                    "iscrowd": int(rng.random() < crowd),
                }
            )
            for _ in range(rng.integers(0, 3)):
                rows.append((label, near(box, rng), round(rng.random(), 2)))
        for _ in range(rng.integers(0, 130 if place == 0 else 20)):
            box = [*rng.uniform(0, 400, 2), *rng.uniform(1, 200, 2)]
            rows.append((int(rng.choice([0, 2, *CATEGORIES])), near(box, rng), rng.random()))
        parts.append(found_in(place, rows))
    document = {
        "images": [
            {"id": int(i), "width": 640, "height": 640, "file_name": f"{i}.png"} for i in ids
        ],
        "annotations": annotations,
        "categories": [{"id": c, "name": f"c{c}"} for c in CATEGORIES],
    }
    return document, join(parts)


def near(box: list[float], rng: np.random.Generator) -> list[float]:
    """(left, top, right, bottom) close to an (x, y, w, h) box."""
    x, y, w, h = box
    moved = np.array([x, y, x + w, y + h]) + rng.normal(0, 0.1, 4) * np.array([w, h, w, h])
    return moved.tolist()


def found_in(image: int, rows: list[tuple[int, list[float], float]]) -> DetectionSet:
    return DetectionSet(
        np.full(len(rows), image, np.int64),
        np.array([label for label, _, _ in rows], np.int64),
        np.array([score for _, _, score in rows], np.float32),
        np.array([box for _, box, _ in rows], np.float32).reshape(-1, 4),
    )


def a_coco_dataset(document: dict[str, Any]) -> CocoDataset:
    """The document as the trainer holds it, without files."""
    images = []
    for image in document["images"]:
        own = [a for a in document["annotations"] if a["image_id"] == image["id"]]
        images.append(
            CocoImage(
                id=image["id"],
                file=Path(image["file_name"]),
                width=640,
                height=640,
                boxes=np.array([a["bbox"] for a in own]).reshape(-1, 4),
                labels=np.array([a["category_id"] for a in own], np.int64),
                areas=np.array([a["area"] for a in own]),
                crowd=np.array([a["iscrowd"] for a in own], np.bool_),
            )
        )
    names = {c["id"]: c["name"] for c in document["categories"]}
    return CocoDataset(tuple(images), names, ())


def pycocotools_statistics(
    document: dict[str, Any], found: DetectionSet, class_ids: list[int] | None
) -> np.ndarray:
    """The oracle."""
    boxes = found.boxes.astype(np.float64)
    results = [
        {
            "image_id": document["images"][image]["id"],
            "category_id": label,
            "bbox": [b[0], b[1], b[2] - b[0], b[3] - b[1]],
            "score": score,
        }
        for image, label, b, score in zip(
            found.images.tolist(),
            found.labels.tolist(),
            boxes.tolist(),
            found.scores.tolist(),
            strict=True,
        )
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = document
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        if class_ids is not None:
            evaluation.params.catIds = class_ids
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


# seed, images, share of crowds, boxes on whole pixels, image ids out of order
CASES = {
    "one image": (1, 1, 0.0, False, False),
    "images without boxes among others": (2, 12, 0.0, False, False),
    "crowds": (3, 15, 0.4, False, False),
    "boxes on whole pixels": (4, 20, 0.1, True, False),
    "image ids out of order": (5, 25, 0.1, True, True),
    "only crowds": (6, 5, 1.0, False, False),
    "many images": (7, 60, 0.1, False, True),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("class_ids", [None, [3], [7, 1]])
def test_statistics_equal_pycocotools(case, class_ids) -> None:
    document, found = random_case(*case)
    ours = Scorer(a_coco_dataset(document), class_ids).score(found)
    np.testing.assert_array_equal(ours, pycocotools_statistics(document, found, class_ids))


def test_statistics_of_a_file_equal_pycocotools_on_that_file(tmp_path: Path) -> None:
    """Fractions survive reading: in single precision some IoUs would change sides."""
    document, found = random_case(8, 30, 0.1, whole=False, shuffled=True)
    document["annotations"] = [a for a in document["annotations"] if a["bbox"][0] < 640]
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(document))
    for image in document["images"]:
        (tmp_path / image["file_name"]).touch()
    data = load_coco([StagedSource(Folder(tmp_path), path, "")])
    ours = Scorer(data).score(found)
    np.testing.assert_array_equal(ours, pycocotools_statistics(document, found, None))


def test_nothing_found_scores_zero() -> None:
    document, _ = random_case(9, 10, 0.0, whole=False, shuffled=False)
    stats = Scorer(a_coco_dataset(document)).score(found_in(0, []))
    assert set(stats.tolist()) <= {0.0, -1.0}
    assert stats[0] == 0.0


def test_sources_with_the_same_ids_are_kept_apart() -> None:
    document, found = random_case(10, 6, 0.0, whole=False, shuffled=False)
    data = a_coco_dataset(document)
    want = Scorer(data).score(found)
    repeated = [
        CocoImage(1, i.file, i.width, i.height, i.boxes, i.labels, i.areas, i.crowd)
        for i in data.images
    ]
    again = Scorer(CocoDataset(tuple(repeated), data.categories, ())).score(found)
    np.testing.assert_array_equal(want, again)


def test_a_perfect_detector_scores_one(tmp_path: Path) -> None:
    data = load_folder(a_dataset(tmp_path / "train"))
    parts = [
        DetectionSet(
            np.full(len(image.labels), place, np.int64),
            image.labels,
            np.full(len(image.labels), 0.9, np.float32),
            np.concatenate([image.boxes[:, :2], image.boxes[:, :2] + image.boxes[:, 2:]], axis=1),
        )
        for place, image in enumerate(data.images)
    ]
    assert Scorer(data).score(join(parts))[0] == 1.0


def test_detections_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    folder = a_dataset(tmp_path / "train", images=5)
    data = load_folder(folder)
    torch.manual_seed(0)
    model = build_dino(a_spec(folder, folder).model, 4).train()
    spec = a_spec(folder, folder)
    counts: list[tuple[int, int]] = []
    watch = Watch(progress=lambda done, total: counts.append((done, total)))
    with in_training(model, spec) as detector:
        two = detect(detector, data, spec.dataset, watch=watch)
        one = detect(detector, data, in_batches_of(1, spec.dataset))
    assert counts == [(2, 5), (4, 5), (5, 5)]
    assert model.training
    assert two.images.tolist() == one.images.tolist() == [i for i in range(5) for _ in range(10)]
    np.testing.assert_allclose(two.scores, one.scores, rtol=1e-4)
    np.testing.assert_array_equal(two.of(3).scores, two.scores[30:40])
    assert (np.diff(two.of(2).scores) <= 0).all()
    assert two.boxes[:, [0, 2]].max() <= 96 * 1.5  # pixels of the original, not shares
    assert two.boxes.max() > 10
