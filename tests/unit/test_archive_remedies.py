"""What a refused archive's remedy says is done, to the letter, and then the archive is read."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dino_trainer.storage.opening import open_store
from tests.unit.preflight_lab import Lab, lab
from tests.unit.s3_server import BUCKET, S3Server

__all__ = ["lab"]
Make = Callable[[Path], object]
COMMANDS = re.compile(r"(?:python3|tar|mkdir|gunzip|cp) [^():]*?images/(?! plain)|gunzip .*")


def shell(command: str, folder: Path) -> None:
    subprocess.run(command, shell=True, cwd=folder, check=True, capture_output=True)


def tar(options: str, *names: str) -> Make:
    names = names or ("images/",)
    return lambda at: shell(f"tar {options} {at.name} {' '.join(names)}", at.parent)


def zipped(at: Path) -> None:
    with zipfile.ZipFile(at, "w") as file:
        for path in sorted((at.parent / "images").iterdir()):
            file.write(path, f"images/{path.name}")


def flat_zip(at: Path) -> None:
    with zipfile.ZipFile(at, "w") as file:
        for path in sorted((at.parent / "images").iterdir()):
            file.write(path, path.name)


def packed_by(pack: Callable[[bytes], bytes]) -> Make:
    def make(at: Path) -> None:
        shell("tar -cf plain.tar images/", at.parent)
        at.write_bytes(pack((at.parent / "plain.tar").read_bytes()))
        (at.parent / "plain.tar").unlink()

    return make


def linked(at: Path) -> None:
    """Each image a link to a file elsewhere, two of them to one file."""
    _elsewhere(at, lambda path, target: path.symlink_to(target))
    tar("-czf")(at)


def hard_linked(at: Path) -> None:
    """Two names of one file: tar packs the second as a link to the first."""
    images = at.parent / "images"
    (images / "copy.jpg").hardlink_to(images / "1.jpg")
    tar("-czf")(at)


def a_linked_folder(at: Path) -> None:
    images = at.parent / "images"
    images.rename(at.parent / "elsewhere")
    images.mkdir()
    (images / "sub").symlink_to(at.parent / "elsewhere")
    shell("tar -czf images.tar.gz images", at.parent)


def _elsewhere(at: Path, link: Callable[[Path, Path], object]) -> None:
    images = at.parent / "images"
    images.rename(at.parent / "elsewhere")
    images.mkdir()
    for path in sorted((at.parent / "elsewhere").iterdir()):
        link(images / path.name, path)
    link(images / "again.jpg", at.parent / "elsewhere" / "1.jpg")


def sparse(at: Path) -> None:
    with (at.parent / "images" / "hole.bin").open("wb") as file:
        file.truncate(1 << 22)
    tar("-S -czf")(at)


def twice(at: Path) -> None:
    tar("-cf")(at)
    shell(f"tar -rf {at.name} images/1.jpg", at.parent)


def cut(at: Path) -> None:
    tar("-czf")(at)
    os.truncate(at, at.stat().st_size // 2)


REFUSED: dict[str, tuple[str, Make, str]] = {
    "a zip": ("images.tar.gz", zipped, "is a ZIP archive"),
    "a zip without a folder": ("images.tar.gz", flat_zip, "is a ZIP archive"),
    "a zip called tar": ("photos.tar", zipped, "is a ZIP archive"),
    "a zip with a space in its name": ("my photos.tgz", zipped, "is a ZIP archive"),
    "an honest zip": ("images.zip", zipped, "is a ZIP archive"),
    "bzip2": ("images.tar.gz", packed_by(bz2.compress), "is compressed with bzip2"),
    "honest bzip2": ("images.tar.bz2", packed_by(bz2.compress), "is compressed with bzip2"),
    "xz": ("images.tar.gz", packed_by(lzma.compress), "is compressed with xz"),
    "honest xz": ("images.txz", packed_by(lzma.compress), "is compressed with xz"),
    "gzip twice": ("images.tar.gz", packed_by(lambda raw: gzip.compress(gzip.compress(raw))),
                   "is compressed with gzip twice"),
    "text": ("images.tar.gz", lambda at: at.write_text("see the wiki, überall\n" * 60),
             "is a text"),
    "gzip of text": ("images.tar.gz", lambda at: at.write_bytes(gzip.compress(b"see")),
                     "is a text"),
    "a JPEG": ("images.tar.gz", lambda at: shutil.copy(at.parent / "images/1.jpg", at),
               "is a JPEG image"),
    "cut": ("images.tar.gz", cut, "is damaged or ends early"),
    "empty": ("images.tar.gz", lambda at: at.write_bytes(b""), "is damaged or ends early"),
    "links": ("images.tar.gz", linked, "is a symbolic link to"),
    "hard links": ("images.tar.gz", hard_linked, "is a hard link to"),
    "a link to a folder": ("images.tar.gz", a_linked_folder, "is a symbolic link to"),
    "a sparse file": ("images.tar.gz", sparse, "is a sparse file"),
    "absolute names": ("images.tar.gz", lambda at: tar("-Pczf", f"{at.parent}/images/")(at),
                       "has an absolute path"),
    "names with ..": ("images.tar.gz", lambda at: tar("-Pczf", f"../{at.parent.name}/images/")(at),
                      "leaves the folder"),
    "a name twice": ("images.tar", twice, "twice"),
    "no files": ("images.tar.gz", tar("-czf", "--exclude=*.jpg", "images/"), "holds no files"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_the_remedy_works_to_the_letter(case: str, lab: Lab) -> None:
    name, make, words = REFUSED[case]
    source = lab.spec["dataset"]["train_data_sources"][0]
    source["image_dir"] = str(lab.train.folder / name)
    make(lab.train.folder / name)
    if case == "a link to a folder":
        for image in lab.train.coco["images"]:
            image["file_name"] = f"sub/{image['file_name']}"
    assert lab.run() == 65
    assert set(lab.findings) == {"source-unusable"}
    finding = lab.findings["source-unusable"]
    assert words in finding["message"]
    assert f"  -> {finding['remedy']}" in lab.out
    if words.startswith(("is a ZIP", "is compressed")):
        shutil.rmtree(lab.train.folder / "images")  # only the archive is there
    command = COMMANDS.search(finding["remedy"])
    assert command, finding["remedy"]
    shell(command[0].rstrip("."), lab.train.folder)
    for test in re.findall(r"tar -tzf [^)]*", finding["remedy"]):
        shell(test, lab.train.folder)
    if not name.endswith((".tar.gz", ".tgz", ".tar")):
        source["image_dir"] = str(lab.train.folder / "images.tar.gz")
    assert lab.run() == 0
    assert lab.findings == {}


def test_the_other_remedy_for_links_works_without_gnu_tar(lab: Lab) -> None:
    linked(lab.train.folder / "images.tar.gz")
    archive = lab.train.folder / "images.tar.gz"
    lab.spec["dataset"]["train_data_sources"][0]["image_dir"] = str(archive)
    assert lab.run() == 65
    other = re.search(r"or (cp -RL .*)", lab.findings["source-unusable"]["remedy"])
    assert other
    shell(other[1], lab.train.folder)
    assert lab.run() == 0


def test_a_pipe_is_to_be_taken_out(lab: Lab) -> None:
    os.mkfifo(lab.train.folder / "images" / "pipe")
    tar("-czf")(lab.train.folder / "images.tar.gz")
    archive = lab.train.folder / "images.tar.gz"
    lab.spec["dataset"]["train_data_sources"][0]["image_dir"] = str(archive)
    assert lab.run() == 65
    assert lab.findings["source-unusable"]["remedy"] == (
        "Take 'images/pipe' out of the folder, and pack it again: tar -czf images.tar.gz images/"
    )
    (lab.train.folder / "images" / "pipe").unlink()
    shell("tar -czf images.tar.gz images/", lab.train.folder)
    assert lab.run() == 0


OTHERS = {
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
    "an HTML page": b"\n<!DOCTYPE html><html><body>Sign in</body></html>",
    "an XML text": b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>NoSuchKey</Code>',
    "compressed with zstd": b"\x28\xb5\x2f\xfd\x00",
    "a 7-Zip archive": b"7z\xbc\xaf\x27\x1c\x00\x04",
    "a RAR archive": b"Rar!\x1a\x07\x01\x00",
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_else_a_file_may_be(what: str, lab: Lab) -> None:
    archive = lab.train.folder / "images.tar.gz"
    archive.write_bytes(OTHERS[what])
    lab.spec["dataset"]["train_data_sources"][0]["image_dir"] = str(archive)
    assert lab.run() == 65
    assert f"{archive} is {what}" in lab.findings["source-unusable"]["message"]


def test_a_zip_on_s3_is_named(lab: Lab, s3_server: S3Server) -> None:
    base = f"s3://{BUCKET}/{lab.folder.name}"
    zipped(lab.train.folder / "images.zip")
    for name in ("images.zip", "images.tar.gz"):
        open_store(base).upload(lab.train.folder / "images.zip", name)
        lab.spec["dataset"]["train_data_sources"][0]["image_dir"] = f"{base}/{name}"
        assert lab.run() == 65
        finding = lab.findings["source-unusable"]
        assert f"{base}/{name} is a ZIP archive. Read are" in finding["message"]
        assert f"python3 -m zipfile -e {name} images" in finding["remedy"]


def test_a_folder_that_is_called_like_an_archive(lab: Lab) -> None:
    images = lab.train.folder / "images"
    images.rename(images.with_name("images.tar.gz"))
    lab.spec["dataset"]["train_data_sources"][0]["image_dir"] = f"{images}.tar.gz"
    assert lab.run() == 0
    assert lab.findings == {}


# ---- folders inside of an archive ---------------------------------------------------------------

FOLDERS: dict[str, tuple[dict[str, str], bool]] = {
    "one other": ({"train2017/": ""}, True),
    "one, deep": ({"data/coco/train2017/": ""}, True),
    "one, and other things": ({"train2017/": "", "labels/": ".txt"}, True),
    "one of two has all": ({"train2017/": "", "val2017/": "only 1"}, True),
    "letters with marks": ({"Fotos für alle/": ""}, True),
    "two with the same": ({"a/": "", "b/": ""}, False),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_the_folder_inside_of_an_archive(case: str, lab: Lab) -> None:
    """Found where it is unambiguous; else the finding says where the files lie."""
    folders, found = FOLDERS[case]
    images = lab.train.folder / "images"
    for folder, what in folders.items():
        target = lab.folder / "pack" / folder
        target.mkdir(parents=True)
        for path in images.iterdir():
            if what != "only 1" or path.name == "1.jpg":
                other = path.with_suffix(what).name if what == ".txt" else path.name
                shutil.copy(path, target / other)
    shell("tar -czf ../images.tar.gz *", lab.folder / "pack")
    lab.spec["dataset"]["train_data_sources"][0]["image_dir"] = str(lab.folder / "images.tar.gz")
    assert lab.run() == (0 if found else 65)
    assert set(lab.findings) == (set() if found else {"image-missing"})
    if not found:
        finding = lab.findings["image-missing"]
        assert finding["examples"] == [
            "train 1.jpg and 5 more: files of that name lie in several folders"
        ]
        assert finding["remedy"] == "Write which is meant, 'a/1.jpg' or 'b/1.jpg'."
        for image in lab.train.coco["images"]:
            image["file_name"] = f"a/{image['file_name']}"
        assert lab.run() == 0
