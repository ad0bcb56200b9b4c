"""Parts of an inference that need no detector: class maps, labels, pictures, files."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from dino_trainer.errors import TrainerError
from dino_trainer.inference import drawing, files
from dino_trainer.inference.classmap import names_by_label, read_lines
from dino_trainer.inference.objects import Objects, coco, kitti
from dino_trainer.inference.page import ReportPicture, inference_page
from dino_trainer.inference.tally import Tally
from dino_trainer.results.output import Output

NAMES = ("", "red", "", "blue")


def objects(*rows: tuple[int, float, tuple[float, float, float, float]]) -> Objects:
    labels, scores, boxes = zip(*rows, strict=True) if rows else ((), (), ())
    return Objects(
        np.array(labels, np.int64), np.array(scores, "f4"), np.array(boxes, "f4").reshape(-1, 4)
    )


@pytest.mark.parametrize(
    "text, known, names",
    [
        ("red\nfiller\nblue\n", NAMES, NAMES),  # line i is the class with id i + 1
        ("red\n\nblue\n\n\n", NAMES, NAMES),  # an empty line fills, at the end it is nothing
        ("\ufeffred\r\nblue\r\n", NAMES, NAMES),  # the names alone; a file written on Windows
        ("a\nb\n", ("a", "b"), ("a", "b")),  # the model has a class 0
        ("a\nb\n", ("", "", ""), ("", "a", "b")),  # nothing to compare with: as TAO
        ("a\nb\nc\n", ("", "", ""), ("a", "b", "c")),  # as many lines as classes begin with 0
        ("a\n", ("", "", ""), ("", "a", "")),
    ],
)
def test_class_maps_that_fit(text: str, known: tuple[str, ...], names: tuple[str, ...]) -> None:
    assert names_by_label(read_lines(text.encode(), "classmap.txt"), known, "classmap.txt") == names


@pytest.mark.parametrize(
    "text, known, message",
    [
        ("blue\nx\nred\n", NAMES, "its line 1 is 'blue', and class 1 of the model is 'red'"),
        ("red\nx\ngreen\n", NAMES, "its line 3 is 'green', and class 3 of the model is 'blue'"),
        ("red\nx\nblue\ngreen\n", NAMES, "its line 4 is 'green', and the model has no class 4"),
        ("red\n", NAMES, "ends after line 1, and class 3 of the model is 'blue'"),
        ("b\na\n", ("a", "b"), "its line 1 is 'b', and class 0 of the model is 'a'"),
        ("a\nb\nc\nd\n", ("", "", ""), "has 4 lines, and the model has 3 classes"),
        ("\n\n", NAMES, "holds no names"),
        ("\xe4", NAMES, "is not UTF-8 text"),
    ],
)
def test_class_maps_that_do_not_fit_name_the_first_difference(
    text: str, known: tuple[str, ...], message: str
) -> None:
    with pytest.raises(TrainerError, match=message) as error:
        names_by_label(read_lines(text.encode("latin-1"), "classmap.txt"), known, "classmap.txt")
    assert error.value.reason == "InvalidDataset"
    assert error.value.message.startswith("classmap.txt ")


def test_a_kitti_line_is_that_of_tao() -> None:
    found = objects((3, 0.98765, (1, 2.5, 30.12345, 40)), (1, 0.5, (-0.5, 0, 2, 3)))
    assert kitti(found, NAMES) == (
        "blue 0.00 0 0.00 1.000 2.500 30.123 40.000 0.00 0.00 0.00 0.00 0.00 0.00 0.00 0.988\n"
        "red 0.00 0 0.00 -0.500 0.000 2.000 3.000 0.00 0.00 0.00 0.00 0.00 0.00 0.00 0.500\n"
    )


def test_predictions_are_a_coco_file(tmp_path: Path) -> None:
    predictions = files.PredictionsFile(tmp_path)
    two = objects((1, 0.8, (0, 0, 5, 5)), (3, 0.7, (1, 1, 2, 2)))
    predictions.add(1, "a/1.jpg", (60, 80), coco(objects((3, 0.9, (1, 2, 11, 22))), 1))
    predictions.add(2, 'a/"2".jpg', (60, 80), coco(objects(), 2))
    predictions.add(4, "b/1.jpg", (50, 70), coco(two, 4))
    predictions.write({"skipped": ["a/3.jpg"]}, NAMES)
    predictions.close()
    read = COCO(str(tmp_path / "predictions.json"))
    assert [one["name"] for one in read.loadCats(read.getCatIds())] == ["red", "blue"]
    assert [one["file_name"] for one in read.loadImgs([1, 2, 4])] == [
        "a/1.jpg", 'a/"2".jpg', "b/1.jpg"
    ]  # fmt: skip
    assert read.loadAnns(read.getAnnIds(imgIds=[1])) == [
        {"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 10, 20], "area": 200,
         "iscrowd": 0, "score": 0.9}
    ]  # fmt: skip
    assert read.getAnnIds(imgIds=[2]) == []
    assert read.getAnnIds(imgIds=[4]) == [2, 3]
    assert read.dataset["info"] == {"skipped": ["a/3.jpg"]}
    results = read.loadRes(read.dataset["annotations"])
    assert len(results.anns) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.json"]


def test_images_that_share_a_stem_have_labels_of_their_own() -> None:
    assert files.label_names(["a/1.jpg", "b/1.jpg", "a/2.png"]) == ["a/1.txt", "b/1.txt", "a/2.txt"]
    assert files.label_names(["1.jpg", "1.png", "2.jpg"]) == ["1.jpg.txt", "1.png.txt", "2.txt"]
    assert len(set(files.label_names(["1.jpg", "1.png", "1.jpg.bmp"]))) == 3


def test_many_files_go_to_a_remote_output_as_one_archive(tmp_path: Path) -> None:
    output = Output("s3://bucket/results/inference", tmp_path)
    sent: list[str] = []
    output.publish = lambda name: sent.append(name) or _Stored()  # type: ignore[assignment]
    sink = files.open_sink(output, "labels")
    long, umlaut = "/".join(["folder"] * 30), "b/\xe4\udce9.txt"
    want = {"a/1.txt": b"one", umlaut: b"", long: bytes(5000)}
    for name, content in want.items():
        sink.add(name, sink.packed(name, content))
    assert [artifact.name for artifact in sink.close()] == sent == ["labels.tar.gz"]
    with tarfile.open(output.dir / "labels.tar.gz") as tar:
        seen = {one.name: tar.extractfile(one).read() for one in tar}
    assert seen == {f"labels/{name}": content for name, content in want.items()}
    subprocess.run(["tar", "-xzf", "labels.tar.gz"], cwd=output.dir, check=True)
    assert (output.dir / "labels" / long).read_bytes() == bytes(5000)


def test_who_only_packs_for_an_archive_leaves_none(tmp_path: Path) -> None:
    output = Output("s3://bucket/results/inference", tmp_path)
    assert files.open_sink(output, "labels").packed("a/1.txt", b"one")
    assert not (output.dir / "labels.tar.gz").exists()


class _Stored:
    def artifact(self, name: str) -> _Stored:
        self.name = name
        return self


def test_every_class_has_a_colour_of_its_own_that_never_changes() -> None:
    names = ["", *(f"class{i}" for i in range(1, 91))]
    colours = drawing.colours_of(names, None)
    assert len(set(colours)) == 91
    assert colours[1] == (86, 180, 233)
    chosen = drawing.colours_of(names, {"class2": "#00a060", "class90": "red"})
    assert chosen[2] == (0, 160, 96)
    assert chosen[90] == (255, 0, 0)
    assert chosen[3] == colours[3]


@pytest.mark.parametrize(
    "chosen, message",
    [
        ({"red": "green", "car": "red"}, "inference.color_map names 'car', and the model has no"),
        ({"red": "bleu"}, "inference.color_map.red: 'bleu' is not a colour"),
    ],
)
def test_colours_that_cannot_be_used(chosen: dict[str, str], message: str) -> None:
    with pytest.raises(TrainerError, match=message) as error:
        drawing.colours_of(NAMES, chosen)
    assert error.value.reason == "InvalidSpec"


def test_boxes_are_drawn_in_the_colour_of_their_class() -> None:
    image = Image.new("RGB", (100, 80))
    found = objects((1, 0.9, (20, 30, 60, 70)), (3, 0.8, (-5, -5, 15, 15)), (3, 0.6, (9, 9, 8, 8)))
    colours = drawing.colours_of(NAMES, {"red": "#ff0000", "blue": "#0000ff"})
    drawing.draw_objects(image, found, NAMES, colours, width=3)
    assert image.getpixel((60, 50)) == image.getpixel((58, 50)) == (255, 0, 0)
    assert image.getpixel((57, 50)) == (0, 0, 0)  # 3 pixels wide
    assert image.getpixel((15, 12)) == (0, 0, 255)


@pytest.mark.parametrize("name, kind", [("a.JPG", "JPEG"), ("a.png", "PNG"), ("a.bmp", "BMP"),
                                        ("a.webp", "WEBP"), ("a.tiff", "TIFF"),
                                        ("a.gif", "PNG")])  # fmt: skip
def test_a_picture_stays_a_file_of_its_kind(name: str, kind: str) -> None:
    content = drawing.encode(Image.new("RGB", (20, 10)), name)
    assert Image.open(io.BytesIO(content)).format == kind


def test_a_picture_longer_than_its_kind_allows_is_a_png() -> None:
    for name, width in (("a.jpg", 66_000), ("a.webp", 17_000)):
        content = drawing.encode(Image.new("RGB", (width, 1)), name)
        assert Image.open(io.BytesIO(content)).format == "PNG"


def test_no_two_drawn_pictures_share_a_file() -> None:
    names = ["a.gif", "a.gif.png", "a.jpg", "b.jp2"]
    assert drawing.drawn_names(names) == ["a.gif.png.png", "a.gif.png", "a.jpg", "b.jp2.png"]


def test_counts_and_the_report() -> None:
    tally = Tally(NAMES)
    boxes = (0, 0, 1, 1)
    tally.add(objects((1, 0.95, boxes), (1, 1.0, boxes), (3, 0.55, boxes)))
    tally.add(objects())
    tally.skipped.append(("b/<i>.jpg", "no image"))
    assert (tally.read, tally.empty, tally.total) == (2, 1, 3)
    assert tally.objects.tolist() == [0, 2, 0, 1]
    assert tally.images.tolist() == [0, 1, 0, 1]
    assert tally.scores.tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0, 2]
    colours = drawing.colours_of(NAMES, None)
    html = inference_page(
        "Two images.", tally, colours, 0.5, [ReportPicture("<b>.jpg", b"jpeg", 3)]
    )
    assert "<td>b/&lt;i&gt;.jpg</td><td>no image</td>" in html
    assert 'alt="&lt;b&gt;.jpg, 3 objects"' in html
    assert ">0.5</text>" in html
    assert ">0.4</text>" not in html
