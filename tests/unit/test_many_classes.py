"""The shapes of LVIS and Objects365: from preflight to inference, with a very small model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from dino_trainer.command.cli import main
from tests.unit.training_builders import a_dataset, a_spec


def lvis(folder: Path) -> dict[str, Any]:
    """1,203 categories; an address in place of a file name, from two folders in one file."""
    document = a_document(folder)
    for place, image in enumerate(document["images"]):
        split = ("train2017", "val2017")[place % 2]
        name = f"{image['id']:012}.jpg"
        move(folder, image.pop("file_name"), f"{split}/{name}")
        image["coco_url"] = f"http://images.cocodataset.org/{split}/{name}"
        image |= {"neg_category_ids": [7], "not_exhaustive_category_ids": []}
    document["categories"] = [
        {"id": n, "name": f"class_({n})", "synset": f"c.n.{n}", "frequency": "r"}
        for n in range(1, 1204)
    ]
    relabel(document, 1203)
    return document


def objects365(folder: Path) -> dict[str, Any]:
    """365 categories; ids in millions; names with folders."""
    document = a_document(folder)
    ids = {image["id"]: 1_900_000 + 12_345 * image["id"] for image in document["images"]}
    for image in document["images"]:
        image["id"] = ids[image["id"]]
        name = f"images/v1/patch8/objects365_v1_{image['id']:08}.jpg"
        move(folder, image["file_name"], name)
        image["file_name"] = name
    for box in document["annotations"]:
        box |= {"image_id": ids[box["image_id"]], "id": 30_000_000 + box["id"], "isfake": 0}
    document["categories"] = [{"id": n, "name": f"Class {n}/x"} for n in range(1, 366)]
    relabel(document, 365)
    return document


def a_document(folder: Path) -> dict[str, Any]:
    a_dataset(folder, 4)
    document: dict[str, Any] = json.loads((folder / "annotations.json").read_text())
    return document


def move(folder: Path, name: str, to: str) -> None:
    target = folder / "images" / to
    target.parent.mkdir(parents=True, exist_ok=True)
    (folder / "images" / name).rename(target)


def relabel(document: dict[str, Any], largest: int) -> None:
    for place, box in enumerate(document["annotations"]):
        box["category_id"] = largest if place == 0 else 1 + place


ALL = ("preflight", "train", "evaluate", "export", "inference")


@pytest.mark.parametrize("shape, classes", [(lvis, 1204), (objects365, 366)])
def test_every_action(
    shape: Any,
    classes: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The classes are more than the longest list of a status was: no bound ends what is done."""
    data = tmp_path / "data"
    document = shape(data)
    (data / "annotations.json").write_text(json.dumps(document))
    (tmp_path / "map.txt").write_text("\n".join(one["name"] for one in document["categories"]))
    base = a_spec(data, data, "train.num_epochs=1", "train.ema.enabled=false")
    spec = base.model_dump(mode="json", exclude_defaults=True)
    source = spec["dataset"]["train_data_sources"][0]
    best = str(tmp_path / "results/train/dino_model_best.pth")
    onnx = str(tmp_path / "results/export/dino.onnx")
    spec["dataset"] |= {
        "test_data_sources": source,
        "infer_data_sources": {
            "image_dir": [source["image_dir"]],
            "classmap": str(tmp_path / "map.txt"),
        },
    }
    spec |= {
        "evaluate": {"checkpoint": best},
        "inference": {"checkpoint": best, "conf_threshold": 0.0},
        "export": {"checkpoint": best, "onnx_file": onnx},
    }
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(spec))
    for action in ALL:
        code = main([action, "-e", str(path)])
        out, err = capsys.readouterr()
        assert code == 0, f"{action}: {out} {err}"
    results = tmp_path / "results"
    told = json.loads((results / "train/result.json").read_text())
    assert len(told["dataset"]["classNames"]) == classes
    assert told["checkpoint"]["uri"] == best
    assert told["metrics"].keys() >= {"mAP", "mAP50"}
    scored = json.loads((results / "evaluate/result.json").read_text())
    assert scored["metrics"]["mAP"] == pytest.approx(told["metrics"]["mAP"], abs=1e-6)
    checked = json.loads((results / "preflight/report.json").read_text())
    errors = [one["id"] for one in checked["findings"] if one["severity"] == "error"]
    assert errors == []
    assert checked["dataset"]["images"] == len(document["images"]) == 4
