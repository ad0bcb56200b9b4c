"""COCO files: what they become, and what is said of those that are wrong."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest

from dino_trainer.data.coco import CocoDataset, load_coco
from dino_trainer.data.image_entries import plain_name
from dino_trainer.data.image_store import Folder
from dino_trainer.data.stage import StagedSource
from dino_trainer.errors import TrainerError
from tests.unit.coco_builders import a_document, a_folder, jpeg


def load(*folders: Path) -> CocoDataset:
    """The dataset of these folders."""
    return load_coco(
        [
            StagedSource(Folder(f / "images"), f / "annotations.json", f"digest of {f.name}")
            for f in folders
        ]
    )


def test_a_small_dataset(tmp_path: Path) -> None:
    data = load(a_folder(tmp_path, 3))
    assert [image.id for image in data.images] == [1, 2, 3]
    assert data.categories == {1: "cell", 2: "dot"}
    assert data.num_classes == 3
    assert data.class_names == ["", "cell", "dot"]
    assert data.annotations == 3
    assert data.warnings == ()
    first = data.images[0]
    assert (first.file, first.width, first.height) == (tmp_path / "images/1.jpg", 32, 24)
    assert first.boxes.tolist() == [[1, 2, 10, 8]]
    assert first.labels.tolist() == [2]
    assert first.areas.tolist() == [80]
    assert first.crowd.tolist() == [False]
    kinds = (first.boxes.dtype, first.labels.dtype, first.areas.dtype, first.crowd.dtype)
    assert kinds == (np.float64, np.int64, np.float64, np.bool_)


def a_box(image: int, box: list[float], **more: Any) -> dict[str, Any]:
    """One annotation."""
    return {"id": 1, "image_id": image, "category_id": 1, "bbox": box, **more}


def test_boxes_find_their_images_in_any_order(tmp_path: Path) -> None:
    boxes = [a_box(3, [0, 0, 3, 3]), a_box(1, [0, 0, 1, 1]), a_box(3, [0, 0, 4, 4])]
    data = load(a_folder(tmp_path, 3, annotations=boxes))
    assert [len(image.labels) for image in data.images] == [1, 0, 2]
    assert data.images[1].boxes.shape == (0, 4)
    assert data.images[2].boxes[:, 2].tolist() == [3, 4]
    assert data.warnings == ("annotations.json: 1 images have no box",)


def test_crowd_stays_and_is_flagged(tmp_path: Path) -> None:
    boxes = [a_box(1, [0, 0, 9, 9], iscrowd=1), a_box(1, [0, 0, 2, 2], iscrowd=0)]
    data = load(a_folder(tmp_path, 1, annotations=boxes))
    assert data.images[0].crowd.tolist() == [True, False]


def test_a_missing_area_is_that_of_the_box(tmp_path: Path) -> None:
    data = load(a_folder(tmp_path, 1, annotations=[a_box(1, [0, 0, 3, 5])]))
    assert data.images[0].areas.tolist() == [15]


def test_useless_boxes_are_dropped_and_counted(tmp_path: Path) -> None:
    boxes = [
        a_box(1, [5, 5, 0, 4]),
        a_box(1, [5, 5, 4, -1]),
        a_box(1, [40, 5, 4, 4]),
        a_box(1, [-9, 5, 4, 4]),
        a_box(1, [30, 20, 10, 10]),
        a_box(1, [0, 0, 32, 24]),
    ]
    data = load(a_folder(tmp_path, 1, annotations=boxes))
    assert data.images[0].boxes.tolist() == [[30, 20, 10, 10], [0, 0, 32, 24]]
    assert data.warnings == (
        "annotations.json: 2 boxes without width or height dropped",
        "annotations.json: 2 boxes outside their image dropped",
        "annotations.json: 1 boxes reach over the edge of their image",
    )


def test_unlisted_images_are_ignored(tmp_path: Path) -> None:
    folder = a_folder(tmp_path, 2)
    (folder / "images" / "other.jpg").write_bytes(jpeg())
    assert len(load(folder).images) == 2


def test_sources_join_and_repeated_ids_are_numbered_anew(tmp_path: Path) -> None:
    data = load(a_folder(tmp_path / "a", 2), a_folder(tmp_path / "b", 3))
    assert [image.id for image in data.images] == [1, 2, 3, 4, 5]
    assert [str(image.file).split("/")[-3] for image in data.images] == list("aabbb")
    assert data.warnings == ("image ids repeat across the sources; all were numbered anew",)


def test_sources_keep_ids_that_are_their_own(tmp_path: Path) -> None:
    other = a_document(1)
    other["images"][0]["id"] = other["annotations"][0]["image_id"] = 77
    data = load(a_folder(tmp_path / "a", 2), a_folder(tmp_path / "b", 1, **other))
    assert [image.id for image in data.images] == [1, 2, 77]
    assert data.warnings == ()


def test_sources_must_agree_on_categories(tmp_path: Path) -> None:
    other = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dot"}]
    with pytest.raises(TrainerError, match="category 1 is 'cat' here and 'cell'") as caught:
        load(a_folder(tmp_path / "a"), a_folder(tmp_path / "b", categories=other))
    assert caught.value.exit_code == 65


def test_the_digest_follows_the_sources(tmp_path: Path) -> None:
    one, two = a_folder(tmp_path / "a"), a_folder(tmp_path / "b")
    assert load(one).digest != load(two).digest
    assert load(one, two).digest != load(two, one).digest
    assert load(one).digest == load(one).digest


def test_missing_images_are_counted_and_the_first_are_named(tmp_path: Path) -> None:
    folder = a_folder(tmp_path, 9)
    for i in range(2, 10):
        (folder / "images" / f"{i}.jpg").unlink()
    with pytest.raises(TrainerError, match="8 of 9 images") as caught:
        load(folder)
    assert "2.jpg, 3.jpg, 4.jpg, 5.jpg, 6.jpg and 3 more" in caught.value.message
    assert caught.value.exit_code == 65


IMAGE = {"id": 1, "file_name": "1.jpg", "width": 32, "height": 24}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no images": ({"images": None}, "'images' is not a list"),
    "empty images": ({"images": []}, "'images' is empty"),
    "empty annotations": ({"annotations": []}, "'annotations' is empty"),
    "categories as a mapping": ({"categories": {"1": "cell"}}, "'categories' is not a list"),
    "an image without id": ({"images": [{"file_name": "1.jpg"}]}, r"images\[0\].*an integer id"),
    "an image id as text": ({"images": [{**IMAGE, "id": "1"}]}, "an integer id"),
    "an image without size": ({"images": [{"id": 1, "file_name": "x"}]}, "width and height"),
    "an image of no height": ({"images": [{**IMAGE, "height": 0}]}, "width and height"),
    "an image without name": ({"images": [{**IMAGE, "file_name": ""}]}, "a file_name"),
    "a name that leaves": ({"images": [{**IMAGE, "file_name": "../x"}]}, "leaves the image folder"),
    "an absolute name": ({"images": [{**IMAGE, "file_name": "/x"}]}, "leaves the image folder"),
    "two images of one id": ({"images": [IMAGE, IMAGE]}, "two images have the id 1"),
    "an image that is a number": ({"images": [7]}, r"images\[0\] is 7"),
    "a category without name": ({"categories": [{"id": 1}]}, "lacks a name"),
    "a negative category": ({"categories": [{"id": -1, "name": "x"}]}, "an id of 0 or more"),
    "a category twice": (
        {"categories": [{"id": 1, "name": "x"}, {"id": 1, "name": "y"}]},
        "two categories have the id 1",
    ),
    "a box of an unknown image": (
        {"annotations": [a_box(99, [0, 0, 1, 1])]},
        "image_id 99, and the file lists no image",
    ),
    "a box of an unknown category": (
        {"annotations": [a_box(1, [0, 0, 1, 1], category_id=9)]},
        "category_id 9, and the file lists no category",
    ),
    "a segmentation alone": (
        {"annotations": [{"image_id": 1, "category_id": 1, "segmentation": []}]},
        r"annotations\[0\].*bbox of four numbers",
    ),
    "a box of three numbers": ({"annotations": [a_box(1, [0, 0, 1])]}, "bbox of four numbers"),
    "a box of text": ({"annotations": [a_box(1, ["0", 0, 1, 1])]}, "bbox of four"),  # type: ignore[list-item]
    "a box that is not finite": ({"annotations": [a_box(1, [0, 0, float("nan"), 1])]}, "bbox of"),
    "an area of text": ({"annotations": [a_box(1, [0, 0, 1, 1], area="1")]}, "number as area"),
    "not one usable box": ({"annotations": [a_box(1, [0, 0, 0, 0])]}, "not one usable box"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(case: str, tmp_path: Path) -> None:
    changes, words = WRONG[case]
    folder = a_folder(tmp_path, 1, **changes)
    with pytest.raises(TrainerError, match=words) as caught:
        load(folder)
    assert caught.value.exit_code == 65
    assert "annotations.json" in caught.value.message
    assert caught.value.remedy


NOT_COCO = {
    "not JSON": (b'{"images": [', "not JSON: .* at line 1, column"),
    "an empty file": (b"", "not JSON"),
    "an image": (jpeg(), "not JSON text"),
    "a list of detections": (b"[]", r"holds a list \(detections\?\)"),
    "a number": (b"7", "a single value"),
    "another format": (b'{"shapes": []}', "'images' is missing"),
    "too deep": (b"[" * 100_000, "not JSON"),
}


@pytest.mark.parametrize("case", NOT_COCO)
def test_what_is_not_coco(case: str, tmp_path: Path) -> None:
    content, words = NOT_COCO[case]
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations.json").write_bytes(content)
    with pytest.raises(TrainerError, match=words) as caught:
        load(tmp_path)
    assert caught.value.exit_code == 65
    assert "COCO is" in caught.value.remedy


def test_an_address_that_is_none_names_no_image(tmp_path: Path) -> None:
    """Its host stands in brackets that do not close."""
    image = {"id": 1, "coco_url": "http://[x/1.jpg", "width": 32, "height": 24}
    with pytest.raises(TrainerError, match="which lacks a file_name"):
        load(a_folder(tmp_path, 1, images=[image]))
    image = {"id": 1, "file_name": "http://[x/1.jpg", "width": 32, "height": 24}
    with pytest.raises(TrainerError, match="1 of 1 images"):
        load(a_folder(tmp_path, 1, images=[image]))


def test_halves_of_surrogate_pairs(tmp_path: Path) -> None:
    """No file is called so; the name of a class goes into texts of UTF-8."""
    document = a_document(1, categories=[{"id": 1, "name": "a\ud83d"}, {"id": 2, "name": "b"}])
    assert load(a_folder(tmp_path, 1, **document)).class_names == ["", "a\ufffd", "b"]
    image = {**document["images"][0], "file_name": "\ud800.jpg"}
    with pytest.raises(TrainerError, match=r"file_name is .*, not a name") as caught:
        load(a_folder(tmp_path, 1, images=[image]))
    caught.value.message.encode()


def test_an_entry_that_is_too_deep_to_be_written(tmp_path: Path) -> None:
    """It is read by a program in C, which goes as deep as it may."""
    for depth in range(700, 1000, 10):
        folder = a_folder(tmp_path, 1)
        text = json.dumps(a_document(1)).replace("[1, 2, 10, 8]", "[" * depth + "]" * depth)
        (folder / "annotations.json").write_text(text)
        with pytest.raises(TrainerError) as caught:
            load(folder)
        assert caught.value.exit_code == 65


def test_a_large_file_is_read_in_seconds(tmp_path: Path) -> None:
    """100,000 boxes: the arrays are shared, not copied for each image."""
    boxes = [a_box(1 + i % 3, [1, 1, 2 + i % 7, 3]) for i in range(100_000)]
    data = load(a_folder(tmp_path, 3, annotations=boxes))
    assert data.annotations == 100_000
    assert data.images[0].boxes.base is data.images[1].boxes.base
    json.dumps(data.class_names)


def test_a_plain_name_is_what_a_path_writes() -> None:
    """Most names need no path for it; the others, of every odd form, get one."""
    for letters in (product("a./ ", repeat=length) for length in range(6)):
        for name in map("".join, letters):
            assert plain_name(name) == str(PurePosixPath(name)), repr(name)
    assert plain_name("s3://b//a/./c.jpg") == "s3://b//a/./c.jpg"
