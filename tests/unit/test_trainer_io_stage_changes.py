"""Staging from S3 while others write there, and what a power cut has left in the cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dino_trainer.data import listed_images, pictures
from dino_trainer.data.coco import load_coco
from dino_trainer.data.image_store import Folder
from dino_trainer.data.pictures import find_pictures
from dino_trainer.data.stage import stage
from dino_trainer.errors import TrainerError
from dino_trainer.storage.local import LocalStore
from dino_trainer.storage.s3 import S3Store
from dino_trainer.storage.store import StoreEntry
from tests.unit.coco_builders import Source, a_folder, jpeg
from tests.unit.s3_server import BUCKET, S3Server


def quiet(_: str) -> None:
    """Says nothing."""


@pytest.fixture
def source(s3_server: S3Server, tmp_path: Path) -> Source:
    """Three images and their annotations on S3."""
    folder, base = a_folder(tmp_path / "data", 3), f"s3://{BUCKET}/{tmp_path.name}"
    client = s3_server.client()
    for path in [folder / "annotations.json", *(folder / "images").iterdir()]:
        key = f"{tmp_path.name}/{path.relative_to(folder)}"
        client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
    return Source(f"{base}/images", f"{base}/annotations.json")


@pytest.mark.parametrize("large", [False, True])
def test_an_image_that_is_replaced_after_the_listing_is_not_taken_for_the_old_one(
    large: bool, source: Source, s3_server: S3Server, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """It was kept in the cache under the name of the old one, for all jobs to come."""
    client, key, listed = s3_server.client(), f"{tmp_path.name}/images/2.jpg", S3Store.list
    old = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    monkeypatch.setattr(listed_images, "PART", 1 if large else listed_images.PART)

    def replaced(self: S3Store, prefix: str = "") -> Iterator[StoreEntry]:
        yield from listed(self, prefix)
        client.put_object(Bucket=BUCKET, Key=key, Body=jpeg())

    with monkeypatch.context() as patch:
        patch.setattr(S3Store, "list", replaced)
        with pytest.raises(TrainerError, match=r"images/2\.jpg was replaced while it") as caught:
            stage([source], tmp_path / "work", quiet)
    assert caught.value.rule.retry == "counted"
    client.put_object(Bucket=BUCKET, Key=key, Body=old)
    [staged] = stage([source], tmp_path / "work", quiet)
    image = staged.images.find("2.jpg")
    assert image is not None
    assert image.read_bytes() == old


def test_annotations_that_are_replaced_meanwhile_are_not_kept(
    source: Source, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, key, download = (
        s3_server.client(),
        f"{tmp_path.name}/annotations.json",
        S3Store.download,
    )

    def replaced(self: S3Store, *more: Any) -> None:
        client.put_object(Bucket=BUCKET, Key=key, Body=b"{}")
        download(self, *more)

    monkeypatch.setattr(S3Store, "download", replaced)
    with pytest.raises(TrainerError, match=r"annotations\.json was replaced while it"):
        stage([source], tmp_path / "work", quiet)
    assert not list((tmp_path / "work").rglob("annotations.json"))


def test_what_a_power_cut_has_cut_is_downloaded_again(source: Source, tmp_path: Path) -> None:
    """It was damage of the data, which no upload could mend, as the cache has it by its name."""
    [first] = stage([source], tmp_path / "work", quiet)
    image = first.images.find("2.jpg")
    assert image is not None
    whole = image.read_bytes()
    os.truncate(image, 10)  # type: ignore[arg-type]  # a file of a folder is a path
    os.truncate(first.annotations, 0)
    [again] = stage([source], tmp_path / "work", quiet)
    assert again == first
    assert image.read_bytes() == whole
    assert len(load_coco([again]).images) == 3


def test_keys_that_lead_out_of_their_folder_are_no_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of `photos//b.jpg`, the folder `photos` holds `/b.jpg`, which is a file of the machine."""
    inside = tmp_path / "bucket" / "photos"
    inside.mkdir(parents=True)
    for path in (inside / "a.jpg", tmp_path / "bucket" / "c.jpg", tmp_path / "b.jpg"):
        path.write_bytes(jpeg())

    class OddStore(LocalStore):
        def list(self, prefix: str = "") -> Iterator[StoreEntry]:
            for key in ("a.jpg", f"{tmp_path}/b.jpg", "../c.jpg"):
                stat = (self.root / key).stat()
                yield StoreEntry(key, stat.st_size, f"{stat.st_size}-{stat.st_mtime_ns}")

    for module in (pictures, listed_images):
        monkeypatch.setattr(module, "open_store", lambda *_: OddStore(inside))
    before = sorted(tmp_path.glob("*"))
    listing = find_pictures(["s3://bucket/photos"], tmp_path / "work", quiet)
    assert [picture.path for picture in listing.pictures] == ["a.jpg"]
    assert listing.lost == (f"{tmp_path}/b.jpg",)  # the other one is hidden, as all with a dot
    assert sorted(tmp_path.glob("*")) == sorted([*before, tmp_path / "work"])
    assert Folder(inside).find("../c.jpg") is None
