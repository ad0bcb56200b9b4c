"""COCO → format → COCO: by a library's writers where there is one, else by small ones of our own.

What is converted passes the preflight with nothing to say.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hotcoco
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dino_trainer.command.cli import main
from dino_trainer.convert import formats
from dino_trainer.convert.records import Box, ExportSource
from tests.unit.convert_lab import put, put_image, put_json
from tests.unit.preflight_lab import SIZE, Lab, Side, lab

__all__ = ["lab"]
NAMES = {1: "cell", 2: "dot"}
Document = dict[str, Any]
Drawn = dict[str, list[tuple[str, float, float, float, float]]]


def drawn(document: Document) -> Drawn:
    """By file name: classes and boxes."""
    files = {one["id"]: one["file_name"] for one in document["images"]}
    names = {one["id"]: one["name"] for one in document["categories"]}
    found: Drawn = {name: [] for name in files.values()}
    for one in document["annotations"]:
        x, y, width, height = one["bbox"]
        found[files[one["image_id"]]].append((names[one["category_id"]], x, y, width, height))
    return found


def by_hotcoco(write: str, into: str, names: str = "") -> Callable[[Path, Document], None]:
    def put_export(root: Path, document: Document) -> None:
        dataset = hotcoco.COCO(document)
        (root / into).parent.mkdir(parents=True, exist_ok=True)
        getattr(dataset, write)(str(root / into))
        if names:
            shutil.copy(root / into / names, root / names)

    return put_export


def kitti(root: Path, document: Document) -> None:
    for file, boxes in drawn(document).items():
        lines = [
            f"{name} 0.0 0 0.0 {x} {y} {x + w} {y + h} 0 0 0 0 0 0 0\n"
            for name, x, y, w, h in boxes
        ]
        put(root / f"labels/{Path(file).stem}.txt", "".join(lines))


def label_studio(root: Path, document: Document) -> None:
    def result(name: str, *box: float) -> Document:
        shares = [100 * value / side for value, side in zip(box, SIZE * 2, strict=True)]
        value = dict(zip(("x", "y", "width", "height"), shares, strict=True))
        return {
            "id": "r",
            "type": "rectanglelabels",
            "original_width": SIZE[0],
            "original_height": SIZE[1],
            "value": {**value, "rotation": 0, "rectanglelabels": [name]},
        }

    tasks = [
        {"data": {"image": f"/x/{file}"}, "annotations": [{"result": [result(*b) for b in boxes]}]}
        for file, boxes in drawn(document).items()
    ]
    put_json(root / "project.json", tasks)


def datumaro(root: Path, document: Document) -> None:
    labels = [{"name": one["name"]} for one in document["categories"]]
    order = [one["name"] for one in labels]
    items = [
        {
            "id": Path(file).stem,
            "image": {"path": file, "size": list(SIZE[::-1])},
            "annotations": [
                {"type": "bbox", "label_id": order.index(name), "bbox": box} for name, *box in boxes
            ],
        }
        for file, boxes in drawn(document).items()
    ]
    content = {"categories": {"label": {"labels": labels}}, "items": items}
    put_json(root / "annotations/default.json", content)


def fiftyone(root: Path, document: Document) -> None:
    order = [one["name"] for one in document["categories"]]
    labels = {
        Path(file).stem: [
            {
                "label": order.index(name),
                "bounding_box": [v / s for v, s in zip(box, SIZE * 2, strict=True)],
            }
            for name, *box in boxes
        ]
        for file, boxes in drawn(document).items()
    }
    put_json(root / "labels.json", {"classes": order, "labels": labels})


WRITERS: dict[str, tuple[Callable[[Path, Document], None], str]] = {
    "yolo": (by_hotcoco("to_yolo", "labels", names="data.yaml"), "images"),
    "voc": (by_hotcoco("to_voc", "."), "JPEGImages"),
    "cvat": (by_hotcoco("to_cvat", "annotations.xml"), "images"),
    "kitti": (kitti, "images"),
    "label-studio": (label_studio, "images"),
    "datumaro": (datumaro, "images/default"),
    "fiftyone": (fiftyone, "data"),
}


def there_and_back(side: Side, format: str, root: Path, *options: str) -> None:
    """Writes a source in a format, converts that, and puts what came out in the source's place."""
    write, images = WRITERS[format]
    write(root / "export", side.coco)
    shutil.copytree(side.folder / "images", root / "export" / images)
    output = root / "coco"
    assert main(["convert", format, str(root / "export"), "--output", str(output), *options]) == 0
    shutil.rmtree(side.folder)
    output.rename(side.folder)
    found = json.loads((side.folder / "annotations.json").read_text())
    assert drawn(found) == drawn(side.coco)
    assert {one["id"]: one["name"] for one in found["categories"]} == NAMES
    side.coco = found


def test_every_format_is_here() -> None:
    assert set(WRITERS) == set(formats.FORMATS)


@pytest.mark.parametrize("format", WRITERS)
def test_boxes_come_back_to_the_digit_and_pass_the_preflight(lab: Lab, format: str) -> None:
    for side in lab.sides:
        there_and_back(side, format, lab.folder / f"{format}-{side.folder.name}")
    assert lab.run() == 0
    assert lab.findings == {}
    assert lab.reported.dataset is not None
    assert lab.reported.dataset.class_names == ["", "cell", "dot"]


def test_an_archive_passes_the_preflight(lab: Lab) -> None:
    there_and_back(lab.train, "cvat", lab.folder / "cvat", "--archive")
    source = lab.spec["dataset"]["train_data_sources"][0]
    source["image_dir"] = str(lab.train.folder / "images.tar.gz")
    assert lab.run() == 0
    assert lab.findings == {}


def test_names_that_hold_images_are_found_in_an_archive_alone(lab: Lab) -> None:
    """As docs/data.md says of the layout."""
    there_and_back(lab.train, "cvat", lab.folder / "cvat", "--archive")
    for image in lab.train.coco["images"]:
        image["file_name"] = f"images/{image['file_name']}"
    source = lab.spec["dataset"]["train_data_sources"][0]
    source["image_dir"] = str(lab.train.folder / "images.tar.gz")
    assert lab.run() == 0
    assert lab.findings == {}
    with tarfile.open(source["image_dir"]) as tar:
        tar.extractall(lab.train.folder, filter="data")
    source["image_dir"] = str(lab.train.folder / "images")
    assert lab.run() == 65
    assert set(lab.findings) == {"image-missing"}


SIDES = st.integers(20, 6000)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[tuple[int, int], tuple[int, ...]]:
    """The size of an image, and left, top, width and height of a box of whole pixels in it."""
    width, height = draw(SIDES), draw(SIDES)
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    box = (left, top, draw(st.integers(1, width - left)), draw(st.integers(1, height - top)))
    return (width, height), box


@pytest.mark.parametrize("format", WRITERS)
def test_what_a_mac_keeps_beside_files_is_not_read(lab: Lab, format: str) -> None:
    """A `._NAME` beside each file, of no text and no picture."""
    export, (write, images) = lab.folder / format, WRITERS[format]
    write(export, lab.train.coco)
    shutil.copytree(lab.train.folder / "images", export / images)
    for path in [one for one in export.rglob("*") if one.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07\x00\xff")
    found = formats.read(format, ExportSource(export))
    assert {image.path.name for image in found.images} == set(drawn(lab.train.coco))
    assert found.warnings == ()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scene=scenes())
def test_boxes_of_any_size_come_back_within_a_rounding(
    tmp_path_factory: pytest.TempPathFactory, scene: tuple[tuple[int, int], tuple[int, ...]]
) -> None:
    """hotcoco writes YOLO with six digits: half of the last one, of position and of size."""
    (width, height), box = scene
    document: Document = {
        "images": [{"id": 1, "file_name": "a.png", "width": width, "height": height}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": list(box), "area": 1,
                         "iscrowd": 0}],
        "categories": [{"id": 1, "name": "cell"}],
    }  # fmt: skip
    for format in ("yolo", "voc", "cvat"):
        root = tmp_path_factory.mktemp(format)
        write, images = WRITERS[format]
        write(root, document)
        (root / images).mkdir(exist_ok=True)
        Image.new("1", (width, height)).save(root / images / "a.png")
        (image,) = formats.read(format, ExportSource(root)).images
        (found,) = image.boxes
        assert (image.width, image.height) == (width, height)
        slack = 1e-6 * max(width, height) if format == "yolo" else 1e-9
        assert found == Box("cell", *(pytest.approx(value, abs=slack) for value in box))


def test_a_picture_of_no_export_is_no_image_without_objects(tmp_path: Path) -> None:
    """Only YOLO takes images without a label file: there the two are written alike."""
    put_image(tmp_path / "images/a.jpg")
    put_image(tmp_path / "images/b.jpg")
    put(tmp_path / "labels/a.txt", "Car 0 0 0 1 1 9 9 0 0 0 0 0 0 0\n")
    found = formats.read("kitti", ExportSource(tmp_path))
    assert [image.name for image in found.images] == ["a.jpg"]
    put(tmp_path / "classes.txt", "ant\n")
    put(tmp_path / "labels/a.txt", "0 0.5 0.5 0.5 0.5\n")
    found = formats.read("yolo", ExportSource(tmp_path))
    assert [(image.name, len(image.boxes)) for image in found.images] == [
        ("a.jpg", 1),
        ("b.jpg", 0),
    ]
