"""Preflight for the actions after training: `dino preflight --for <action>`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from dino_api.names import Action
from dino_api.rules.data.images import MODEL_RULES
from tests.unit.preflight_lab import Lab, check, encoded, lab, picture

__all__ = ["lab"]


def given(lab: Lab, action: Action) -> None:
    """The lab's two sources as what the action reads."""
    data = lab.spec["dataset"]
    del data["train_data_sources"], data["val_data_sources"]
    data["num_classes"] = 3
    if action == Action.QUANTIZE:
        data["quant_calibration_data_sources"] = [lab.train.source]
        data["test_data_sources"] = [lab.validation.source]
    elif action == Action.INFERENCE:
        (lab.folder / "classes.txt").write_text("cell\ndot\n")
        data["infer_data_sources"] = {
            "image_dir": [str(lab.train.folder / "images")],
            "classmap": str(lab.folder / "classes.txt"),
        }
    else:
        data["test_data_sources"] = lab.validation.source  # TAO's one source, without a list


@pytest.mark.parametrize(
    ("action", "counted"),
    [
        (Action.EVALUATE, "3 test images with 6 boxes"),
        (Action.EXPORT, "3 test images with 6 boxes"),
        (Action.INFERENCE, "6 images"),
        (Action.QUANTIZE, "6 calibration images with 12 boxes, 3 test images with 6 boxes"),
    ],
)
def test_good_data_passes(lab: Lab, action: Action, counted: str) -> None:
    given(lab, action)
    assert check(lab, action) == 0
    few = {"calibration-few"} if action == Action.QUANTIZE else set()
    assert set(lab.findings) == few
    assert f"{counted}: 0 kinds of errors, {len(few)} of warnings." in lab.out
    page = (lab.reports / "report.html").read_text()
    assert f"dino {action} can begin" in page
    assert ("augmented" in page, "Samples as the model sees them" in page) == (
        False,
        action != Action.INFERENCE,
    )


def test_the_dataset_told_is_that_of_the_action(lab: Lab) -> None:
    given(lab, Action.EVALUATE)
    check(lab, Action.EVALUATE)
    told = lab.reported.dataset
    assert told is not None
    assert (told.num_classes, told.images, told.annotations) == (3, 3, 6)
    assert told.class_names == ["", "cell", "dot"]
    assert told.digest


def extra_category(lab: Lab) -> None:
    lab.validation.coco["categories"].append({"id": 3, "name": "dash"})


def classmap(text: str) -> Callable[[Lab], Any]:
    return lambda lab: (lab.folder / "classes.txt").write_text(text)


def no_pictures(lab: Lab) -> None:
    (lab.folder / "empty").mkdir()
    (lab.folder / "empty/readme.txt").touch()
    infer = lab.spec["dataset"]["infer_data_sources"]
    infer["image_dir"] = str(lab.folder / "empty")


FAULTS = [
    (Action.EVALUATE, extra_category, "class-unknown", "test 3 'dash' (the model has 3 classes)"),
    (Action.EVALUATE, lambda lab: lab.spec["dataset"].update(eval_class_ids=[7], num_classes=9),
     "eval-class-unknown", "7"),
    (Action.EVALUATE, lambda lab: lab.validation.put("101.jpg", b"none"), "image-unreadable",
     "test 101.jpg"),
    (Action.QUANTIZE, extra_category, "class-unknown", "test 3 'dash' (the model has 3 classes)"),
    (Action.INFERENCE, classmap("a\nb\nc\nd\n"), "classmap-unusable", "has 4 lines"),
    (Action.INFERENCE, classmap(""), "classmap-unusable", "holds no names"),
    (Action.INFERENCE, no_pictures, "images-absent", "holds no image"),
    (Action.INFERENCE, lambda lab: (lab.folder / "classes.txt").unlink(), "source-missing",
     "classes.txt"),
]  # fmt: skip


@pytest.mark.parametrize(("action", "spoil", "rule", "example"), FAULTS)
def test_a_fault_is_found(
    lab: Lab, action: Action, spoil: Callable[[Lab], Any], rule: str, example: str
) -> None:
    given(lab, action)
    spoil(lab)
    assert check(lab, action) == (66 if rule == "source-missing" else 65)
    assert example in lab.findings[rule]["examples"][0]
    assert lab.reported.failure is not None
    assert rule in lab.reported.failure.message


def test_every_rule_about_models_is_tested_here() -> None:
    tested = {rule for _, _, rule, _ in FAULTS} | {
        "calibration-few",
        "class-names-differ",  # test_given_model.py
        "images-left-out",
        "images-lost",
    }
    assert {rule.id for rule in MODEL_RULES} <= tested


def test_files_that_inference_leaves_out_are_counted_and_named(lab: Lab) -> None:
    given(lab, Action.INFERENCE)
    lab.train.put("photo.heic", b"")
    lab.train.put("scan.tif", encoded(picture(9), "TIFF"))
    (lab.train.folder / "images" / "gone.jpg").symlink_to("nowhere.jpg")
    assert check(lab, Action.INFERENCE) == 0
    lost = lab.findings["images-lost"]
    assert (lost["count"], lost["examples"]) == (1, ["gone.jpg"])
    finding = lab.findings["images-left-out"]
    assert (finding["count"], finding["examples"]) == (1, ["photo.heic"])
    assert lab.reported.dataset is not None
    assert lab.reported.dataset.images == 7


def test_enough_calibration_images_are_not_warned_of(lab: Lab) -> None:
    given(lab, Action.QUANTIZE)
    lab.train.coco["images"] = [
        {"id": id, "file_name": f"{id}.jpg", "width": 40, "height": 30} for id in range(1, 33)
    ]
    for id in range(7, 33):
        lab.train.put(f"{id}.jpg", encoded(picture(id)))
    assert check(lab, Action.QUANTIZE) == 0
    assert "calibration-few" not in lab.findings


def test_missing_data_is_a_mistake_of_the_spec(lab: Lab) -> None:
    for action, key in (
        (Action.EVALUATE, "dataset.test_data_sources"),
        (Action.QUANTIZE, "dataset.quant_calibration_data_sources"),
        (Action.INFERENCE, "dataset.infer_data_sources.classmap"),
        (Action.DISTILL, "distill.pretrained_teacher_model_path"),
    ):
        assert check(lab, action) == 64
        assert f"{key} is needed to" in lab.err.replace(": is", " is")


def test_an_action_without_data_has_nothing_to_check(lab: Lab) -> None:
    assert check(lab, Action.EXPORT) == 0
    assert "dino export reads no data here: 0 kinds of errors" in lab.out
    report = json.loads((lab.reports / "report.json").read_text())
    assert (report["action"], report["ok"], report["statistics"]["splits"]) == ("export", True, {})


def test_an_unknown_action_is_a_usage_error(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        lab.run(options=["--for", "prune"])
    assert caught.value.code == 64
    assert "invalid Action value: 'prune'" in capsys.readouterr().err


@pytest.mark.parametrize("action", [Action.EVALUATE, Action.EXPORT, Action.QUANTIZE])
def test_what_scores_hears_of_boxes_that_are_not_counted(lab: Lab, action: Action) -> None:
    """Gates, too: they score on the test data."""
    given(lab, action)
    box = lab.validation.box()
    lab.validation.coco["annotations"] += [
        {**box, "id": 100 + n, "bbox": [n / 10, 1, 4, 4], "area": 16} for n in range(200)
    ]
    assert check(lab, action) == 0
    (example,) = lab.findings["boxes-over-detections"]["examples"]
    assert "101.jpg (201 of category 1, evaluate.max_detections is 100)" in example
    assert check(lab, action, "evaluate.max_detections=201") == 0
    assert "boxes-over-detections" not in lab.findings
    assert check(lab, action, "dataset.eval_class_ids=[0]") == 65
    assert "eval-class-unknown" in lab.findings
