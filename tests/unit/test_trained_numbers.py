"""A trained detector through `dino evaluate` and validation, on files of odd numbers.

The same pictures and boxes, written with other ids, areas, flags or in another order, give the same
twelve statistics to the last bit; other boxes give pycocotools' own; what cannot be read ends in
the sentence that names it.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dino_api.experiment import ExperimentSpec
from dino_api.loading import load
from dino_api.names import PREDICTIONS_FILE, Action
from dino_api.result import Metrics, Result
from dino_trainer.actions import evaluate
from dino_trainer.errors import TrainerError
from dino_trainer.model_files.checkpoint import LATEST
from tests.unit.test_scoring_property import put_right
from tests.unit.training_builders import Recorder, a_context, a_dataset, a_spec, run, source

QUERIES = 160
Document = dict[str, Any]
Change = Callable[[Document], None]


@dataclass(frozen=True)
class Scored:
    """What an evaluation leaves."""

    result: Result
    predictions: list[dict[str, Any]]


class TrainedDetector:
    """A detector that was trained for a few steps, and the file that it is scored on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = a_dataset(folder / "data", 8)
        self.document: Document = json.loads((self.data / "annotations.json").read_text())
        a_dataset(folder / "few", 2)
        spec = self.training("data", "train.num_epochs=20", "train.validation_interval=20")
        run(spec)
        self.checkpoint = Path(spec.results_dir) / "train" / LATEST
        self.plain = self.evaluate("plain", lambda document: None)

    def training(self, data: str, *overrides: str) -> ExperimentSpec:
        """Scored after its epochs on the plain file."""
        return a_spec(
            self.folder / data,
            self.data,
            "model.return_interm_indices=[1,2]",  # finer maps, which have so many tokens
            "dataset.augmentation.fixed_size=[96,144]",
            f"model.num_queries={QUERIES}",
            f"model.num_select={QUERIES}",
            "train.optim.lr=0.001",
            "train.optim.lr_backbone=0.001",
            "train.ema.enabled=false",
            *overrides,
        )

    def file(self, name: str, change: Change) -> tuple[Path, Document]:
        """The file, changed, under another name."""
        document = copy.deepcopy(self.document)
        change(document)
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(document))
        return path, document

    def evaluate(self, name: str, change: Change, *overrides: str) -> Scored:
        """The action, on the changed file."""
        path, _ = self.file(name, change)
        results = self.folder / f"results-{name}"
        content = {
            "results_dir": str(results),
            "dataset": {
                "test_data_sources": [{**source(self.data), "json_file": str(path)}],
                "workers": 0,
            },
            "evaluate": {"checkpoint": str(self.checkpoint), "num_gpus": 0},
        }
        spec = load(content, overrides, Action.EVALUATE)[0]
        result = evaluate.run(spec, a_context(spec, Recorder(), action=Action.EVALUATE))
        said = (results / "evaluate" / PREDICTIONS_FILE).read_text()
        return Scored(result, json.loads(said))

    def validate(self, name: str, change: Change) -> Metrics:
        """One more step of training, and a validation on the changed file."""
        path, _ = self.file(name, change)
        validation = {**source(self.data), "json_file": str(path)}
        spec = self.training(
            "few",
            "train.num_epochs=1",
            f"train.pretrained_model_path={self.checkpoint}",
            f"dataset.val_data_sources=[{json.dumps(validation)}]",
            f"results_dir={self.folder / f'trained-{name}'}",
        )
        recorder = Recorder()
        run(spec, recorder)
        ((_, metrics, _),) = recorder.validations
        return metrics


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> TrainedDetector:
    return TrainedDetector(tmp_path_factory.mktemp("numbers"))


def pycocotools(document: Document, found: Scored, most: int = 100) -> COCOeval:
    """Its own reading of the files. The places of images in place of their ids."""
    right = put_right(document)
    new = {one["id"]: place for place, one in enumerate(right["images"])}
    old = {one["id"]: place for place, one in enumerate(document["images"])}
    for one in right["images"]:
        one["id"] = new[one["id"]]
    for one in right["annotations"]:
        one["image_id"] = new[one["image_id"]]
    rows = [{**row, "image_id": old[row["image_id"]]} for row in found.predictions]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = right
        truth.createIndex()
        judged = COCOeval(truth, truth.loadRes(rows), "bbox")
        judged.params.maxDets = [1, 10, most]
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return judged


def shifted(by: int) -> Change:
    """All ids of images and annotations."""

    def change(document: Document) -> None:
        for image in document["images"]:
            image["id"] += by
        for box in document["annotations"]:
            box["image_id"] += by
            box["id"] += by

    return change


def every(key: str, value: Any) -> Change:
    """A key of every annotation; a function makes it of the annotation. `...` takes it out."""

    def change(document: Document) -> None:
        for box in document["annotations"]:
            box[key] = value(box) if callable(value) else value
            if value is ...:
                del box[key]

    return change


def ordered(part: str, turn: Callable[[list[Any]], list[Any]]) -> Change:
    def change(document: Document) -> None:
        document[part] = turn(document[part])

    return change


def numbered(document: Document) -> None:
    for place, box in enumerate(document["annotations"]):
        box["id"] = place


def shuffled(items: list[Any]) -> list[Any]:
    return [items[place] for place in np.random.default_rng(0).permutation(len(items))]


# The same boxes on the same pictures.
SAME: dict[str, Change] = {
    "image ids above 2^53": shifted(2**53),
    "image ids around 2^53": shifted(2**53 - 4),
    "image ids above 2^63": shifted(2**63),
    "image ids around 2^63": shifted(2**63 - 4),
    "image ids above 2^64": shifted(2**64 + 1),
    "negative image ids": shifted(-1000),
    "image ids on both sides of 0": shifted(-4),
    "image ids below -2^63": shifted(-(2**70)),
    "annotation ids from 0": numbered,
    "annotation ids that repeat": every("id", 7),
    "no annotation ids": every("id", ...),
    "negative areas": every("area", lambda box: -box["area"]),
    "some negative areas": every("area", lambda box: box["area"] * (-1) ** box["id"]),
    "no areas": every("area", ...),
    "areas of null": every("area", None),
    "areas that are no numbers": every("area", float("nan")),
    "infinite areas": every("area", float("inf")),
    "areas as fractions": every("area", lambda box: float(box["area"])),
    "images from the last to the first": ordered("images", lambda all_: all_[::-1]),
    "images in any order": ordered("images", shuffled),
    "boxes in any order": ordered("annotations", shuffled),
    "categories in another order": ordered("categories", lambda all_: all_[::-1]),
    "iscrowd as a text": every("iscrowd", "0"),
    "iscrowd as another text": every("iscrowd", " 0.0 "),
    "iscrowd as a flag": every("iscrowd", False),
    "iscrowd null": every("iscrowd", None),
    "no iscrowd": every("iscrowd", ...),
}


def test_the_detector_has_learnt_something(lab: TrainedDetector) -> None:
    """Equal zeros would show nothing."""
    assert lab.plain.result.metrics.mAP > 0.02
    assert lab.plain.result.metrics.AR100 > 0.1
    stats = pycocotools(lab.document, lab.plain).stats
    assert lab.plain.result.metrics == Metrics.from_coco(stats)


@pytest.mark.parametrize("name", SAME)
def test_an_evaluation_of_the_same_boxes_says_the_same(lab: TrainedDetector, name: str) -> None:
    scored = lab.evaluate("same", SAME[name])
    assert scored.result.metrics == lab.plain.result.metrics
    _, document = lab.file("same", SAME[name])
    named = {image["id"]: image["file_name"] for image in document["images"]}
    plain = {image["id"]: image["file_name"] for image in lab.document["images"]}
    assert sorted((named[row["image_id"]], row["score"]) for row in scored.predictions) == sorted(
        (plain[row["image_id"]], row["score"]) for row in lab.plain.predictions
    )


def some_crowds(value: Any) -> Change:
    """Every third box of the file."""

    def change(document: Document) -> None:
        for box in document["annotations"][::3]:
            box["iscrowd"] = value

    return change


def smaller(document: Document) -> None:
    """Masks, which sort boxes as small, medium or large by other areas."""
    for box in document["annotations"]:
        box["area"] *= 1.7 if box["id"] % 2 else 0.4


def an_empty_image(document: Document) -> None:
    gone = document["images"][2]["id"]
    document["annotations"] = [one for one in document["annotations"] if one["image_id"] != gone]


OTHER: dict[str, Change] = {
    "some crowds": some_crowds(1),
    "some crowds, as texts": some_crowds("1"),
    "some crowds, as flags": some_crowds(True),
    "areas of masks": smaller,
    "an image without a box": an_empty_image,
    "a class without a box": ordered(
        "annotations", lambda all_: [one for one in all_ if one["category_id"] == 1]
    ),
}


@pytest.mark.parametrize("name", OTHER)
def test_an_evaluation_of_other_boxes_says_what_pycocotools_says(
    lab: TrainedDetector, name: str
) -> None:
    scored = lab.evaluate("other", OTHER[name])
    _, document = lab.file("other", OTHER[name])
    stats = pycocotools(document, scored).stats
    assert scored.result.metrics == Metrics.from_coco(stats)
    assert scored.result.metrics != lab.plain.result.metrics


def test_more_than_100_objects_of_a_class_in_an_image(lab: TrainedDetector) -> None:
    """What it found in the first image is the truth there: by 100 detections not all is found."""
    first = lab.document["images"][0]["id"]
    rows = [row for row in lab.plain.predictions if row["image_id"] == first]
    boxes = [np.clip(row["bbox"], 0, None).tolist() for row in rows]
    assert len(boxes) == QUERIES

    def dense(document: Document) -> None:
        document["annotations"] = [
            {"id": n, "image_id": first, "category_id": 1, "bbox": box, "iscrowd": 0,
             "area": box[2] * box[3]}
            for n, box in enumerate(boxes, start=1) if min(box[2:]) > 0
        ] + [one for one in document["annotations"] if one["category_id"] == 3]  # fmt: skip

    _, document = lab.file("dense", dense)
    coco = lab.evaluate("dense", dense)
    assert coco.result.metrics == Metrics.from_coco(pycocotools(document, coco).stats)
    assert any("more than 100 boxes of one class" in one for one in coco.result.dataset.warnings)
    whole = lab.evaluate("dense", dense, f"evaluate.max_detections={QUERIES}")
    precision = pycocotools(document, whole, QUERIES).eval["precision"][:, :, :, 0, -1]
    assert whole.result.metrics.mAP == pytest.approx(precision[precision > -1].mean(), abs=1e-12)
    assert whole.result.metrics.AR100 == coco.result.metrics.AR100
    assert not [one for one in whole.result.dataset.warnings if "boxes of one class" in one]


REFUSED: dict[str, tuple[Change, str]] = {
    "areas as texts": (every("area", "80"), r"annotations\[0\] is .*area is \"80\", not a number"),
    "areas as words": (every("area", "large"), r"area is \"large\", not a number"),
    "areas as lists": (every("area", [80]), r"area is \[80\], not a number"),
    "crowds alone": (every("iscrowd", 1), r"all boxes are crowds \(iscrowd 1\)"),
    "crowds alone, as texts": (every("iscrowd", "1"), r"all boxes are crowds \(iscrowd 1\)"),
    "iscrowd in words": (every("iscrowd", "no"), r"iscrowd is \"no\", not 0 or 1"),
    "image ids as texts": (
        every("image_id", lambda box: str(box["image_id"])),
        r"image_id is \"1\", not an integer",
    ),
    "image ids as fractions": (
        every("image_id", lambda box: box["image_id"] + 0.5),
        r"image_id is 1.5, not an integer",
    ),
    "image ids that are one": (
        lambda document: document["images"][1].update(id=1),
        "two images have the id 1",
    ),
    "shares of the image": (
        every("bbox", lambda box: [n / s for n, s in zip(box["bbox"], [96, 64] * 2, strict=True)]),
        "boxes are normalised",
    ),
    "percents of the image": (
        every(
            "bbox",
            lambda box: [100 * n / s for n, s in zip(box["bbox"], [96, 64] * 2, strict=True)],
        ),
        "boxes are in percents",
    ),
    "corners": (
        every("bbox", lambda b: [*b["bbox"][:2], *np.add(b["bbox"][:2], b["bbox"][2:]).tolist()]),
        "boxes are corners",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_scored_ends_in_its_sentence(lab: TrainedDetector, name: str) -> None:
    change, sentence = REFUSED[name]
    for refused in (lab.evaluate, lab.validate):
        with pytest.raises(TrainerError, match=sentence) as why:
            refused("refused", change)
        assert why.value.reason == "InvalidDataset"
        assert why.value.remedy


VALIDATED = (
    "image ids around 2^53",
    "image ids above 2^63",
    "image ids on both sides of 0",
    "some negative areas",
    "no areas",
    "annotation ids from 0",
    "iscrowd as a text",
    "images in any order",
)


@pytest.fixture(scope="module")
def validated(lab: TrainedDetector) -> Metrics:
    """Of the plain file."""
    return lab.validate("plain", lambda document: None)


@pytest.mark.parametrize("name", VALIDATED)
def test_a_validation_of_the_same_boxes_says_the_same(
    lab: TrainedDetector, validated: Metrics, name: str
) -> None:
    assert validated.mAP > 0
    assert lab.validate(name.replace(" ", "-"), SAME[name]) == validated
