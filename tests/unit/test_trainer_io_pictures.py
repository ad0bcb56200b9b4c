"""Images without annotations: which files count, in which order, under which names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dino_trainer.data.pictures import (
    Picture,
    PictureListing,
    find_pictures,
    is_picture,
    natural_order,
)
from dino_trainer.errors import TrainerError
from dino_trainer.storage.opening import open_store
from tests.unit.coco_builders import pack
from tests.unit.s3_server import BUCKET, S3Server

FILES = ("a/img10.JPG", "a/img2.jpeg", "b/deep/z.webp", "b/x.png", "top.bmp")
OTHERS = (
    "a/notes.txt",
    "b/.hidden.png",
    ".cache/x.png",
    "__MACOSX/a/img2.jpeg",
    "a/photo.heic",
    "noending",
)
ORDER = ["a/img2.jpeg", "a/img10.JPG", "b/deep/z.webp", "b/x.png", "top.bmp"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files whose content is their own name."""
    root = tmp_path / "photos"
    for name in (*FILES, *OTHERS):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def gathered(sources: list[str], work: Path) -> PictureListing:
    return find_pictures(sources, work, lambda _: None)


def found(sources: list[str], work: Path) -> list[Picture]:
    return gathered(sources, work).pictures


def paths(sources: list[str], work: Path) -> list[str]:
    """Of the pictures; what is left out of them is the same wherever they lie."""
    both = gathered(sources, work)
    pictures = both.pictures
    assert {Path(path).name for path in both.left_out} == {"notes.txt", "photo.heic", "noending"}
    assert all(one.path.endswith(one.read_bytes().decode()) for one in pictures)
    assert all(one.name == Path(one.path).name for one in pictures)
    return [one.path for one in pictures]


def test_all_images_below_a_folder_in_natural_order(folder: Path, tmp_path: Path) -> None:
    assert paths([str(folder)], tmp_path / "work") == ORDER
    assert natural_order(["b", "a10", "A2", "a02", "1"]) == ["1", "A2", "a02", "a10", "b"]
    odd = ["1", "1²2", "9" * 5000]
    assert natural_order(reversed(odd)) == odd, "digits that are no numbers of Python's"
    assert not is_picture("jpg")


def test_a_link_that_leads_back_up_brings_nothing_twice(folder: Path, tmp_path: Path) -> None:
    os.symlink("..", folder / "b/loop")
    os.symlink(folder / "b/deep", folder / "linked")
    own = [*ORDER[:4], "linked/z.webp", ORDER[4]]
    assert [picture.path for picture in found([str(folder)], tmp_path / "work")] == own


def test_an_archive_gives_the_same(tmp_path: Path) -> None:
    members = [(name, name.encode()) for name in (*FILES, *OTHERS)]
    assert paths([str(pack(tmp_path / "photos.tar.gz", members))], tmp_path / "work") == ORDER


def test_a_folder_on_s3_gives_the_same(folder: Path, tmp_path: Path, s3_server: S3Server) -> None:
    store = open_store(f"s3://{BUCKET}/photos")
    for name in (*FILES, *OTHERS):
        store.upload(folder / name, name)
    assert paths([f"s3://{BUCKET}/photos"], tmp_path / "work") == ORDER


def test_several_sources_keep_their_paths_where_they_can(folder: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    (more / "own.png").write_text("own.png")
    assert paths([str(folder), str(more)], tmp_path / "work") == [*ORDER, "own.png"]
    (more / "top.bmp").write_text("top.bmp")
    both = paths([str(folder), f"{more}/"], tmp_path / "work")
    assert both == [*(f"photos/{path}" for path in ORDER), "more/own.png", "more/top.bmp"]
    twice = paths([str(folder), str(folder)], tmp_path / "work")
    assert len(set(twice)) == 10
    assert (twice[0], twice[5]) == ("1-photos/a/img2.jpeg", "2-photos/a/img2.jpeg")


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    names = [*(f"{n}.HEIC" for n in range(7)), "a.jpg", "b.tif", "c.jfif", "d.gif", "notes.txt"]
    for name in names:
        (tmp_path / name).touch()
    one = gathered([str(tmp_path)], tmp_path / ".work")
    assert [picture.path for picture in one.pictures] == ["a.jpg", "b.tif", "c.jfif", "d.gif"]
    assert one.omissions == (
        "8 files are left out, not ending as images do (7 .heic, 1 .txt): 0.HEIC, 1.HEIC, 2.HEIC, "
        "3.HEIC, 4.HEIC and 3 more."
    )
    assert PictureListing([]).omissions is None
    assert (PictureListing([], ("x",)).omissions or "").startswith("1 file is left out")
    for name in ("a.jpg", "b.tif", "c.jfif", "d.gif"):
        (tmp_path / name).unlink()
    with pytest.raises(TrainerError, match=r"or the like, but there are 7 \.heic, 1 \.txt\."):
        gathered([str(tmp_path)], tmp_path / ".work")


def test_what_is_not_there_or_holds_no_image(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source, reason, said in (
        ("nowhere", "InputNotFound", "There is no folder or archive"),
        ("nowhere.tar", "InputNotFound", "nowhere.tar"),
        ("empty", "InvalidDataset", "holds no image: no file there ends in .jpg"),
    ):
        with pytest.raises(TrainerError, match=said) as refused:
            found([str(tmp_path / source)], tmp_path / "work")
        assert refused.value.reason == reason
    with pytest.raises(TrainerError, match="No images are named"):
        found([], tmp_path / "work")
