"""The files below a folder: links, loops, and folders that cannot be read."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dino_trainer.data.folder_files import files_below
from dino_trainer.data.image_store import Folder
from dino_trainer.data.pictures import find_pictures
from dino_trainer.errors import TrainerError
from tests.unit.coco_builders import jpeg

NOBODY = 65534


def put(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(jpeg(9))
    return root


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where another user may look, which pytest's own folders do not let."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o777)
    yield place / "photos"
    shutil.rmtree(place)


@contextmanager
def as_a_user() -> Iterator[None]:
    """Without the rights of root, who may read everything."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def below(folder: Path) -> list[str]:
    """As all who list a folder see it."""
    listed = sorted(files_below(folder))
    assert sorted(Folder(folder).names()) == listed
    return listed


def test_files_however_deep(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b/c.jpg", "b/d/e.txt", ".hidden.jpg")
    (tmp_path / "empty").mkdir()
    assert below(tmp_path) == [".hidden.jpg", "a.jpg", "b/c.jpg", "b/d/e.txt"]


def test_links_out_of_the_folder_are_followed_as_reading_them_is(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", "1.jpg", "deep/2.jpg")
    photos = put(tmp_path / "photos", "0.jpg")
    (photos / "linked").symlink_to(tmp_path / "elsewhere")
    (photos / "one.jpg").symlink_to(tmp_path / "elsewhere/1.jpg")
    names = below(photos)
    assert names == ["0.jpg", "linked/1.jpg", "linked/deep/2.jpg", "one.jpg"]
    assert all(Folder(photos).find(name) for name in names)


def test_a_folder_that_is_itself_a_link(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", "1.jpg")
    (tmp_path / "photos").symlink_to("elsewhere")
    assert below(tmp_path / "photos") == ["1.jpg"]


LOOPS = {
    "to itself": {"a/loop": "."},
    "back up": {"a/loop": ".."},
    "to one another": {"a/loop": "../b", "b/loop": "../a"},
    "links that are nothing else": {"a/x": "y", "a/y": "x", "b/z": "z"},
}


@pytest.mark.parametrize("case", LOOPS)
def test_loops_end(case: str, tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "b/2.jpg")
    for place, target in LOOPS[case].items():
        (tmp_path / place).symlink_to(target)
    names = below(tmp_path)
    assert {"a/1.jpg", "b/2.jpg"} <= set(names)
    assert len(names) <= 5
    assert [one.path for one in find_pictures([str(tmp_path)], tmp_path / ".w", print).pictures]


def test_a_folder_that_cannot_be_read_is_named(folder: Path) -> None:
    """What is in it would be left out without a word."""
    put(folder, "a/1.jpg", "b/closed/2.jpg")
    (folder / "b/closed").chmod(0)
    for listing in (files_below, lambda root: Folder(root).names(), pictures):
        with as_a_user(), pytest.raises(TrainerError) as caught:
            list(listing(folder))
        assert caught.value.reason == "AccessDenied"
        assert f"Not allowed to use {folder}/b/closed: Permission denied." in str(caught.value)
    (folder / "b/closed").chmod(0o755)


def pictures(folder: Path) -> list[str]:
    work = folder.parent / "work"
    return [one.path for one in find_pictures([str(folder)], work, print).pictures]


@pytest.mark.parametrize("name", ["lost+found", ".Trash-0", "@eaDir", "$RECYCLE.BIN", "__MACOSX"])
def test_what_a_system_keeps_beside_is_not_looked_into(name: str, folder: Path) -> None:
    """The root of a volume has `lost+found`, which root alone may read."""
    put(folder, "1.jpg", f"{name}/1.jpg/thumb.jpg")
    (folder / name).chmod(0)
    with as_a_user():
        assert below(folder) == pictures(folder) == ["1.jpg"]
    (folder / name).chmod(0o755)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match=f"There is no {tmp_path}/no"):
        list(files_below(tmp_path / "no"))


def test_links_that_lead_nowhere_and_pipes_are_named(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(tmp_path / "pipe.png")
    found = find_pictures([str(tmp_path)], tmp_path / ".work", print)
    assert [one.path for one in found.pictures] == ["a.jpg"]
    assert found.lost == ("gone.jpg", "pipe.png")
    assert found.omissions == (
        "2 files are left out, a link that leads nowhere, a name that leads out of the folder, or "
        "no file at all: gone.jpg, pipe.png."
    )
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(TrainerError, match=r"gone\.jpg, pipe\.png: no file, or a link that leads"):
        find_pictures([str(tmp_path)], tmp_path / ".work", print)
