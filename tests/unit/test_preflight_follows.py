"""What follows from another finding is not told beside it; what does not follow is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from PIL import Image

from dino_api.rules.data import DATA_RULES
from dino_trainer.data import image_facts
from dino_trainer.preflight.causes import (
    FOLLOWS,
    LEFT_OUT,
    WHOLE_FILE,
    Within,
    pairs,
    rules_in_order,
)
from dino_trainer.preflight.findings import Findings
from dino_trainer.preflight.places import At
from dino_trainer.storage.opening import open_store
from tests.unit.preflight_lab import SIZE, Lab, encoded, lab, picture
from tests.unit.s3_server import BUCKET, S3Server

__all__ = ["lab"]
PAIRS = sorted(pairs())
# The same place as the cause, and one beside it that is like it but for one thing.
HERE = At("train", "train[0]", images=[1], boxes=[2], classes=[3])
BESIDE = {
    Within.SPLIT: At("validation", "train[0]", images=[1], boxes=[2], classes=[3]),
    Within.SOURCE: At("train", "train[1]", images=[1], boxes=[2], classes=[3]),
    Within.IMAGE: At("train", "train[0]", images=[9], boxes=[2], classes=[3]),
    Within.BOX: At("train", "train[0]", images=[1], boxes=[9], classes=[3]),
    Within.CLASS: At("train", "train[0]", images=[1], boxes=[2], classes=[9]),
}


def told(cause: str, follows: str, at: At) -> set[str]:
    findings = Findings()
    findings.add(follows, "x", at=at)
    findings.add(cause, "y", at=HERE)
    return {one.rule.id for one in findings.all()}


@pytest.mark.parametrize("cause, follows, within", PAIRS, ids=lambda one: str(one))
def test_a_pair(cause: str, follows: str, within: Within) -> None:
    """At the same place the cause alone is told; elsewhere both are."""
    seen = {cause} - {LEFT_OUT}
    assert told(cause, follows, HERE) == seen
    if within in BESIDE:
        assert told(cause, follows, BESIDE[within]) == seen | {follows}
        assert told(cause, follows, At()) == seen | {follows}


def test_the_table_names_rules_and_has_an_order() -> None:
    ids = {rule.id for rule in DATA_RULES} | {LEFT_OUT}
    assert {one for row in FOLLOWS for one in row.causes | row.follow} <= ids
    assert set(WHOLE_FILE) <= ids
    order = rules_in_order()
    assert all(order.index(cause) < order.index(follows) for cause, follows, _ in PAIRS)


def test_no_pair_stands_twice() -> None:
    known = [(cause, follows) for cause, follows, _ in PAIRS]
    assert len(known) == len(set(known))


def test_an_error_never_follows_from_a_warning() -> None:
    """Else training would begin and end by it."""
    severity = {rule.id: rule.severity for rule in DATA_RULES} | {LEFT_OUT: "error"}
    for cause, follows, _ in PAIRS:
        assert severity[cause] == "error" or severity[follows] == "warning", (cause, follows)


def test_a_part_is_left() -> None:
    """Of five boxes two are rotated; three over the edge are told, by the places that are left."""
    findings = Findings()
    places = [4, 5, 6, 7, 8]
    at = At("train", "train", images=[0] * 5, boxes=places)
    findings.add_places("box-over-edge", places, lambda place: f"box {place}", at)
    findings.add_places("box-rotated", [5, 8], str, At("train", "train", images=[0], boxes=[5, 8]))
    edge = {one.rule.id: one for one in findings.all()}["box-over-edge"]
    assert (edge.count, edge.examples) == (3, ["box 4", "box 6", "box 7"])


# ---- on files -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Flaw:
    """told: all that is said of good data after `spoil`."""

    spoil: Callable[[Lab], Any]
    told: tuple[str, ...]
    example: str = ""


def boxes(lab: Lab, split: str = "train") -> list[dict[str, Any]]:
    return getattr(lab, split).coco["annotations"]  # type: ignore[no-any-return]


def each(split: str, **changes: Any) -> Callable[[Lab], None]:
    return lambda lab: [box.update(changes) for box in boxes(lab, split)] and None


def names_swapped(lab: Lab) -> None:
    """The names of another order, and without one class: what FiftyOne and globox write."""
    lab.validation.coco["categories"] = [{"id": 1, "name": "dot"}]
    lab.validation.coco["annotations"] = [
        {**box, "category_id": 1} for box in boxes(lab, "validation") if box["category_id"] == 2
    ]


def from_zero(lab: Lab) -> None:
    """One split counts from 0, the other from 1."""
    for one in lab.validation.coco["categories"]:
        one["id"] -= 1
    for box in boxes(lab, "validation"):
        box["category_id"] -= 1


def sideways(lab: Lab) -> None:
    """Width and height exchanged: boxes reach out of the picture that the entry speaks of."""
    for image in lab.train.coco["images"]:
        image.update(width=SIZE[1], height=SIZE[0])
    for box in boxes(lab):
        box.update(bbox=[27, 3, 10, 8])


def rounded_shares(lab: Lab) -> None:
    for place, box in enumerate(boxes(lab)):
        box.update(bbox=[0.1, 0.1, 0.3, 0.0 if place % 4 == 0 else 0.3])


def two_files_in_one(lab: Lab) -> None:
    """Both counted from 1: the second's boxes are taken for the first's images."""
    more = [{"id": 1, "file_name": f"{n}.jpg", "width": 400, "height": 300} for n in (7,)]
    lab.train.coco["images"] += more
    boxes(lab).append({**boxes(lab)[0], "bbox": [300, 200, 10, 8]})


def crowd_ignored(lab: Lab) -> None:
    boxes(lab)[0].update(iscrowd=1, ignore=1)


def turned(lab: Lab) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lab.train.put("1.jpg", encoded(picture(7, (SIZE[1], SIZE[0])), exif=exif))
    lab.train.image().update(width=None, height=None)


def an_entry_for_each(lab: Lab) -> None:
    """Of each image a second entry, which has no box."""
    lab.train.coco["images"] += [
        {**image, "id": image["id"] + 50} for image in lab.train.coco["images"]
    ]


def unlisted(lab: Lab) -> None:
    lab.validation.coco["categories"].pop()
    lab.validation.coco["annotations"] = boxes(lab, "validation")[::2]


CASES = {
    "names of another order": Flaw(names_swapped, ("category-conflict",)),
    "from 0 and from 1": Flaw(from_zero, ("category-conflict",), "1 is 'cell' (train) and 'dot'"),
    "classes beside large ids": Flaw(
        lambda lab: (large(lab), lab.spec["dataset"].update(num_classes=3, eval_class_ids=[1])),
        ("category-id-large",)),
    "width for height": Flaw(sideways, ("image-size-differs",)),
    "rounded shares": Flaw(rounded_shares, ("boxes-normalised",)),
    "two files in one": Flaw(two_files_in_one, ("image-id-repeats",), "train images[6] (id 1)"),
    "a crowd to be ignored": Flaw(crowd_ignored, ("box-crowd",)),
    "a crowd over the edge": Flaw(
        lambda lab: boxes(lab)[0].update(iscrowd=1, bbox=[30, 20, 20, 20]), ("box-crowd",)),
    "boxes from the lower right": Flaw(each("train", bbox=[20, 20, -9, -9]), ("no-boxes",),
                                       "train (12 without width or height)"),
    "a turned picture without a size": Flaw(turned, ("exif-unclear", "image-size-read"),
                                            "train 1.jpg (orientation 6)"),
    "one entry for each box": Flaw(an_entry_for_each, ("file-name-repeats",)),
    "boxes flat": Flaw(each("validation", bbox=[3, 3, 0, 4]), ("no-boxes",),
                       "validation (6 without width or height)"),
    "boxes outside": Flaw(each("train", bbox=[90, 3, 4, 4]), ("no-boxes",),
                          "train (12 outside their image)"),
    "an image of dropped boxes": Flaw(
        lambda lab: [box.update(bbox=[3, 3, 0, 4]) for box in boxes(lab)[:2]], ("box-flat",)),
    "a class that validation does not list": Flaw(
        unlisted, ("category-lists-differ",), "2 (not in validation)"),
    "and that is to be scored": Flaw(
        lambda lab: (unlisted(lab), lab.spec["dataset"].update(eval_class_ids=[2])),
        ("eval-class-unknown",), "2 ('dot' in train, not in validation)"),
    "a category without name": Flaw(
        lambda lab: lab.train.coco["categories"][0].pop("name"), ("category-entry",)),
    "an id that stands twice": Flaw(
        lambda lab: lab.train.coco["categories"].insert(1, {"id": 2, "name": "x"}),
        ("category-id-repeats",)),
    "sources that overlap": Flaw(lambda lab: lab.another(6), ("image-repeats",)),
    "unread training data": Flaw(
        lambda lab: lab.spec["dataset"]["train_data_sources"][0].update(json_file="/no/such"),
        ("source-missing",)),
    "a box twice in a dense image": Flaw(
        lambda lab: (boxes(lab).append(dict(boxes(lab)[0])),
                     lab.spec.update(model={"num_queries": 2, "num_select": 2})),
        ("box-repeats",)),
}  # fmt: skip


def large(lab: Lab) -> None:
    for side in lab.sides:
        for entries, key in (
            (side.coco["categories"], "id"),
            (side.coco["annotations"], "category_id"),
        ):
            for one in entries:
                one[key] += 3_904_355_906


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_cause_is_told_alone(case: Flaw, lab: Lab) -> None:
    case.spoil(lab)
    lab.run()
    assert set(lab.findings) == set(case.told)
    assert case.example in lab.findings[case.told[0]]["message"]


def test_independent_faults_are_told_beside(lab: Lab) -> None:
    """A class conflict does not hide an image that is damaged, nor an id that nobody lists."""
    names_swapped(lab)
    lab.train.put("1.jpg", b"no image")
    boxes(lab)[3].update(bbox=[3, 3, 0, 4])
    lab.spec["dataset"]["eval_class_ids"] = [1, 8]
    assert lab.run() == 65
    assert set(lab.findings) == {
        "category-conflict", "image-unreadable", "box-flat", "eval-class-unknown",
    }  # fmt: skip
    assert lab.findings["eval-class-unknown"]["examples"] == ["8"]


def test_a_flaw_of_one_split_hides_nothing_of_the_other(lab: Lab) -> None:
    boxes(lab)[0]["bbox"] = None
    each("validation", category_id=1)(lab)
    assert lab.run() == 65
    assert set(lab.findings) == {"box-entry", "class-unvalidated"}


# ---- one cause of names, whichever way they are met ---------------------------------------------


@pytest.mark.parametrize("unsized", [0, 1, 3])
def test_names_of_images_without_size_are_told_with_the_others(unsized: int, lab: Lab) -> None:
    """Label Studio: an address for a name, and no size where there is no result."""
    for side in lab.sides:
        for place, image in enumerate(side.coco["images"]):
            image["file_name"] = f"s3://photos/shelf/{image['file_name']}"
            if place < unsized:
                image.update(width=None, height=None)
    assert lab.run() == 65
    assert set(lab.findings) == {"image-missing"}
    finding = lab.findings["image-missing"]
    assert finding["count"] == 9
    assert [example.partition(" and ")[2] for example in finding["examples"]] == [
        "5 more: an address in place of a file name",
        "2 more: an address in place of a file name",
    ]
    assert finding["remedy"].count("and the others likewise") == 1


# ---- nothing is opened for a file that is to be written anew ------------------------------------


@pytest.fixture
def unopened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails where a picture is opened."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a picture is opened")

    monkeypatch.setattr(image_facts, "look_at_all", refuse)
    for user in ("data.measured", "data.image_facts", "preflight.tokens"):
        monkeypatch.setattr(f"dino_trainer.{user}.open_image", refuse)


def share(box: list[float]) -> list[float]:
    return [box[0] / 40, box[1] / 30, box[2] / 40, box[3] / 30]


def percents(box: list[float]) -> list[float]:
    return [100 * number for number in share(box)]


@pytest.mark.parametrize("rule", WHOLE_FILE)
def test_no_picture_is_opened(rule: str, lab: Lab, unopened: None) -> None:
    """Also none that lacks a size; what the annotations show besides is told all the same."""
    spoil = {
        "category-id-large": large,
        "boxes-normalised": lambda lab: [b.update(bbox=share(b["bbox"])) for b in boxes(lab)],
        "boxes-percents": lambda lab: [b.update(bbox=percents(b["bbox"])) for b in boxes(lab)],
        "boxes-corners": lambda lab: [
            b.update(bbox=[b["bbox"][0], b["bbox"][1], b["bbox"][0] + 10, b["bbox"][1] + 8])
            for b in boxes(lab)
        ],
    }[rule]
    spoil(lab)
    if rule == "category-id-large":
        lab.train.image().update(width=None, height=None)
    lab.train.image(1)["file_name"] = "../x.jpg"
    assert lab.run() == 65
    assert set(lab.findings) == {rule, "image-name-unsafe"}
    assert "No image was looked at" in lab.out


def test_nothing_is_fetched_for_large_ids(lab: Lab, s3_server: S3Server) -> None:
    """Not even of the good split before: no archive and no folder of S3 is taken."""
    base = f"s3://{BUCKET}/{lab.folder.name}"
    open_store(base).upload(lab.train.folder / "images/1.jpg", "train/1.jpg")
    (lab.folder / "images.tar.gz").write_bytes(b"never read")
    sources = lab.spec["dataset"]
    sources["train_data_sources"][0]["image_dir"] = f"{base}/train"
    sources["val_data_sources"][0]["image_dir"] = str(lab.folder / "images.tar.gz")
    large(lab)
    assert lab.run() == 65
    assert set(lab.findings) == {"category-id-large"}
    assert "ownload" not in lab.out
    assert "Reading" not in lab.out
