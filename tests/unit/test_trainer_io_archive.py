"""Archives: the honest ones come out whole, every other one is refused with a reason."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from coco_builders import an_archive, jpeg, member, pack

from dino_trainer.data.archive import extract, image_root, is_archive, stem
from dino_trainer.errors import TrainerError


@pytest.mark.parametrize("name", ["images.tar.gz", "images.tgz", "images.tar"])
def test_an_honest_archive_comes_out_whole(name: str, tmp_path: Path) -> None:
    archive = an_archive(tmp_path / name)
    moved: list[int] = []
    digest = extract(archive, tmp_path / "out", moved=moved.append)
    assert sorted(p.name for p in (tmp_path / "out" / "images").iterdir()) == [
        "1.jpg",
        "2.jpg",
        "3.jpg",
    ]
    assert (tmp_path / "out/images/1.jpg").read_bytes() == jpeg(40)
    assert digest == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert sum(moved) == archive.stat().st_size


def test_what_the_tar_program_packs(tmp_path: Path) -> None:
    """Folders, ./ in front, long names, letters beyond ASCII: as people's archives are."""
    deep = tmp_path / "in" / "images" / ("long" * 40) / "älter"
    deep.mkdir(parents=True)
    (deep / "é.jpg").write_bytes(jpeg())
    (deep / "empty").write_bytes(b"")
    archive = tmp_path / "images.tar.gz"
    subprocess.run(["tar", "-czf", archive, "-C", tmp_path / "in", "."], check=True)
    extract(archive, tmp_path / "out")
    found = tmp_path / "out" / deep.relative_to(tmp_path / "in")
    assert (found / "é.jpg").read_bytes() == jpeg()
    assert (found / "empty").read_bytes() == b""


def test_a_gzip_archive_may_be_called_tar(tmp_path: Path) -> None:
    archive = an_archive(tmp_path / "a.tar.gz")
    extract(archive.rename(tmp_path / "a.tar"), tmp_path / "out")
    assert (tmp_path / "out/images/1.jpg").exists()


HOSTILE = {
    "a name that leaves the folder": ("../evil.jpg", "leaves the folder"),
    "a name that leaves it further inside": ("images/../../evil.jpg", "leaves the folder"),
    "an absolute name": ("/tmp/evil.jpg", "absolute path"),
    "a symbolic link": (member("link", tarfile.SYMTYPE, "/etc/passwd"), "symbolic link"),
    "a symbolic link to a folder": (member("images", tarfile.SYMTYPE, ".."), "symbolic link"),
    "a hard link": (member("link", tarfile.LNKTYPE, "/etc/passwd"), "hard link"),
    "a hard link to a member": (member("link", tarfile.LNKTYPE, "images/1.jpg"), "hard link"),
    "a character device": (member("null", tarfile.CHRTYPE), "neither a file nor a folder"),
    "a block device": (member("disk", tarfile.BLKTYPE), "neither a file nor a folder"),
    "a pipe": (member("pipe", tarfile.FIFOTYPE), "neither a file nor a folder"),
    "a name that stands twice": ("images/1.jpg", "twice"),
    "a file where a folder was": ("images", "both a file and a folder"),
    "a file in a file": ("images/1.jpg/2.jpg", "both a file and a folder"),
    "no name at all": (".", "no usable name"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_members_are_refused(case: str, tmp_path: Path) -> None:
    odd, words = HOSTILE[case]
    archive = pack(tmp_path / "in" / "a.tar.gz", [("images/1.jpg", jpeg()), (odd, b"")])
    with pytest.raises(TrainerError, match=words) as caught:
        extract(archive, tmp_path / "work" / "out", name="s3://b/a.tar.gz")
    assert caught.value.exit_code == 65
    assert "s3://b/a.tar.gz" in caught.value.message
    assert not Path("/tmp/evil.jpg").exists()
    assert list((tmp_path / "work").iterdir()) == [], "nothing of it stays"
    assert not list(tmp_path.glob("evil*"))


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar"])
@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9, -512, -700, -1030])
def test_a_truncated_archive_is_refused(name: str, keep: float, tmp_path: Path) -> None:
    """At whatever place it ends; a negative `keep` is a number of bytes that are missing."""
    archive = pack(tmp_path / name, [(f"{i}.jpg", os.urandom(700)) for i in range(20)])
    data = archive.read_bytes()
    if name == "a.tar":
        # What follows the end mark is padding: an archive without it is whole.
        data = data[: 20 * 1536 + 512]
    archive.write_bytes(data[: int(keep) if keep < 0 else int(len(data) * keep)])
    with pytest.raises(TrainerError, match="damaged or ends early") as caught:
        extract(archive, tmp_path / "out")
    assert caught.value.exit_code == 65
    assert not (tmp_path / "out").exists()


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tar.gz", [("1.jpg", os.urandom(50_000))])
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    with pytest.raises(TrainerError, match="damaged") as caught:
        extract(archive, tmp_path / "out")
    assert caught.value.exit_code == 65


NOT_ARCHIVES = {"text": b"hello", "zeros": bytes(10_000), "gzip of text": gzip.compress(b"hello")}


@pytest.mark.parametrize("case", NOT_ARCHIVES)
def test_what_is_no_archive(case: str, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(NOT_ARCHIVES[case])
    with pytest.raises(TrainerError) as caught:
        extract(tmp_path / "a.tar.gz", tmp_path / "out")
    assert caught.value.exit_code == 65


def test_an_empty_archive(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="holds no files"):
        extract(pack(tmp_path / "a.tar.gz", []), tmp_path / "out")


def test_a_bomb_is_refused_before_it_fills_the_disk(tmp_path: Path) -> None:
    """A header that promises more than the disk has is believed, not tried."""
    info = tarfile.TarInfo("huge.jpg")
    info.size = 1 << 50
    with gzip.open(tmp_path / "a.tar.gz", "wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT) + bytes(10_000))
    with pytest.raises(TrainerError, match="than the disk of") as caught:
        extract(tmp_path / "a.tar.gz", tmp_path / "out")
    assert caught.value.exit_code == 74


def test_a_header_of_gigabytes_does_not_fill_the_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 32
    with gzip.open(tmp_path / "a.tar.gz", "wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20))
    with pytest.raises(TrainerError, match="a header of 4294967296 bytes") as caught:
        extract(tmp_path / "a.tar.gz", tmp_path / "out")
    assert caught.value.exit_code == 65


def test_endless_padding_is_refused(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.tar.gz", "wb", compresslevel=1) as file:
        file.write(tarfile.TarInfo("1.jpg").tobuf())
        for _ in range(80):
            file.write(bytes(1 << 20))
    with pytest.raises(TrainerError, match="more data follows the end mark"):
        extract(tmp_path / "a.tar.gz", tmp_path / "out")


def test_a_disk_that_is_known_to_be_too_small(small_disk: Path, tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tar.gz", [(f"{i}.jpg", bytes(1 << 20)) for i in range(8)])
    with pytest.raises(TrainerError, match="than the disk of") as caught:
        extract(archive, small_disk / "out", reserve=0)
    assert caught.value.exit_code == 74
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_fills_up_meanwhile(small_disk: Path, tmp_path: Path) -> None:
    """Somebody else writes: the system's own ENOSPC ends as DiskFull, and nothing stays."""
    archive = pack(tmp_path / "a.tar.gz", [("1.jpg", bytes(1000)), ("2.jpg", bytes(2 << 20))])
    with pytest.raises(TrainerError, match="No space left") as caught:
        extract(
            archive,
            small_disk / "out",
            reserve=0,
            moved=lambda _: (small_disk / "other").write_bytes(bytes(3 << 20)),
        )
    assert caught.value.exit_code == 74
    assert [path.name for path in small_disk.iterdir()] == ["other"]


ROOTS = {
    "images/": ("images/", "photos.tar.gz", "images"),
    "the archive's stem": ("photos/", "s3://b/photos.tar.gz", "photos"),
    "the archive's root": ("", "photos.tar.gz", "."),
    "a folder of the names' own": ("sub/", "photos.tar.gz", "."),
}


@pytest.mark.parametrize("case", ROOTS)
def test_where_the_images_start(case: str, tmp_path: Path) -> None:
    prefix, archive_name, want = ROOTS[case]
    extract(an_archive(tmp_path / "a.tar.gz", prefix), tmp_path / "out")
    names = [f"{'sub/' if prefix == 'sub/' else ''}{i}.jpg" for i in (9, 3)]
    assert image_root(tmp_path / "out", archive_name, names) == tmp_path / "out" / want


def test_the_names_decide_between_two_folders(tmp_path: Path) -> None:
    extract(an_archive(tmp_path / "a.tar.gz", "images/"), tmp_path / "out")
    shutil.copytree(tmp_path / "out/images", tmp_path / "out/photos/images")
    root = image_root(tmp_path / "out", "photos.tar.gz", ["images/1.jpg"])
    assert root == tmp_path / "out/photos"


def test_names_of_archives() -> None:
    assert stem("s3://b/a/images.tar.gz") == "images"
    assert stem("IMAGES.TGZ") == "IMAGES"
    assert is_archive("s3://b/x.tar")
    assert not is_archive("s3://b/images")
    assert not is_archive("images.zip")
