"""Staging: from folders, archives and a real S3 server to local folders."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path

import pytest

from dino_trainer.data.coco import load_coco
from dino_trainer.data.image_store import Folder
from dino_trainer.data.stage import StagedSource, stage
from dino_trainer.errors import TrainerError
from dino_trainer.storage.opening import open_store
from tests.unit.coco_builders import Source, a_folder, an_archive, jpeg
from tests.unit.s3_server import BUCKET, S3Server

pytestmark = pytest.mark.usefixtures("silent_meters")


class Bucket:
    """A dataset on S3 under a prefix of its own."""

    def __init__(self, prefix: str) -> None:
        self.uri = f"s3://{BUCKET}/{prefix}"
        self.store = open_store(self.uri)

    def put(self, key: str, path: Path) -> str:
        self.store.upload(path, key)
        return f"{self.uri}/{key}"


@pytest.fixture
def bucket(s3_server: S3Server, tmp_path: Path) -> Bucket:
    return Bucket(tmp_path.name)


def run(work: Path, *sources: Source, said: list[str] | None = None) -> list[StagedSource]:
    """`stage`, with what it says collected."""
    lines: list[str] = [] if said is None else said
    return stage(sources, work, lines.append)


def test_local_folders_are_used_where_they_are(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "data")
    source = Source(str(folder / "images"), str(folder / "annotations.json"))
    said: list[str] = []
    [staged] = run(tmp_path / "work", source, said=said)
    assert staged.images == Folder(folder / "images")
    assert staged.annotations == folder / "annotations.json"
    assert said == []
    assert list((tmp_path / "work").iterdir()) == []


def test_a_local_archive_is_read_once(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "data")
    archive = an_archive(tmp_path / "images.tar.gz")
    source = Source(str(archive), str(folder / "annotations.json"))
    said: list[str] = []
    [first] = run(tmp_path / "work", source, said=said)
    assert said == [f"Reading {archive} ({archive.stat().st_size} B)"]
    assert len(load_coco([first]).images) == 3
    assert run(tmp_path / "work", source, said=said) == [first]
    assert len(said) == 1, "the second time nothing is read"
    archive.unlink()
    an_archive(archive, count=4)
    [changed] = run(tmp_path / "work", source, said=said)
    assert len(said) == 2
    assert changed.images.find("4.jpg")
    assert changed.digest != first.digest


def test_an_archive_that_an_earlier_release_noted_is_read_anew(tmp_path: Path) -> None:
    """Its SHA-256 stands for nothing here: of one archive there must not be two digests."""
    folder, work = a_folder(tmp_path / "data"), tmp_path / "work"
    archive = an_archive(tmp_path / "images.tar")
    source = Source(str(archive), str(folder / "annotations.json"))
    [first] = run(work, source)
    [note] = (work / "notes").iterdir()
    content = json.loads(note.read_bytes())
    now = content.pop("blake3")
    before = hashlib.sha256(archive.read_bytes()).hexdigest()
    for name in ("content/{}.tar", "indexes/{}.json"):
        (work / name.format(now)).rename(work / name.format(before))
    note.write_text(json.dumps(content | {"sha256": before}))
    said: list[str] = []
    assert run(work, source, said=said) == [first]
    assert said == [f"Reading {archive} ({archive.stat().st_size / 1024:.1f} KB)"]
    assert (work / f"content/{now}.tar").read_bytes() == archive.read_bytes()


def test_an_s3_archive_is_downloaded_once_and_read_in_place(bucket: Bucket, tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "data")
    source = Source(
        bucket.put("t/images.tar.gz", an_archive(tmp_path / "images.tar.gz")),
        bucket.put("t/annotations.json", folder / "annotations.json"),
    )
    said: list[str] = []
    [staged] = run(tmp_path / "work", source, said=said)
    assert len(load_coco([staged]).images) == 3
    kept = [path for path in (tmp_path / "work" / "content").rglob("*") if path.is_file()]
    assert [path.suffix for path in kept] == [".tar"], "one file, however many images"
    assert not list((tmp_path / "work").rglob("*.jpg"))
    size = (tmp_path / "images.tar.gz").stat().st_size
    assert said == [
        f"Downloading {source.json_file}",
        f"Downloading {source.image_dir} ({size} B)",
    ]
    again = run(tmp_path / "work", source, source, said=said)
    assert again == [staged, staged]
    assert len(said) == 2
    local = Source(str(tmp_path / "images.tar.gz"), str(folder / "annotations.json"))
    assert run(tmp_path / "w2", local)[0].digest == staged.digest, "the place does not matter"


def test_of_an_s3_folder_only_the_listed_images_come(bucket: Bucket, tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "data", 30)
    for path in sorted((folder / "images").iterdir()):
        bucket.put(f"raw/images/{path.name}", path)
    (tmp_path / "other").write_bytes(jpeg())
    bucket.put("raw/images/other.jpg", tmp_path / "other")
    annotations = bucket.put("raw/annotations.json", folder / "annotations.json")
    source = Source(f"{bucket.uri}/raw/images/", annotations)
    said: list[str] = []
    [staged] = run(tmp_path / "work", source, said=said)
    assert len(load_coco([staged]).images) == 30
    assert isinstance(staged.images, Folder)
    assert str(staged.images) == f"{bucket.uri}/raw/images/"
    assert len(list(staged.images.root.iterdir())) == 30
    assert run(tmp_path / "work", source, said=said) == [staged]
    assert len(said) == 2, said
    bucket.put("raw/images/7.jpg", tmp_path / "other")
    old = staged.images.find("7.jpg")
    assert old
    before = old.read_bytes()
    [changed] = run(tmp_path / "work", source, said=said)
    assert "Downloading 1 images" in said[-1]
    new = changed.images.find("7.jpg")
    assert new
    assert new.read_bytes() == jpeg()
    assert old.read_bytes() == before, "another job may be reading it"


def test_an_image_that_an_archive_lacks_is_named(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "data", 3)
    archive = an_archive(tmp_path / "images.tar", count=2)
    source = Source(str(archive), str(folder / "annotations.json"))
    with pytest.raises(TrainerError, match=r"1 of 3 .* not in images/ of .*images\.tar: 3\.jpg"):
        load_coco(run(tmp_path / "work", source))


def test_an_image_that_is_missing_on_s3_is_named(bucket: Bucket, tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "data", 3)
    for i in (1, 3):
        bucket.put(f"raw/images/{i}.jpg", folder / "images" / f"{i}.jpg")
    source = Source(f"{bucket.uri}/raw/images", str(folder / "annotations.json"))
    with pytest.raises(TrainerError, match=r"1 of 3 images.*2\.jpg"):
        load_coco(run(tmp_path / "work", source))


def test_a_stop_ends_the_copying(bucket: Bucket, tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "data")
    archive = bucket.put("t/images.tar.gz", an_archive(tmp_path / "images.tar.gz"))
    stop = threading.Event()

    def stopped_when_it_starts(line: str) -> None:
        assert line.startswith("Downloading")
        stop.set()

    source = Source(archive, str(folder / "annotations.json"))
    with pytest.raises(TrainerError, match="Stopped while downloading") as caught:
        stage([source], tmp_path / "work", stopped_when_it_starts, stop)
    assert caught.value.exit_code == 143
    assert not [path for path in (tmp_path / "work").rglob("*") if path.is_file()]


def test_a_full_disk_is_noticed_before_the_download(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = a_folder(tmp_path / "data")
    archive = bucket.put("t/images.tar.gz", an_archive(tmp_path / "images.tar.gz"))
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr("dino_trainer.storage.files.shutil.disk_usage", lambda _: usage)
    with pytest.raises(TrainerError, match="has 100 free") as caught:
        run(tmp_path / "work", Source(archive, str(folder / "annotations.json")))
    assert caught.value.exit_code == 74


REFUSED = {
    "no images named": ("", "{data}/annotations.json", 64, "has no image_dir"),
    "no annotations named": ("{data}/images", "", 64, "has no json_file"),
    "no such folder": ("{data}/pictures", "{data}/annotations.json", 66, "no folder or archive"),
    "no such archive": ("{data}/x.tar.gz", "{data}/annotations.json", 66, "x.tar.gz"),
    "no such annotations": ("{data}/images", "{data}/x.json", 66, "no file"),
    "annotations are a folder": ("{data}/images", "{data}/images", 66, "no file"),
    "images are a file": ("{data}/annotations.json", "{data}/annotations.json", 65, "neither a"),
    "no such S3 archive": (f"s3://{BUCKET}/no.tar.gz", "{data}/annotations.json", 66, "no object"),
    "no such S3 folder": (f"s3://{BUCKET}/no", "{data}/annotations.json", 66, "holds none of the"),
    "no such bucket": ("s3://gone/a.tar.gz", "{data}/annotations.json", 66, "no bucket gone"),
    "another scheme": ("aws://b/a.tar.gz", "{data}/annotations.json", 64, "not supported"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_staged(case: str, tmp_path: Path, s3_server: S3Server) -> None:
    images, annotations, code, words = REFUSED[case]
    data = a_folder(tmp_path / "data")
    source = Source(images.format(data=data), annotations.format(data=data))
    with pytest.raises(TrainerError, match=words) as caught:
        run(tmp_path / "work", source)
    assert caught.value.exit_code == code
