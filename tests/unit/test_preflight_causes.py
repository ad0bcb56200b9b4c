"""A file that is not there says why, as far as it shows; and what the remedy says, works."""

from __future__ import annotations

import re
import shutil
import subprocess
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from dino_trainer.storage.opening import open_store
from tests.unit.preflight_lab import Lab, lab
from tests.unit.s3_server import BUCKET, S3Server

__all__ = ["lab"]
Rename = Callable[[str], str]
WRITE = re.compile(r"Write '([^']*)' in place of '([^']*)', and the others likewise\.")


@dataclass(frozen=True)
class Renaming:
    """named, stored: what becomes of `1.jpg` in the annotations and in the image folder."""

    cause: str
    named: Rename = str
    stored: Rename = str
    rule: str = "image-missing"


def before(text: str) -> Rename:
    return lambda name: text + name


def ending(other: str) -> Rename:
    return lambda name: name.replace(".jpg", other)


UNSAFE = "image-name-unsafe"
CASES = {
    "absolute": Renaming("an absolute path", before("/data/labelme/"), rule=UNSAFE),
    "absolute, from inside of the folder": Renaming(
        "an absolute path", before("/x/images/"), str, UNSAFE
    ),
    "absolute, other ending": Renaming(
        "an absolute path", before("/data/"), ending(".JPG"), UNSAFE
    ),
    "absolute, a folder of its own": Renaming(
        "an absolute path", before("/d/sub/"), before("sub/"), UNSAFE
    ),
    "a drive": Renaming("an absolute path", before("C:\\Users\\me\\")),
    "a drive with slashes": Renaming("an absolute path", before("D:/data/")),
    "a share": Renaming("an absolute path", before("\\\\server\\share\\")),
    "a home": Renaming("an absolute path", before("~/data/")),
    "up": Renaming("leads out of the image folder", before("../images/"), rule=UNSAFE),
    "Label Studio, upload": Renaming(
        "leads out of the image folder",
        before("../../label-studio/data/media/upload/1/"),
        rule=UNSAFE,
    ),
    "Label Studio, local files": Renaming(
        "an address in place of a file name", before("/data/local-files/?d=sub%2F"), rule=UNSAFE
    ),
    "S3": Renaming("an address in place of a file name", before("s3://bucket/train/")),
    "Google": Renaming("an address in place of a file name", before("gs://bucket/")),
    "a file URI": Renaming("an address in place of a file name", before("file:///data/")),
    "signed": Renaming(
        "an address in place of a file name",
        lambda n: f"https://h.example/a/{n}?X-Amz-Signature=ab/c",
    ),
    "backslashes": Renaming("written with backslashes", before("train\\")),
    "backslashes, and the folder is there": Renaming(
        "written with backslashes", before("train\\"), before("train/")
    ),
    "%20": Renaming("written with %20", lambda n: quote(f"a b {n}"), before("a b ")),
    "%C3": Renaming("written with %20", lambda n: quote(f"ä{n}"), before("ä")),
    "&amp;": Renaming("written with &amp;", before("a &amp; b "), before("a & b ")),
    "JPG": Renaming("capital letters differ", ending(".JPG")),
    "capitals": Renaming("capital letters differ", before("img_"), before("IMG_")),
    "jpeg": Renaming("has another ending", ending(".jpeg")),
    "jpeg there": Renaming("has another ending", str, ending(".jpeg")),
    "no ending": Renaming("has another ending", ending("")),
    "converted": Renaming("has another ending", ending(".tif"), ending(".jpe")),
    "a folder that is not there": Renaming(
        "names a folder that is not there", before("train2017/")
    ),
    "a folder that is left out": Renaming("lies in another folder", str, before("train2017/")),
    "another folder": Renaming("lies in another folder", before("val/"), before("train/a/")),
    "spaces became signs": Renaming(
        "spaces, signs or leading zeros", before("a b "), before("a_b_")
    ),
    "leading zeros": Renaming("spaces, signs or leading zeros", str, before("0000")),
    "UTF-8 read as Latin": Renaming(
        "letters are of another encoding", lambda n: f"ä{n}".encode().decode("cp1252"), before("ä")
    ),
    "UTF-8 read as DOS": Renaming(
        "letters are of another encoding", lambda n: f"ä{n}".encode().decode("cp437"), before("ä")
    ),
}


def rename(lab: Lab, case: Renaming) -> None:
    """All images of the training."""
    images = lab.train.folder / "images"
    for entry in lab.train.coco["images"]:
        name = entry["file_name"]
        entry["file_name"] = case.named(name)
        target = images / case.stored(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        (images / name).rename(target)


def obey(lab: Lab, sentence: str) -> None:
    """`Write 'a' in place of 'b', and the others likewise.`, of b alone."""
    found = WRITE.fullmatch(sentence)
    assert found, sentence
    [entry] = [e for e in lab.train.coco["images"] if e["file_name"] == found[2]]
    entry["file_name"] = found[1]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_why_a_file_is_not_there(case: Renaming, lab: Lab) -> None:
    """One cause for all six, and nothing beside it; obeying it six times is enough."""
    rename(lab, case)
    first = lab.train.image()["file_name"]
    for left in range(6, 0, -1):
        assert lab.run() == 65
        assert set(lab.findings) == {case.rule}
        finding = lab.findings[case.rule]
        assert finding["count"] == left
        [example] = finding["examples"]
        assert case.cause in example
        assert left == 1 or f" and {left - 1} more: " in example
        assert left < 6 or first in example, "as it was written: s3:// stays s3://"
        obey(lab, finding["remedy"])
    assert lab.run() == 0
    assert lab.findings == {}


@pytest.mark.parametrize("form, other", [("NFC", "NFD"), ("NFD", "NFC")])
@pytest.mark.parametrize("where", ["folder", "archive", "S3"])
def test_letters_with_marks_are_found(
    where: str, form: str, other: str, lab: Lab, s3_server: S3Server
) -> None:
    """Also in the names of folders, and where the two parts of a path differ in form."""
    rename(lab, Renaming("", lambda n: unicodedata.normalize(form, f"Häuser/Übung {n}")))
    images = lab.train.folder / "images"
    inside = images / unicodedata.normalize(other, "Häuser")
    inside.mkdir()
    for path in list(images.glob("*.jpg")):
        path.rename(inside / unicodedata.normalize(form, f"Übung {path.name}"))
    source = lab.spec["dataset"]["train_data_sources"][0]
    if where == "archive":
        shutil.make_archive(str(images), "gztar", lab.train.folder, "images")
        source["image_dir"] = f"{images}.tar.gz"
    elif where == "S3":
        base = f"s3://{BUCKET}/{lab.folder.name}"
        for path in inside.iterdir():
            open_store(base).upload(path, path.relative_to(images).as_posix())
        source["image_dir"] = base
    assert lab.run() == 0
    assert lab.findings == {}


def test_of_two_forms_that_are_both_there_each_is_itself(lab: Lab) -> None:
    names = [unicodedata.normalize(form, "ä.jpg") for form in ("NFC", "NFD")]
    images = lab.train.folder / "images"
    for place, name in enumerate(names):
        (images / f"{place + 1}.jpg").rename(images / name)
        lab.train.image(place)["file_name"] = name
    assert lab.run() == 0
    assert lab.findings == {}


def test_several_files_may_be_meant(lab: Lab) -> None:
    images = lab.train.folder / "images"
    for folder in ("a", "b"):
        (images / folder).mkdir()
        shutil.copy(images / "1.jpg", images / folder)
    (images / "1.jpg").unlink()
    assert lab.run() == 65
    [example] = lab.findings["image-missing"]["examples"]
    assert example == "train 1.jpg: files of that name lie in several folders"
    assert lab.findings["image-missing"]["remedy"] == (
        "Write which is meant, 'a/1.jpg' or 'b/1.jpg'."
    )
    lab.train.image()["file_name"] = "b/1.jpg"
    assert lab.run() == 0


def test_links_that_lead_nowhere(lab: Lab) -> None:
    images = lab.train.folder / "images"
    elsewhere = images.rename(images.with_name("elsewhere"))
    images.mkdir()
    for path in elsewhere.iterdir():
        (images / path.name).symlink_to(path)
    assert lab.run() == 0, "links that lead somewhere are files"
    moved = elsewhere.rename(elsewhere.with_name("moved"))
    assert lab.run() == 65
    finding = lab.findings["image-missing"]
    assert finding["examples"] == ["train 1.jpg and 5 more: a link to a file that is not there"]
    assert "cp -RL follows links where they lead somewhere" in finding["remedy"]
    moved.rename(elsewhere)
    subprocess.run(["cp", "-RL", images, f"{images}.plain"], check=True)
    for folder in (images, elsewhere):
        shutil.rmtree(folder)
    Path(f"{images}.plain").rename(images)
    assert lab.run() == 0


def test_the_image_itself_in_place_of_a_name(lab: Lab) -> None:
    """As labelme and Label Studio may write it; no file system takes such a name."""
    lab.train.image()["file_name"] = "data:image/jpeg;base64," + "A" * 9000
    assert lab.run() == 65
    finding = lab.findings["image-missing"]
    assert "the image itself in place of a name" in finding["examples"][0]
    assert len(finding["examples"][0]) < 160
    assert finding["remedy"].startswith("Write the images into files")


def test_a_name_that_no_file_system_takes(lab: Lab) -> None:
    lab.train.image()["file_name"] = "n" * 300 + ".jpg"
    assert lab.run() == 65
    assert set(lab.findings) == {"image-missing"}


def test_an_empty_folder_and_one_with_an_archive(lab: Lab) -> None:
    images = lab.train.folder / "images"
    shutil.make_archive(str(lab.folder / "images"), "gztar", lab.train.folder, "images")
    for path in images.iterdir():
        path.unlink()
    assert lab.run() == 65
    [example] = lab.findings["image-missing"]["examples"]
    assert example == "train 1.jpg and 5 more: the image folder is empty"
    (lab.folder / "images.tar.gz").rename(images / "photos.tar.gz")
    assert lab.run() == 65
    finding = lab.findings["image-missing"]
    assert "holds an archive, 'photos.tar.gz'" in finding["examples"][0]
    assert finding["remedy"].startswith("Name a .tar.gz, .tgz or .tar itself as image_dir")
    lab.spec["dataset"]["train_data_sources"][0]["image_dir"] = str(images / "photos.tar.gz")
    assert lab.run() == 0


def test_two_causes_and_one_without(lab: Lab) -> None:
    images = lab.train.folder / "images"
    (images / "1.jpg").rename(images / "1.JPG")
    (images / "2.jpg").rename(images / "2.jpeg")
    (images / "3.jpg").rename(images / "3.jpeg")
    (images / "4.jpg").unlink()
    assert lab.run() == 65
    finding = lab.findings["image-missing"]
    assert finding["count"] == 4
    assert finding["examples"] == [
        "train 1.jpg: capital letters differ",
        "train 2.jpg and 1 more: has another ending",
        "train 4.jpg",
    ]
    assert finding["message"].endswith("train 4.jpg).")
    assert "Write '1.JPG'" in finding["remedy"]
    assert "Write '2.jpeg'" in finding["remedy"]
    assert "Put the files there" in finding["remedy"]


def test_of_an_s3_folder_the_other_keys_are_known(lab: Lab, s3_server: S3Server) -> None:
    base = f"s3://{BUCKET}/{lab.folder.name}"
    store = open_store(base)
    for path in (lab.train.folder / "images").iterdir():
        name = path.name if path.name < "4" else path.name.replace(".jpg", ".JPG")
        store.upload(path, f"some/{name}")
        store.upload(path, f"none/train2017/{path.name}")
    source = lab.spec["dataset"]["train_data_sources"][0]
    source["image_dir"] = f"{base}/some"
    assert lab.run() == 65
    finding = lab.findings["image-missing"]
    assert finding["examples"] == ["train 4.jpg and 2 more: capital letters differ"]
    source["image_dir"] = f"{base}/none"
    assert lab.run() == 66
    [example] = lab.findings["source-missing"]["examples"]
    assert f"{base}/none holds none of the 6 images" in example
    assert "(1.jpg: lies in another folder)" in example
    assert lab.reported.failure is not None
    assert "Write 'train2017/1.jpg' in place of '1.jpg'" in str(lab.reported.failure.remedy)
    source["image_dir"] = f"{base}/none/train2017"
    assert lab.run() == 0


def test_absolute_names_and_an_s3_folder(lab: Lab, s3_server: S3Server) -> None:
    """Nothing of it is downloaded, and that is no fault of the folder."""
    base = f"s3://{BUCKET}/{lab.folder.name}"
    for path in (lab.train.folder / "images").iterdir():
        open_store(base).upload(path, path.name)
    lab.spec["dataset"]["train_data_sources"][0]["image_dir"] = base
    for entry in lab.train.coco["images"]:
        entry["file_name"] = f"/data/{entry['file_name']}"
    assert lab.run() == 65
    assert set(lab.findings) == {"image-name-unsafe"}
    assert lab.findings["image-name-unsafe"]["remedy"].startswith(
        "Write '1.jpg' in place of '/data/1.jpg'"
    )
