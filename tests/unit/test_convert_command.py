"""`dino convert` as a command: splits, archives, links, and what it leaves alone."""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path

import pytest

from dino_trainer.command import convert as command
from dino_trainer.command.cli import main
from dino_trainer.convert import coco_writer
from dino_trainer.convert.records import LabelledImage
from dino_trainer.convert.splitting import drawn, shares_of
from dino_trainer.data.archive import take_in
from tests.unit.convert_lab import Converter, convert, put, put_image, put_json

__all__ = ["convert"]


def plain_yolo(root: Path, *names: str) -> None:
    put(root / "classes.txt", "ant\n")
    for name in names:
        put_image(root / f"images/{name}.jpg")
        put(root / f"labels/{name}.txt", "0 0.5 0.5 0.25 0.5\n")


def test_a_split_is_a_function_of_the_name_alone() -> None:
    """The first six bytes of SHA-256 as a share: those of `a.jpg` begin with …"""
    place = int(hashlib.sha256(b"a.jpg").hexdigest()[:12], 16) / 16**12
    assert drawn("a.jpg", (place + 1e-9, 1 - place - 1e-9)) == "train"
    assert drawn("a.jpg", (place - 1e-9, 1 - place + 1e-9)) == "val"
    assert drawn("a.jpg", (0, 0, 1)) == "test"
    assert drawn("u\u0308.jpg", (0.5, 0.5)) == drawn("\u00fc.jpg", (0.5, 0.5)), "one name"


def test_splits_have_about_their_shares() -> None:
    found = [drawn(f"{n}.jpg", (0.8, 0.1, 0.1)) for n in range(4000)]
    assert abs(found.count("train") / 4000 - 0.8) < 0.03
    assert abs(found.count("test") / 4000 - 0.1) < 0.03


def test_images_that_come_later_move_none(convert: Converter) -> None:
    def splits() -> dict[str, str]:
        assert convert.run("yolo", "--split", "0.5,0.3,0.2") == 0, convert.err
        return {
            name: split.name
            for split in convert.output.iterdir()
            if split.is_dir()
            for name in convert.boxes(split.name)
        }

    plain_yolo(convert.source, *"abcdefghij")
    before = splits()
    assert set(before.values()) == {"train", "val", "test"}
    plain_yolo(convert.source, *"ABCDEFGHIJ")
    after = splits()
    assert len(after) == 20
    assert {name: after[name] for name in before} == before


def test_a_split_without_an_image_is_told_and_not_written(convert: Converter) -> None:
    """A training takes no empty one."""
    plain_yolo(convert.source, "a")
    assert convert.run("yolo", "--split", "0.999999,0,0.000001") == 0, convert.err
    assert list(convert.boxes("train")) == ["a.jpg"]
    assert "warning: No image fell into test, which is not written" in convert.out
    assert "into val" not in convert.out
    assert not (convert.output / "test").exists()


@pytest.mark.parametrize(
    "text, said",
    [
        ("0.8,x", "which are no numbers"),
        ("1", "has 1 shares, not 2 or 3"),
        ("0.5,0.1,0.1", "0.5,0.1,0.1, do not make 1"),
        ("1.5,-0.5", "do not make 1"),
        ("nan,1", "do not make 1"),
        ("0.25,0.25,0.25,0.25", "has 4 shares"),
    ],
)
def test_shares_that_are_none(convert: Converter, text: str, said: str) -> None:
    plain_yolo(convert.source, "a")
    assert said in convert.refused("yolo", f"--split={text}")


def test_shares_in_decimals_make_1() -> None:
    assert shares_of("0.8,0.1,0.1") == (0.8, 0.1, 0.1)
    assert shares_of("0.7, 0.3") == (0.7, 0.3)


def test_an_archive_holds_plain_files_below_images(convert: Converter, tmp_path: Path) -> None:
    """Also where the source has links; twice the same bytes; taken in as a training does."""
    plain_yolo(convert.source, "sub/a", "b")
    kept = convert.source / "images/b.jpg"
    kept.rename(tmp_path / "elsewhere.jpg")
    kept.symlink_to(tmp_path / "elsewhere.jpg")
    os.link(tmp_path / "elsewhere.jpg", convert.source / "images/c.jpg")
    packed = []
    for _ in range(2):
        assert convert.run("yolo", "--archive") == 0, convert.err
        assert sorted(path.name for path in convert.output.iterdir()) == [
            "annotations.json", "classes.txt", "images.tar.gz"
        ]  # fmt: skip
        packed.append(convert.output / "images.tar.gz")
    assert packed[0].read_bytes() == packed[1].read_bytes()
    with tarfile.open(packed[0]) as tar:
        assert all(member.isreg() for member in tar)
        assert tar.getnames() == ["images/b.jpg", "images/c.jpg", "images/sub/a.jpg"]
    names = [one["file_name"] for one in convert.document()["images"]]
    assert names == ["b.jpg", "c.jpg", "sub/a.jpg"]
    _, index = take_in(packed[0], tmp_path / "taken.tar", name="images.tar.gz", moved=None)
    assert len(index.files) == 3


@pytest.mark.parametrize(
    ("ending", "size", "stored"),
    [("jpg", 40_000, True), ("png", 40_000, True), ("bmp", 40_000, False), ("jpg", 900, False)],
)
def test_photographs_are_stored_in_the_archive(
    ending: str, size: int, stored: bool, tmp_path: Path
) -> None:
    """gzip would save a hundredth of them, and cost every staging a core; small files have more of
    the .tar around them than content, and a bitmap becomes smaller."""
    images = []
    for n in range(3):
        path = tmp_path / f"{n}.{ending}"
        path.write_bytes(bytes(size))
        images.append(LabelledImage(path, path.name, 8, 8))
    coco_writer._pack(images, tmp_path / "images.tar.gz", lambda: None)
    assert ((tmp_path / "images.tar.gz").stat().st_size > 3 * size) is stored
    _, index = take_in(tmp_path / "images.tar.gz", tmp_path / "taken.tar")
    assert [length for _, length in index.files.values()] == [size] * 3


@pytest.mark.parametrize("option", ["", "--link"])
def test_copies_unless_links_are_asked_for(convert: Converter, option: str) -> None:
    """Of a link in the source the file itself, since archives take no links."""
    plain_yolo(convert.source, "a")
    image = convert.source / "images/a.jpg"
    (convert.source / "images/b.jpg").symlink_to(image)
    assert convert.run("yolo", *filter(None, [option])) == 0, convert.err
    for name in ("a.jpg", "b.jpg"):
        made = convert.output / "images" / name
        assert not made.is_symlink()
        assert made.samefile(image) == bool(option)
        assert made.read_bytes() == image.read_bytes()


def test_links_become_copies_where_the_file_system_has_none(
    convert: Converter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    plain_yolo(convert.source, "a")
    monkeypatch.setattr(os, "link", refuse)
    assert convert.done("yolo", "--link")["a.jpg"] == [("ant", 30, 10, 20, 20)]


def test_the_source_stays_as_it_is(convert: Converter) -> None:
    plain_yolo(convert.source, "a", "b")

    def seen() -> dict[str, tuple[int, bytes]]:
        files = [path for path in convert.source.rglob("*") if path.is_file()]
        return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    before = seen()
    assert convert.run("yolo", "--split", "0.5,0.5", "--archive") == 0, convert.err
    assert seen() == before


def test_what_is_there_is_not_written_over(
    convert: Converter, capsys: pytest.CaptureFixture[str]
) -> None:
    plain_yolo(convert.source, "a")
    full, empty = convert.folder / "full", convert.folder / "empty"
    put(full / "mine.txt", "mine")
    empty.mkdir()
    words = ["convert", "yolo", str(convert.source), "--output"]
    assert main([*words, str(full)]) == 64
    assert "There is something in" in capsys.readouterr().err
    assert [path.name for path in full.iterdir()] == ["mine.txt"]
    assert main([*words, str(convert.source / "coco")]) == 64
    assert "lies in the source" in capsys.readouterr().err
    assert main([*words, "s3://bucket/coco"]) == 64
    assert "Copy it here, convert it" in capsys.readouterr().err
    assert main([*words, str(empty)]) == 0
    assert (empty / "annotations.json").is_file()


def test_an_empty_folder_that_cannot_be_replaced_is_filled(
    convert: Converter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The working folder, a link, and what is mounted: there os.replace of it is refused."""
    plain_yolo(convert.source, "a")
    here, linked = convert.folder / "here", convert.folder / "linked"
    here.mkdir()
    linked.mkdir()
    (convert.folder / "link").symlink_to(linked)
    monkeypatch.chdir(here)
    for output, folder in ((".", here), (str(convert.folder / "link"), linked)):
        place = folder.stat().st_ino
        words = ["convert", "yolo", str(convert.source), "--output", output, "--split", "0,1"]
        assert main(words) == 0
        assert sorted(path.name for path in folder.iterdir()) == ["classes.txt", "val"]
        assert folder.stat().st_ino == place
    assert (convert.folder / "link").is_symlink()


def test_an_empty_folder_stays_empty_where_not_all_can_be_put_there(
    convert: Converter, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_yolo(convert.source, "a")
    empty, rename = convert.folder / "empty", os.rename
    empty.mkdir()

    def refuse(path: Path, target: Path) -> None:
        if target == empty / "images":
            raise PermissionError(13, "Permission denied", str(target))
        rename(path, target)

    monkeypatch.setattr(os, "rename", refuse)
    assert main(["convert", "yolo", str(convert.source), "--output", str(empty)]) != 0
    assert list(empty.iterdir()) == []


def test_a_conversion_that_ends_early_leaves_nothing(
    convert: Converter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image that is gone when it is copied, and Ctrl-C."""
    plain_yolo(convert.source, "a", "b")

    def gone(images: list[object], *_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", "b.jpg")

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    for what, code in ((gone, 66), (stopped, 143)):
        monkeypatch.setattr("dino_trainer.convert.coco_writer._put", what)
        assert convert.run("yolo") == code
        assert sorted(path.name for path in convert.folder.iterdir()) == ["export"]


def test_an_image_that_cannot_be_read_is_named(convert: Converter) -> None:
    plain_yolo(convert.source, "a")
    (convert.source / "images/a.jpg").write_bytes(b"nothing")
    said = convert.refused("yolo")
    assert str(convert.source / "images/a.jpg") in said
    assert "Replace the file" in said


@pytest.mark.parametrize("format", ["voc", "kitti", "fiftyone"])
def test_a_file_where_the_folder_is_to_be_named(convert: Converter, format: str) -> None:
    put(convert.source, CAT)
    said = convert.refused(format)
    assert f"{convert.source} is a file." in said
    assert "Name the folder of the export." in said


def test_a_source_that_is_not_there_or_empty(convert: Converter) -> None:
    assert f"There is no {convert.source}" in convert.refused("voc")
    convert.source.mkdir()
    for format, said in (
        ("voc", "holds no .xml file"),
        ("cvat", "holds no .xml file"),
        ("kitti", "has no folder of labels"),
        ("datumaro", "holds no .json file"),
        ("label-studio", "holds: none"),
    ):
        assert said in convert.refused(format)
    assert "--images /no/such is no folder" in convert.refused("voc", "--images", "/no/such")


CAT = (
    "<annotation><filename>a.jpg</filename><object><name>cat</name><bndbox><xmin>1</xmin>"
    "<ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></object></annotation>"
)


def test_two_images_of_one_name_are_named(convert: Converter) -> None:
    for part in ("one", "two"):
        put_image(convert.source / part / "JPEGImages/a.jpg")
        put(convert.source / part / "Annotations/a.xml", CAT)
    assert "would both be called 'a.jpg'" in convert.refused("voc")


def test_classes_keep_the_ids_that_they_had(convert: Converter) -> None:
    """The alphabet would put an ape before the cat; a class that is gone keeps its place."""
    root = convert.source
    put_image(root / "JPEGImages/a.jpg")
    put(root / "Annotations/a.xml", CAT.replace("cat", "ape"))
    put_image(root / "JPEGImages/b.jpg")
    put(root / "Annotations/b.xml", CAT.replace("a.jpg", "b.jpg"))
    earlier = put(convert.folder / "classes.txt", "cat\ndog\n\n")
    assert convert.run("voc", "--classes", str(earlier)) == 0, convert.err
    assert convert.categories == {1: "cat", 2: "dog", 3: "ape"}
    assert convert.boxes() == {"a.jpg": [("ape", 0, 0, 2, 2)], "b.jpg": [("cat", 0, 0, 2, 2)]}
    assert "warning: Classes that --classes does not list follow after it: ape." in convert.out
    assert "There is no /no/such" in convert.refused("voc", "--classes", "/no/such")
    put(earlier, "cat\ncat\n")
    assert "two classes are called 'cat'" in convert.refused("voc", "--classes", str(earlier))


def test_how_far_it_is_is_said_now_and_then() -> None:
    said: list[str] = []
    steps = command.Steps("read", said.append, seconds=0)
    for _ in range(1200):
        steps()
    assert said[-1] == "1,200 images read"
    quiet = command.Steps("read", said.append, seconds=1000)
    quiet()
    assert len(said) == 1200


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["convert", "--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    for part in ("label-studio", "--split 0.8,0.1,0.1", "classes.txt", "file_name begins below"):
        assert part in told
    with pytest.raises(SystemExit) as ended:
        main(["convert", "coco", "x", "--output", "y"])
    assert ended.value.code == 64


def test_names_of_files_that_are_no_utf8_are_kept(convert: Converter) -> None:
    """Of folders, too, which are said at the end."""
    convert.folder /= "caf\udce9"
    plain_yolo(convert.source, "a", "\udce9")
    assert convert.done("yolo") == {
        "a.jpg": [("ant", 30, 10, 20, 20)],
        "\udce9.jpg": [("ant", 30, 10, 20, 20)],
    }
    assert "caf\\udce9/coco1: 2 images" in convert.out
    assert convert.run("yolo", "--archive") == 0, convert.err
    with tarfile.open(convert.output / "images.tar.gz") as tar:
        assert sorted(tar.getnames()) == ["images/a.jpg", "images/\udce9.jpg"]


def test_a_class_whose_name_is_no_text_is_refused(convert: Converter) -> None:
    """classes.txt could not hold it, nor a spec."""
    put_image(convert.source / "data/a.jpg")
    labels = {"classes": ["ant", "\ud83d"], "labels": {"a": []}}
    put_json(convert.source / "labels.json", labels)
    said = convert.refused("fiftyone")
    assert "class 2 is called '\\ud83d', which has half of a character" in said
