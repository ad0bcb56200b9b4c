"""The demo's data: ours is what its boxes say, a user's is laid out or refused in a sentence."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from demo import digits, job
from demo.coco import ANNOTATIONS, IMAGES, Scene
from demo.errors import DemoError
from demo.userdata import count_images, take


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dozen training scenes and four for validation."""
    folder = tmp_path_factory.mktemp("digits")
    digits.make_digits(folder, {"train": 12, "val": 4})
    return folder


def document(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / ANNOTATIONS).read_text())
    return found


def scenes(count: int = 30) -> list[Scene]:
    writing, _ = digits.load_handwriting()
    rng = np.random.default_rng(3)
    return [digits.make_scene(writing, rng, f"{i}.jpg") for i in range(count)]


def test_every_picture_of_the_annotations_is_in_the_archive(small: Path) -> None:
    for split, count in (("train", 12), ("val", 4)):
        listed = [f"images/{image['file_name']}" for image in document(small / split)["images"]]
        with tarfile.open(small / split / IMAGES) as archive:
            assert archive.getnames() == listed
        assert len(listed) == count


def test_sizes_are_those_of_the_pictures(small: Path) -> None:
    with tarfile.open(small / "val" / IMAGES) as archive:
        for image in document(small / "val")["images"]:
            data = archive.extractfile(f"images/{image['file_name']}")
            assert data is not None
            assert Image.open(data).size == (image["width"], image["height"]) == (320, 240)


def test_ten_named_classes_from_one(small: Path) -> None:
    categories = document(small / "train")["categories"]
    assert [c["id"] for c in categories] == list(range(1, 11))
    assert (categories[0]["name"], categories[9]["name"]) == ("zero", "nine")


def test_the_same_seed_makes_the_same_bytes_and_every_split_others(tmp_path: Path) -> None:
    for name in ("one", "two"):
        digits.make_digits(tmp_path / name, {"train": 2, "val": 2, "test": 2})
    one, two = (
        [(tmp_path / name / split / IMAGES).read_bytes() for split in ("train", "val", "test")]
        for name in ("one", "two")
    )
    assert one == two
    pictures = {json.dumps(document(tmp_path / "one" / s)["annotations"]) for s in ("val", "test")}
    assert len(pictures) == 2


def test_boxes_lie_inside_and_apart() -> None:
    for scene in scenes():
        for box in scene.boxes:
            assert box.x >= 0
            assert box.y >= 0
            assert box.x + box.width <= digits.WIDTH
            assert box.y + box.height <= digits.HEIGHT
        pairs = [(a, b) for a in scene.boxes for b in scene.boxes if a is not b]
        assert not any(a.meets(b.x, b.y, b.width, b.height, digits.FREE_PIXELS) for a, b in pairs)


def test_a_box_is_tight_around_its_ink() -> None:
    writing, _ = digits.load_handwriting()
    ink = np.asarray(digits.draw_digit(writing.pixels[0], np.random.default_rng(0)))
    assert all(edge.max() > 0 for edge in (ink[0], ink[-1], ink[:, 0], ink[:, -1]))


def test_validation_shows_handwriting_that_training_does_not() -> None:
    train, validation = digits.load_handwriting()
    assert len(train.labels) + len(validation.labels) == 1797
    assert set(validation.labels) == set(range(10))


def own(folder: Path, count: int = 10) -> Path:
    """A user's folder with images/ and annotations.json."""
    (folder / "images").mkdir(parents=True)
    images = []
    for i in range(count):
        Image.new("RGB", (8, 8)).save(folder / "images" / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": 8, "height": 8})
    annotations = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": [0, 0, 4, 4], "area": 16, "iscrowd": 0}
        for i in range(count)
    ]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "x"}]}
    (folder / ANNOTATIONS).write_text(json.dumps(content))
    return folder


def test_one_folder_is_split(tmp_path: Path) -> None:
    take(own(tmp_path / "mine"), tmp_path / "out")
    parts = [document(tmp_path / "out" / name) for name in ("train", "val")]
    assert [len(part["images"]) for part in parts] == [8, 2]
    names = [{image["file_name"] for image in part["images"]} for part in parts]
    assert not names[0] & names[1]
    for part in parts:
        assert {a["image_id"] for a in part["annotations"]} == {i["id"] for i in part["images"]}
    with tarfile.open(tmp_path / "out" / "val" / IMAGES) as archive:
        assert set(archive.getnames()) == {f"images/{name}" for name in names[1]}


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_two_folders_stay_two(tmp_path: Path, validation: str) -> None:
    own(tmp_path / "mine" / "train", 5)
    own(tmp_path / "mine" / validation, 3)
    take(tmp_path / "mine", tmp_path / "out")
    assert count_images(tmp_path / "out" / "train") == 5
    assert count_images(tmp_path / "out" / "val") == 3


def test_an_archive_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = own(tmp_path / "mine")
    with tarfile.open(folder / IMAGES, "w:gz") as archive:
        archive.add(folder / "images", "images")
    given = (folder / IMAGES).read_bytes()
    take(folder, tmp_path / "out")
    assert (tmp_path / "out" / "train" / IMAGES).read_bytes() == given


def without_images(folder: Path) -> None:
    for path in (folder / "images").iterdir():
        path.unlink()
    (folder / "images").rmdir()


REFUSED = {
    "no annotations": (lambda f: (f / ANNOTATIONS).unlink(), "annotations.json does not exist"),
    "no JSON": (lambda f: (f / ANNOTATIONS).write_text("{"), "cannot be read as JSON"),
    "not COCO": (lambda f: (f / ANNOTATIONS).write_text("[]"), "it has no images, annotations"),
    "no images": (without_images, "neither images.tar.gz nor images/"),
    "one missing": (lambda f: (f / "images" / "0.png").unlink(), "0.png, which the annotations"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_named(tmp_path: Path, case: str) -> None:
    spoil, words = REFUSED[case]
    spoil(own(tmp_path / "mine"))
    with pytest.raises(DemoError, match=words):
        take(tmp_path / "mine", tmp_path / "out")


def test_no_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="is no folder"):
        take(tmp_path / "nothing", tmp_path / "out")


def test_one_picture_cannot_be_split(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="cannot be split"):
        take(own(tmp_path / "mine", 1), tmp_path / "out")


@pytest.mark.parametrize("images,epochs", [(8, 225), (205, 9), (5000, 1)])
def test_epochs_follow_the_number_of_pictures(images: int, epochs: int) -> None:
    train = job.for_data(images)["spec"]["experiment"]["train"]
    assert train["num_epochs"] == epochs
    assert 1 <= train["validation_interval"] <= epochs


def test_another_bucket_is_used_throughout() -> None:
    text = io.StringIO(json.dumps(job.for_bucket(job.example(), "mine"))).read()
    assert "s3://mine/digits/train" in text
    assert "s3://dino/" not in text


def test_a_users_images_are_not_made_as_small_as_the_digits() -> None:
    own, digits = (made["spec"]["experiment"] for made in (job.for_data(100), job.example()))
    sizes = [each["dataset"]["augmentation"]["fixed_size"] for each in (own, digits)]
    assert sizes[0] == [240, 320]
    assert all(mine > drawn for mine, drawn in zip(*sizes, strict=True))
