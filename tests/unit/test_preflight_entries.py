"""Entries with a wrong field: the field is named, once, and what follows from it is not told."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dino_api.rules.data.rule import FORM
from dino_trainer.data.coco import load_coco
from dino_trainer.data.rotated_boxes import is_rotated
from dino_trainer.data.stage import stage
from dino_trainer.errors import TrainerError
from tests.unit.preflight_lab import SIZE, Lab, encoded, lab, picture
from tests.unit.training_builders import run, spec_for

__all__ = ["lab"]
GONE = object()


@dataclass(frozen=True)
class Wrong:
    """A value of one field in every entry of a part. said: of the first one."""

    part: str
    field: str
    value: Any
    said: str
    rule: str = "box-entry"


BOX, IMAGE, CATEGORY = "annotations", "images", "categories"
WRONG = (
    Wrong(BOX, "bbox", GONE, "bbox is missing"),
    Wrong(BOX, "bbox", None, "bbox is null, not four numbers [x, y, width, height]"),
    Wrong(BOX, "bbox", [1, 2, 3], "bbox is [1, 2, 3], not four numbers"),
    Wrong(BOX, "bbox", [1, 2, 3, 4, 30], "bbox is [1, 2, 3, 4, 30], not four numbers"),
    Wrong(BOX, "bbox", ["1", 2, 3, 4], 'bbox is ["1", 2, 3, 4], not four numbers'),
    Wrong(BOX, "bbox", {"x": 1}, 'bbox is {"x": 1}, not four numbers'),
    Wrong(BOX, "area", "80", 'area is "80", not a number'),
    Wrong(BOX, "area", [80], "area is [80], not a number"),
    Wrong(BOX, "category_id", "1", 'category_id is "1", not an integer'),
    Wrong(BOX, "category_id", 1.0, "category_id is 1.0, not an integer"),
    Wrong(BOX, "category_id", None, "category_id is null, not an integer"),
    Wrong(BOX, "category_id", True, "category_id is true, not an integer"),
    Wrong(BOX, "image_id", "1", 'image_id is "1", not an integer'),
    Wrong(BOX, "image_id", 1.0, "image_id is 1.0, not an integer"),
    Wrong(BOX, "image_id", GONE, "image_id is missing"),
    Wrong(IMAGE, "id", "1", 'id is "1", not an integer', "image-entry"),
    Wrong(IMAGE, "id", 1.0, "id is 1.0, not an integer", "image-entry"),
    Wrong(IMAGE, "id", None, "id is null, not an integer", "image-entry"),
    Wrong(IMAGE, "id", GONE, "id is missing", "image-entry"),
    Wrong(IMAGE, "file_name", None, "file_name is null, not a name", "image-entry"),
    Wrong(IMAGE, "file_name", 7, "file_name is 7, not a name", "image-entry"),
    Wrong(IMAGE, "file_name", "", 'file_name is "", not a name', "image-entry"),
    Wrong(IMAGE, "file_name", GONE, "file_name is missing", "image-entry"),
    Wrong(IMAGE, "width", "40", 'width is "40", not a whole number of pixels', "image-size-absent"),
    Wrong(IMAGE, "width", None, "width is null, not a whole number", "image-size-absent"),
    Wrong(IMAGE, "height", GONE, "height is missing", "image-size-absent"),
    Wrong(IMAGE, "height", 0, "height is 0, not a whole number", "image-size-absent"),
    Wrong(IMAGE, "height", 10**40, "height is 1000000", "image-size-absent"),
    Wrong(CATEGORY, "id", "1", 'id is "1", not an integer of 0 or more', "category-entry"),
    Wrong(CATEGORY, "id", None, "id is null, not an integer of 0 or more", "category-entry"),
    Wrong(CATEGORY, "id", -1, "id is -1, not an integer of 0 or more", "category-entry"),
    Wrong(CATEGORY, "name", None, "name is null, not text", "category-entry"),
)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda it: f"{it.part} {it.field} {it.value!s:.20}")
def test_the_field_is_named_once(wrong: Wrong, lab: Lab) -> None:
    entries = lab.train.coco[wrong.part]
    for entry in entries:
        entry[wrong.field] = wrong.value
        if wrong.value is GONE:
            del entry[wrong.field]
    assert lab.run() == 65
    assert set(lab.findings) == {wrong.rule}
    finding = lab.findings[wrong.rule]
    assert finding["count"] == len(entries)
    [example] = finding["examples"]
    assert f"train {wrong.part}[0] and {len(entries) - 1} more: {wrong.said}" in example
    assert wrong.field == "bbox" or "bbox" not in finding["message"]
    assert wrong.part == IMAGE or finding["remedy"] == FORM


@pytest.mark.parametrize("part", [BOX, IMAGE, CATEGORY])
def test_entries_that_are_no_objects(part: str, lab: Lab) -> None:
    entries = lab.train.coco[part]
    entries[:] = [None] * len(entries)
    assert lab.run() == 65
    [finding] = lab.findings.values()
    assert finding["count"] == len(entries)
    assert finding["examples"] == [
        f"train {part}[0] and {len(entries) - 1} more: the entry is null, not an object"
    ]


def test_two_fields_are_two_examples(lab: Lab) -> None:
    boxes = lab.train.coco["annotations"]
    for box in boxes[:8]:
        box["area"] = "80"
    boxes[9]["category_id"] = "1"
    boxes[10]["category_id"] = 1.5
    assert lab.run() == 65
    assert lab.findings["box-entry"]["examples"] == [
        'train annotations[0] and 7 more: area is "80", not a number',
        'train annotations[9]: category_id is "1", not an integer',
        "train annotations[10]: category_id is 1.5, not an integer",
    ]
    assert set(lab.findings) == {"box-entry"}


def test_ids_of_text_on_both_sides_are_two_causes(lab: Lab) -> None:
    for image in lab.train.coco["images"]:
        image["id"] = str(image["id"])
    for box in lab.train.coco["annotations"]:
        box["image_id"] = str(box["image_id"])
    assert lab.run() == 65
    assert {id: one["count"] for id, one in lab.findings.items()} == {
        "image-entry": 6,
        "box-entry": 12,
    }


def test_too_few_images_are_still_too_few(lab: Lab) -> None:
    """What is left out counts: only what stays when that is mended is told."""
    for image in lab.train.coco["images"]:
        image["file_name"] = f"/x/{image['file_name']}"
    assert lab.run("dataset.batch_size=7") == 65
    assert set(lab.findings) == {"image-name-unsafe", "too-few-images"}
    assert lab.findings["too-few-images"]["examples"] == ["6 images, 7 a step"]


def test_a_split_without_boxes_is_told_beside_the_other(lab: Lab) -> None:
    """It is no consequence of what is wrong elsewhere."""
    lab.train.coco["annotations"] = []
    for box in lab.validation.coco["annotations"]:
        box["bbox"] = [1, 1, 0, 0]
    assert lab.run() == 65
    assert lab.findings["no-boxes"]["examples"] == [
        "train annotations.json",
        "validation (6 without width or height)",
    ]
    assert set(lab.findings) == {"no-boxes"}


def test_an_empty_image_is_told_where_all_its_boxes_are_read(lab: Lab) -> None:
    """One box that cannot be read is no reason to call its image empty; another image may be."""
    lab.train.coco["annotations"] = lab.train.coco["annotations"][1:10]
    lab.train.box(0)["bbox"] = None
    assert lab.run() == 65
    assert set(lab.findings) == {"box-entry"}
    lab.train.box(0)["bbox"] = [1, 2, 3, 4]
    assert lab.run() == 0
    assert lab.findings["image-empty"]["examples"] == ["train 6.jpg"]


def test_training_names_the_field_too(lab: Lab) -> None:
    lab.train.box(3)["category_id"] = "1"
    lab.train.write()
    source = type("Source", (), lab.train.source)
    with pytest.raises(TrainerError, match=r'annotations\[3\] .*category_id is "1", not an int'):
        load_coco(stage([source], lab.folder / "x", print))  # type: ignore[list-item]


def test_training_says_why_a_file_is_not_there(lab: Lab) -> None:
    for image in lab.train.coco["images"]:
        image["file_name"] = image["file_name"].replace(".jpg", ".jpeg")
    lab.train.write()
    source = type("Source", (), lab.train.source)
    with pytest.raises(TrainerError, match=r"5\.jpeg and 1 more \(has another ending\)") as caught:
        load_coco(stage([source], lab.folder / "x", print))  # type: ignore[list-item]
    assert caught.value.remedy.startswith("Write '1.jpg' in place of '1.jpeg'")


# ---- what Label Studio writes -------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, GONE])
def test_a_size_that_is_not_given_is_that_of_the_file(value: Any, lab: Lab) -> None:
    """Upright, as training reads it; also of images with boxes."""
    for image in lab.train.coco["images"]:
        for key in ("width", "height"):
            image[key] = value
            if value is GONE:
                del image[key]
    exif = picture(7).getexif()
    exif[0x0112] = 6
    lab.train.put("2.jpg", encoded(picture(7), exif=exif))
    assert lab.run() == 0
    assert set(lab.findings) == {"image-size-read", "exif-unclear"}
    assert lab.findings["image-size-read"]["count"] == 6
    source = type("Source", (), lab.train.source)
    data = load_coco(stage([source], lab.folder / "x", print))  # type: ignore[list-item]
    sizes = [(image.width, image.height) for image in data.images]
    assert sizes == [SIZE, SIZE[::-1], *[SIZE] * 4]


def test_an_image_without_size_that_is_not_there_is_missing(lab: Lab) -> None:
    """Once it is there it can be measured: its size is no fault."""
    lab.train.image().update(width=None, height=None)
    (lab.train.folder / "images/1.jpg").rename(lab.train.folder / "images/1.JPG")
    lab.train.put("2.jpg", b"no image")
    lab.train.image(1).update(width=None, height=None)
    assert lab.run() == 65
    assert set(lab.findings) == {"image-missing", "image-unreadable"}
    assert lab.findings["image-missing"]["examples"] == ["train 1.jpg: capital letters differ"]
    assert lab.findings["image-unreadable"]["examples"] == ["train 2.jpg (it is a text)"]


def test_images_without_size_train(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, "train.num_epochs=1")
    for split in ("train", "val"):
        path = tmp_path / split / "annotations.json"
        document = json.loads(path.read_text())
        for image in document["images"]:
            image["width"] = image["height"] = None
        path.write_text(json.dumps(document))
    assert run(spec).metrics.mAP is not None


# ---- rotated boxes ------------------------------------------------------------------------------

ANGLES = {
    "CVAT": ({"attributes": {"occluded": False, "rotation": 30.0}}, True),
    "CVAT, upright": ({"attributes": {"occluded": False, "rotation": 0.0}}, False),
    "Label Studio": ({"rotation": 12.5}, True),
    "as text": ({"attributes": {"rotation": "30"}}, True),
    "an angle": ({"angle": -1.2}, True),
    "half a turn": ({"attributes": {"rotation": 180.0}}, False),
    "nearly upright": ({"attributes": {"rotation": 359.9}}, False),
    "no number": ({"attributes": {"rotation": "left"}}, False),
    "a list": ({"attributes": ["rotation"]}, False),
    "null": ({"rotation": None, "attributes": None}, False),
    "not finite": ({"rotation": float("nan")}, False),
    "huge": ({"rotation": 10**400}, False),
}


@pytest.mark.parametrize("item, turned", ANGLES.values(), ids=ANGLES)
def test_which_boxes_are_rotated(item: dict[str, Any], turned: bool) -> None:
    assert is_rotated(item) is turned


def test_an_entry_that_is_no_object_is_not_rotated() -> None:
    assert not is_rotated(7)


def test_rotated_boxes_are_counted(lab: Lab) -> None:
    for box in lab.train.coco["annotations"][:7]:
        box["attributes"] = {"rotation": 45}
    assert lab.run() == 0
    finding = lab.findings["box-rotated"]
    assert (finding["count"], len(finding["examples"])) == (7, 5)
    assert set(lab.findings) == {"box-rotated"}
