"""One fault at a time: preflight finds it, says how often and where, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from PIL import Image

from dino_api.rules.data import DATA_RULES, data_rule
from dino_api.rules.data.images import MODEL_RULES
from tests.unit.preflight_lab import SIZE, Lab, encoded, lab, picture

__all__ = ["lab"]
Spoil = Callable[[Lab], Any]


@dataclass(frozen=True)
class Fault:
    """spoil: what is done to good data. example: part of an example. also: what comes with it.

    remedy: part of the remedy, where the cause was seen and it is not the rule's own.
    """

    id: str
    spoil: Spoil
    example: str = ""
    count: int = 1
    also: tuple[str, ...] = ()
    remedy: str = ""


def oriented(number: int, size: tuple[int, int] = SIZE) -> bytes:
    """A JPEG whose EXIF orientation is `number`."""
    exif = Image.Exif()
    exif[0x0112] = number
    return encoded(picture(7, size), exif=exif)


def in_thousandths(lab: Lab) -> None:
    """Every second box reaches out of its picture, whichever way up that is."""
    for place, image in enumerate(lab.train.coco["images"]):
        size = (64, 48) if place % 2 else (48, 64)
        image.update(width=size[0], height=size[1])
        lab.train.put(image["file_name"], encoded(picture(place, size)))
    boxes = lab.train.coco["annotations"]
    boxes += [{**box, "id": 100 + box["id"]} for box in boxes]
    for place, box in enumerate(boxes):
        box["bbox"] = [place, 10, 960, 980] if place % 2 else [place, 10, 20, 20]
        box["area"] = 400


def list_from_zero(lab: Lab) -> None:
    """Its boxes are right, as those of the other file are."""
    for one in lab.train.coco["categories"]:
        one["id"] -= 1


def boxes_from_zero(lab: Lab) -> None:
    for box in lab.train.coco["annotations"]:
        box["category_id"] -= 1


def source(**changes: str) -> Spoil:
    """Another place of the training data."""
    return lambda lab: lab.spec["dataset"]["train_data_sources"][0].update(changes)


def damaged_archive(lab: Lab) -> None:
    (lab.folder / "images.tar.gz").write_bytes(b"\x1f\x8b and no more")
    source(image_dir=str(lab.folder / "images.tar.gz"))(lab)


def category(lab: Lab, id: int, name: str, boxes: bool = True) -> None:
    """A third category everywhere, with a box on both sides."""
    for side in (lab.train, lab.validation):
        side.coco["categories"].append({"id": id, "name": name})
        if boxes:
            box = {**side.box(), "category_id": id, "bbox": [20, 5, 6, 6], "area": 36}
            side.coco["annotations"].append(box)


def same_boxes_many(lab: Lab) -> None:
    """250 boxes of one class against two of the other, on images with room in the queries."""
    first = lab.train.box()
    lab.train.coco["annotations"] = [
        {**first, "bbox": [1, 1, 5 + n / 100, 8], "category_id": 1, "image_id": 1 + n % 6}
        for n in range(250)
    ] + [{**first, "category_id": 2, "image_id": image} for image in (1, 2)]


def without_boxes(lab: Lab) -> None:
    for box in lab.validation.coco["annotations"]:
        box["bbox"] = [1, 1, 0, 0]


def leaking(lab: Lab) -> None:
    lab.validation.put("101.jpg", encoded(picture(1)))


def shared_id(lab: Lab) -> None:
    """Another picture under an id of the first source."""
    lab.another(6).put("6.jpg", encoded(picture(66)))


def repeated(lab: Lab) -> None:
    lab.train.put("2.jpg", encoded(picture(1)))


def set_all(key: str, value: Any) -> Spoil:
    """A key of every box of the first training image."""

    def spoil(lab: Lab) -> None:
        lab.train.box(0)[key] = value

    return spoil


def pop(part: str, key: str) -> Spoil:
    return lambda lab: lab.train.coco[part][0].pop(key)


def put(name: str, content: bytes) -> Spoil:
    return lambda lab: lab.train.put(name, content)


def skipping(*damaged: int) -> Spoil:
    """Images that are no images, of which one may be left out."""

    def spoil(lab: Lab) -> None:
        lab.spec["dataset"]["skip_unreadable"] = 0.2
        for id in damaged:
            lab.train.put(f"{id}.jpg", bytes(id))

    return spoil


def rename(lab: Lab) -> None:
    lab.train.image()["file_name"] = "1.png"
    lab.train.put("1.png", encoded(picture(1)))


def deep(lab: Lab) -> None:
    lab.train.image()["file_name"] = "1.png"
    lab.train.put("1.png", encoded(Image.new("I;16", SIZE, 40_000), "PNG"))


def annotate_sideways(lab: Lab) -> None:
    """The annotations follow the upright picture, as labelling tools show it."""
    lab.train.put("1.jpg", oriented(6, (SIZE[1], SIZE[0])))


def every_box(change: Callable[[Any], Any]) -> Spoil:
    """Every bbox of the training data is written in another form."""

    def spoil(lab: Lab) -> None:
        for box in lab.train.coco["annotations"]:
            box["bbox"] = change(box["bbox"])

    return spoil


def crowds_only(lab: Lab) -> None:
    for box in lab.validation.coco["annotations"]:
        box["iscrowd"] = 1


def crc32_ids(lab: Lab) -> None:
    """As darwin-py writes them: CRC32 of the names."""
    for side in lab.sides:
        for entry, key in (
            (side.coco["categories"], "id"),
            (side.coco["annotations"], "category_id"),
        ):
            for one in entry:
                one[key] += 3_904_355_906


def dense(lab: Lab) -> None:
    """101 boxes of a class in one image."""
    lab.validation.coco["annotations"] += [
        {**lab.validation.box(), "id": 100 + n, "bbox": [n / 10, 1, 4, 4], "area": 16}
        for n in range(100)
    ]


def both_classes(lab: Lab) -> None:
    """23 boxes of each class: none has more than 100 detections."""
    lab.validation.coco["annotations"] += [
        {**lab.validation.box(n % 2), "id": 100 + n, "bbox": [n / 10, 1, 4, 4], "area": 16}
        for n in range(44)
    ]


FAULTS = (
    Fault("source-missing", source(image_dir="/no/such/folder"), "train: There is no folder"),
    Fault("source-missing", source(image_dir="/no/such.tar.gz"), "such.tar.gz"),
    Fault("source-missing", source(json_file="/no/such.json"), "There is no file /no/such.json"),
    Fault("source-unusable", damaged_archive, "damaged or ends early"),
    Fault("annotations-unreadable", lambda lab: lab.train.coco.pop("images"), "'images' is miss"),
    Fault("image-entry", pop("images", "id"), "train images[0]: id is missing"),
    Fault("image-entry", pop("images", "file_name"), "train images[0]"),
    Fault("image-size-absent", pop("images", "width"), "train images[0]"),
    Fault("image-size-absent", lambda lab: lab.train.image().update(height=0), "train images[0]"),
    Fault("image-size-read", lambda lab: lab.train.image().update(width=None, height=None),
          "train 1.jpg"),
    Fault("image-name-unsafe", lambda lab: lab.train.image().update(file_name="../x"), "(../x)",
          remedy="write their names relative to it"),
    Fault("image-name-unsafe", lambda lab: lab.train.image().update(file_name="/x"), "(/x)",
          remedy="write their names relative to it"),
    Fault(
        "image-id-repeats",
        lambda lab: lab.train.coco["images"].append({**lab.train.image(), "file_name": "7.jpg"}),
        "train images[6] (id 1)",
    ),
    Fault("image-id-shared", shared_id, "train[0] and train[1] id 6"),
    Fault(
        "file-name-repeats",
        lambda lab: lab.train.image(1).update(file_name="1.jpg"),
        "train 1.jpg",
    ),
    Fault("category-entry", lambda lab: lab.train.coco["categories"].append({"name": "x"}), "[2]"),
    Fault(
        "category-id-repeats",
        lambda lab: lab.train.coco["categories"].append({"id": 2, "name": "x"}),
        "(id 2)",
    ),
    Fault("category-name-repeats", lambda lab: category(lab, 3, "dot"), "'dot': 2 and 3", 2),
    Fault(
        "category-conflict",
        lambda lab: lab.validation.coco["categories"][0].update(name="cat"),
        "1 is 'cell' (train) and 'cat' (validation)",
    ),
    Fault(
        "category-conflict",
        lambda lab: lab.another(11).coco["categories"][1].update(name="spot"),
        "2 is 'dot' (train[0]) and 'spot' (train[1])",
    ),
    Fault(
        "category-lists-differ",
        lambda lab: lab.another(11).coco["categories"].append({"id": 3, "name": "dash"}),
        "3 (not in train[0], validation)",
        also=("class-untrained",),
    ),
    Fault("category-zero", lambda lab: category(lab, 0, "zero"), "0 is 'zero'"),
    Fault("category-gaps", lambda lab: category(lab, 5, "five"), "3", 2),
    Fault("class-count", lambda lab: lab.spec["dataset"].update(num_classes=2), "takes 3"),
    Fault("eval-class-unknown", lambda lab: lab.spec["dataset"].update(eval_class_ids=[1, 8]), "8"),
    Fault("box-entry", pop("annotations", "bbox"), "train annotations[0]"),
    Fault("box-entry", set_all("bbox", [1, 2, 3]), "train annotations[0]"),
    Fault("box-entry", set_all("bbox", [1, 2, "3", 4]), "train annotations[0]"),
    Fault("box-entry", pop("annotations", "category_id"), "train annotations[0]"),
    Fault("box-image-unknown", set_all("image_id", 77), "annotations[0] (image_id 77)"),
    Fault("box-category-unknown", set_all("category_id", 9), "annotations[0] (category_id 9)"),
    Fault("no-boxes", without_boxes, "validation (6 without width or height)",
          remedy="with x and y of the upper left corner"),
    Fault("no-boxes", lambda lab: lab.validation.coco["annotations"].clear(), "annotations.json"),
    Fault("no-boxes", crowds_only, "validation (6 crowds, iscrowd 1)"),
    Fault("category-id-large", crc32_ids, "3904355908 ('dot'), where 19999 is the largest", 2),
    Fault("eval-class-boxless", lambda lab: (
        [box.update(category_id=1) for box in lab.validation.coco["annotations"]],
        lab.spec["dataset"].update(eval_class_ids=[2])), "validation 2"),
    Fault("boxes-normalised", every_box(lambda b: [b[0] / 40, b[1] / 30, b[2] / 40, b[3] / 30]),
          "train annotations.json"),
    Fault("boxes-normalised", every_box(lambda b: [  # centre and size, as YOLO has it
        (b[0] + b[2] / 2) / 40, (b[1] + b[3] / 2) / 30, b[2] / 40, b[3] / 30])),
    Fault("boxes-percents", every_box(lambda b: [b[0] / .4, b[1] / .3, b[2] / .4, b[3] / .3]),
          "train annotations.json"),
    Fault("boxes-corners", every_box(lambda b: [b[0] + 8, b[1] + 9, b[0] + 18, b[1] + 17]),
          "train annotations.json"),
    Fault("boxes-corners", every_box(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])),
    Fault("crowd-unreadable", set_all("iscrowd", "no"), "train annotations[0]"),
    Fault("crowd-unreadable", set_all("iscrowd", [0]), "train annotations[0]"),
    Fault("crowd-unreadable", set_all("iscrowd", "nan"), "train annotations[0]"),
    Fault("box-crowd", set_all("iscrowd", "1"), "train 1.jpg annotations[0]"),
    Fault("box-area-odd", set_all("area", -80), "train 1.jpg annotations[0]"),
    Fault("box-area-odd", set_all("area", float("nan")), "train 1.jpg annotations[0]"),
    Fault("box-area-odd", set_all("area", float("inf")), "train 1.jpg annotations[0]"),
    Fault("box-area-large", set_all("area", 1.01e10), "train 1.jpg annotations[0]"),
    Fault("boxes-thousandths", in_thousandths, "train annotations.json"),
    Fault("category-ids-shifted", list_from_zero, "train (the list has 0 to 1, the boxes 1 to 2)"),
    Fault("category-ids-shifted", boxes_from_zero, "train (the list has 1 to 2, the boxes 0 to 1)"),
    Fault("boxes-over-detections", dense, "101.jpg (101 of category 1, train.max_detections is"),
    Fault("boxes-over-select", both_classes, "validation 101.jpg (46 boxes, 43 detections)"),
    Fault("box-entry", set_all("bbox", [1, 2, 10**400, 4]), "train annotations[0]"),
    Fault("image-size-absent", lambda lab: lab.train.image().update(width=10**400), "images[0]"),
    Fault("box-flat", set_all("bbox", [3, 3, 0, 4]), "train 1.jpg annotations[0] [3, 3, 0, 4]"),
    Fault("box-flat", set_all("bbox", [3, 3, 4, -4]), "[3, 3, 4, -4]"),
    Fault("box-outside", set_all("bbox", [50, 3, 4, 4]), "train 1.jpg annotations[0]"),
    Fault("box-over-edge", set_all("bbox", [35, 3, 10, 8]), "train 1.jpg annotations[0]"),
    Fault(
        "box-repeats",
        lambda lab: lab.train.coco["annotations"].append(lab.train.box()),
        "train 1.jpg annotations[12]",
    ),
    Fault("box-crowd", set_all("iscrowd", 1), "train 1.jpg annotations[0]"),
    Fault("box-ignored", set_all("ignore", 1), "train 1.jpg annotations[0]"),
    Fault("box-area-absent", pop("annotations", "area"), "train 1.jpg annotations[0]"),
    Fault("box-area-absent", set_all("area", None), "train 1.jpg annotations[0]"),
    Fault("box-rotated", set_all("attributes", {"rotation": 30.0}), "train 1.jpg annotations[0]"),
    Fault("box-rotated", set_all("rotation", -15), "train 1.jpg annotations[0]"),
    Fault(
        "boxes-over-queries",
        lambda lab: lab.spec.update(model={"num_queries": 1, "num_select": 2}),
        "(2 boxes)",
        6,
    ),
    Fault("image-missing", lambda lab: (lab.train.folder / "images/2.jpg").unlink(), "train 2.jpg"),
    Fault("image-unreadable", put("1.jpg", b"no image at all"), "(it is a text)"),
    Fault("image-unreadable", put("1.jpg", encoded(picture(1))[:-60]), "truncated"),
    Fault("image-unreadable", put("1.jpg", b""), "train 1.jpg (it holds nothing)"),
    Fault("image-skipped", skipping(1), "train 1.jpg (it holds nothing but zeros)"),
    Fault("skip-exceeded", skipping(1, 2), "train: 2 of 6 images are damaged, and",
          also=("image-unreadable",)),
    Fault("image-size-differs", put("1.jpg", encoded(picture(1, (20, 20)))),
          "train 1.jpg (is 20x20, annotated 40x30)"),
    Fault("image-mislabelled", rename, "train 1.png (is JPEG)"),
    Fault("image-cmyk", put("1.jpg", encoded(picture(1).convert("CMYK"))), "train 1.jpg"),
    Fault("image-deep", deep, "train 1.png (mode I;16)"),
    Fault("exif-turned", annotate_sideways, "train 1.jpg (orientation 6)"),
    Fault("exif-unturned", put("1.jpg", oriented(6)), "train 1.jpg (orientation 6)"),
    Fault("exif-unclear", put("1.jpg", oriented(3)), "train 1.jpg (orientation 3)"),
    Fault(
        "image-empty",
        lambda lab: lab.train.coco.update(annotations=lab.train.coco["annotations"][2:]),
        "train 1.jpg",
    ),
    Fault("image-repeats", repeated, "train 1.jpg = train 2.jpg"),
    Fault("validation-omitted", lambda lab: lab.spec["dataset"].pop("val_data_sources")),
    Fault("leakage", leaking, "train 1.jpg = validation 101.jpg"),
    Fault("too-few-images", lambda lab: lab.spec["dataset"].update(batch_size=7), "7 a step"),
    Fault(
        "too-few-images",
        lambda lab: lab.spec["train"].update(accumulate_grad_batches=2),
        "6 images, 8 a step",
    ),
    Fault("queries-over-tokens", lambda lab: lab.spec["model"].update(num_queries=44),
          "all images, 64x32 pixels by dataset.augmentation.fixed_size, give 43 tokens"),
    Fault("class-untrained", lambda lab: category(lab, 3, "dash", boxes=False), "3 dash"),
    Fault(
        "class-unvalidated",
        lambda lab: [box.update(category_id=1) for box in lab.validation.coco["annotations"]],
        "2 dot",
    ),
    Fault("class-imbalance", same_boxes_many, "2 dot: 2", also=()),
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.id}: {fault.example}")
def test_a_fault_is_found(fault: Fault, lab: Lab) -> None:
    fault.spoil(lab)
    code = lab.run()
    found = lab.findings
    assert set(found) == {fault.id, *fault.also}
    finding, rule = found[fault.id], data_rule(fault.id)
    assert finding["count"] == fault.count
    assert any(fault.example in example for example in finding["examples"]) or not fault.example
    assert fault.remedy in finding["remedy"]
    assert fault.remedy or finding["remedy"] == rule.remedy
    assert f"{rule.severity}: {rule.id}: {finding['message']}" in lab.out
    errors = [id for id in found if data_rule(id).severity == "error"]
    if rule.severity == "warning":
        assert errors == []
        assert code == 0
        assert lab.reported.failure is None
        assert lab.reported.dataset is not None
        assert finding["message"] in lab.reported.dataset.warnings
    else:
        assert code == (66 if errors == ["source-missing"] else 65)
        assert lab.reported.failure is not None
        assert f"{rule.id} ({fault.count})" in lab.reported.failure.message
        assert finding["remedy"] in lab.err


def test_every_rule_has_a_fault() -> None:
    """Those of actions after training have theirs in test_preflight_actions.py."""
    rules = set(DATA_RULES) - set(MODEL_RULES)
    assert {fault.id for fault in FAULTS} == {rule.id for rule in rules}


@pytest.mark.parametrize("value", ["0", "0.0", " 0 ", 0, 0.0, False, None])
def test_a_zero_in_any_form_is_no_crowd(lab: Lab, value: Any) -> None:
    for side in lab.sides:
        for box in side.coco["annotations"]:
            box["iscrowd"] = value
    assert lab.run() == 0
    assert lab.findings == {}


@pytest.mark.parametrize("shift", [2**53, 2**63, 2**64, -(2**70), -5])
def test_any_integer_is_an_image_id(lab: Lab, shift: int) -> None:
    for side in lab.sides:
        for image in side.coco["images"]:
            image["id"] += shift
        for box in side.coco["annotations"]:
            box["image_id"] += shift
            box["id"] += shift
    assert lab.run() == 0
    assert lab.findings == {}


def test_large_ids_take_no_memory_and_no_time(lab: Lab) -> None:
    """Nothing follows from them: no gaps, no untrained classes, and no list up to the largest."""
    for shift in (20_000, 2**40, 2**63, 2**70):
        for side in lab.sides:
            for entry, key in (
                (side.coco["categories"], "id"), (side.coco["annotations"], "category_id")
            ):  # fmt: skip
                for place, one in enumerate(entry):
                    one[key] = shift + place % 2
        assert lab.run() == 65
        assert set(lab.findings) == {"category-id-large"}
    assert "dino renumber" in lab.err


def test_numbers_that_python_cannot_read_are_named(lab: Lab) -> None:
    lab.run()
    path = lab.train.folder / "annotations.json"
    path.write_text(path.read_text().replace('"area": 80', f'"area": {"9" * 5000}', 1))
    assert lab.check() == 65
    assert "has a number of too many digits" in lab.err


def test_a_real_box_of_a_pixel_is_no_form(lab: Lab) -> None:
    lab.train.box()["bbox"] = [0.2, 0.3, 0.5, 0.4]
    lab.train.box()["area"] = 0.2
    assert lab.run() == 0
    assert lab.findings == {}


def test_good_data_has_no_findings(lab: Lab) -> None:
    assert lab.run() == 0
    assert lab.findings == {}
    assert "0 kinds of errors, 0 of warnings" in lab.out


def test_all_faults_are_found_at_once(lab: Lab) -> None:
    """Not only the first: an error does not hide another, in the same file or elsewhere."""
    for fault in FAULTS:
        if fault.id in ("image-missing", "image-size-absent", "box-entry", "class-count"):
            fault.spoil(lab)
    leaking(lab)
    lab.validation.coco["annotations"][0]["category_id"] = 9
    assert lab.run() == 65
    expected = {"image-missing", "image-size-absent", "box-entry", "class-count"}
    assert expected | {"box-category-unknown"} <= set(lab.findings)
    assert lab.reported.failure is not None
    for id in expected:
        assert id in lab.reported.failure.message


def test_a_wrong_scheme_is_a_mistake_of_the_spec(lab: Lab) -> None:
    lab.spec["dataset"]["train_data_sources"][0]["image_dir"] = "gs://bucket/images.tar.gz"
    assert lab.run() == 64
    assert "must hold local paths or s3:// URIs" in lab.err
