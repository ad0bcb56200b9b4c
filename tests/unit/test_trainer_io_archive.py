"""Archives: the honest ones come out whole, every other one is refused with a reason."""

from __future__ import annotations

import gzip
import hashlib
import io
import multiprocessing
import os
import random
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest
from blake3 import blake3

from dino_trainer.data.archive import take_in
from dino_trainer.data.archive_root import image_root
from dino_trainer.data.image_store import ArchivedImages, Index, Member
from dino_trainer.data.packing import is_archive, slow_gzip, stem, useless_gzip
from dino_trainer.errors import TrainerError
from tests.unit.coco_builders import an_archive, jpeg, member, pack


@pytest.mark.parametrize("name", ["images.tar.gz", "images.tgz", "images.tar"])
def test_an_honest_archive_can_be_read(name: str, tmp_path: Path) -> None:
    archive = an_archive(tmp_path / name)
    moved: list[int] = []
    digest, index = take_in(archive, tmp_path / "out.tar", moved=moved.append)
    assert list(index.files) == ["images/1.jpg", "images/2.jpg", "images/3.jpg"]
    images = ArchivedImages(tmp_path / "out.tar", index, "images")
    for n in (1, 2, 3):
        file = images.find(f"{n}.jpg")
        assert file is not None
        assert file.name == f"{n}.jpg"
        assert file.read_bytes() == jpeg(40 * n)
        assert images.size(f"{n}.jpg") == len(jpeg(40 * n))
    assert (images.find("4.jpg"), images.size("4.jpg")) == (None, -1)
    assert digest == blake3(archive.read_bytes()).hexdigest()
    assert sum(moved) == archive.stat().st_size
    assert [path.name for path in tmp_path.iterdir() if path != archive] == ["out.tar"]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
@pytest.mark.parametrize("most", [10_007, 1 << 30])
def test_an_archive_has_one_digest_however_it_comes(name: str, most: int, tmp_path: Path) -> None:
    """That of all its bytes, those behind its end too."""

    class InPieces(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or most, most))

    image = random.Random(0).randbytes(5 << 20)
    content = pack(tmp_path / name, [("1.jpg", image)]).read_bytes() + bytes(3 << 20)
    digest, index = take_in(InPieces(content), tmp_path / "out.tar")
    assert digest == blake3(content).hexdigest()
    assert list(index.files) == ["1.jpg"]


def test_what_is_kept_is_the_tar_to_the_last_byte(tmp_path: Path) -> None:
    """Other programs read it, too."""
    packed, plain = (an_archive(tmp_path / name, count=40) for name in ("a.tar.gz", "b.tar"))
    take_in(packed, tmp_path / "a.out")
    take_in(plain, tmp_path / "b.out")
    assert (tmp_path / "b.out").read_bytes() == plain.read_bytes()
    assert (tmp_path / "a.out").read_bytes() == gzip.decompress(packed.read_bytes())


@pytest.mark.parametrize("options", ["-cf", "-czf", "--format=pax -cf", "--format=v7 -cf"])
def test_what_the_tar_program_packs(options: str, tmp_path: Path) -> None:
    """Folders, ./ in front, long names, letters beyond ASCII: as people's archives are."""
    long = "" if "v7" in options else "long" * 40
    deep = tmp_path / "in" / "images" / long / "älter"
    deep.mkdir(parents=True)
    (deep / "é.jpg").write_bytes(jpeg())
    (deep / "empty").write_bytes(b"")
    archive = tmp_path / "images.tar"
    subprocess.run(["tar", *options.split(), archive, "-C", tmp_path / "in", "."], check=True)
    _, index = take_in(archive, tmp_path / "out.tar")
    images = ArchivedImages(
        tmp_path / "out.tar", index, deep.relative_to(tmp_path / "in").as_posix()
    )
    for name, content in (("é.jpg", jpeg()), ("empty", b"")):
        file = images.find(name)
        assert file is not None
        assert file.read_bytes() == content


def test_a_gzip_archive_may_be_called_tar(tmp_path: Path) -> None:
    archive = an_archive(tmp_path / "a.tar.gz")
    _, index = take_in(archive.rename(tmp_path / "a.tar"), tmp_path / "out.tar")
    assert "images/1.jpg" in index.files


def test_an_archive_that_became_shorter_is_an_error_and_no_half_image(tmp_path: Path) -> None:
    _, index = take_in(an_archive(tmp_path / "a.tar"), tmp_path / "out.tar")
    file = ArchivedImages(tmp_path / "out.tar", index).find("images/3.jpg")
    assert file is not None
    os.truncate(tmp_path / "out.tar", file.offset + 10)
    with pytest.raises(OSError, match=r"ends inside of images/3\.jpg"):
        file.read_bytes()


def test_processes_read_one_archive_at_once(tmp_path: Path) -> None:
    """Forked ones: no place in the file is shared between them."""
    contents = [os.urandom(30_000 + n) for n in range(40)]
    members = [(f"{n}.jpg", content) for n, content in enumerate(contents)]
    _, index = take_in(pack(tmp_path / "a.tar", list(members)), tmp_path / "out.tar")
    images = ArchivedImages(tmp_path / "out.tar", index)
    found = [images.find(f"{n}.jpg") for n in range(40)] * 25
    digests = [hashlib.sha256(content).digest() for content in contents] * 25
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert pool.map(_digest, found, chunksize=10) == digests


def _digest(file: Member) -> bytes:
    return hashlib.sha256(file.read_bytes()).digest()


def test_an_index_is_read_as_it_was_written(tmp_path: Path) -> None:
    index = Index({"images/\udce9.jpg": (512, 7), "b": (0, 0)})
    index.write(tmp_path / "index.json")
    assert Index.read(tmp_path / "index.json") == index
    for damaged in ("", "{", "[1]", '{"files": {"a": 1}}', '{"files": {"a": ["x", 2]}}'):
        (tmp_path / "index.json").write_text(damaged)
        assert Index.read(tmp_path / "index.json") is None


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
        take_in(archive, tmp_path / "work" / "out", name="s3://b/a.tar.gz")
    assert caught.value.exit_code == 65
    assert "s3://b/a.tar.gz" in caught.value.message
    assert not Path("/tmp/evil.jpg").exists()
    assert list((tmp_path / "work").iterdir()) == [], "nothing of it stays"
    assert not list(tmp_path.glob("evil*"))


SPELLINGS = {
    "./images/1.jpg": "images/1.jpg",
    "images//1.jpg": "images/1.jpg",
    "images/./1.jpg": "images/1.jpg",
    "images/...jpg": "images/...jpg",
    "..images/1.": "..images/1.",
    " /1.jpg": " /1.jpg",
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_name_is_the_shortest_of_its_spellings(name: str, tmp_path: Path) -> None:
    """So that one file cannot stand under two names."""
    _, index = take_in(pack(tmp_path / "a.tar", [(name, jpeg())]), tmp_path / "out")
    assert list(index.files) == [SPELLINGS[name]]
    twice = pack(tmp_path / "b.tar", [(SPELLINGS[name], jpeg()), (name, jpeg())])
    with pytest.raises(TrainerError, match="twice"):
        take_in(twice, tmp_path / "out")


@pytest.mark.parametrize("size", [511, 512, 513, 250_000])
@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_files_of_every_kind_of_name_lie_where_the_library_has_them(
    format: int, size: int, tmp_path: Path
) -> None:
    """Short names, long ones and folders in turns; headers over the borders of what is read."""
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w", format=format) as tar:
        for n in range(40):
            name = f"{n}.jpg" if n % 3 else f"{'long/' * 30}{n}.jpg"
            info = tarfile.TarInfo(name)
            info.size = size + n
            tar.addfile(info, io.BytesIO(os.urandom(info.size)))
            folder = tarfile.TarInfo(f"folder{n}")
            folder.type = tarfile.DIRTYPE
            tar.addfile(folder)
    _, index = take_in(archive, tmp_path / "out")
    with tarfile.open(archive) as tar:
        want = {one.name: (one.offset_data, one.size) for one in tar if one.isreg()}
    assert dict(index.files) == want
    assert len(want) == 40


def test_gzip_that_saves_nothing_is_spoken_of() -> None:
    """Not where the archive is small, gzip worth it, or only a wrapper around what it stored."""
    large = 1 << 30
    assert useless_gzip(int(0.99 * large), large)
    assert not useless_gzip(99, 100)
    assert not useless_gzip(int(0.9 * large), large)
    assert not useless_gzip(large, large), "no gzip at all"
    assert not useless_gzip(int(1.001 * large), large)
    words = slow_gzip("s3://b/my photos.tar.gz")
    assert words.startswith("s3://b/my photos.tar.gz is hardly smaller")
    assert words.endswith("tar -cf 'my photos.tar' images/")


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar"])
def test_a_stop_ends_the_reading_and_every_thread(name: str, tmp_path: Path) -> None:
    archive = pack(tmp_path / name, [(f"{n}.jpg", os.urandom(1 << 20)) for n in range(5)])

    def stopped(_: int) -> None:
        if set(threading.enumerate()) - before:
            seen.append(True)
        if len(seen) == 3:
            raise TrainerError("Preempted", "Stopped.")

    before, seen = set(threading.enumerate()), list[bool]()  # others' threads may end meanwhile
    with pytest.raises(TrainerError, match=r"Stopped\."):
        take_in(archive, tmp_path / "out", moved=stopped)
    assert set(threading.enumerate()) <= before
    assert list(tmp_path.iterdir()) == [archive]


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
        take_in(archive, tmp_path / "out")
    assert caught.value.exit_code == 65
    assert not (tmp_path / "out").exists()


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tar.gz", [("1.jpg", os.urandom(50_000))])
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    with pytest.raises(TrainerError, match="damaged") as caught:
        take_in(archive, tmp_path / "out")
    assert caught.value.exit_code == 65


NOT_ARCHIVES = {"text": b"hello", "zeros": bytes(10_000), "gzip of text": gzip.compress(b"hello")}


@pytest.mark.parametrize("case", NOT_ARCHIVES)
def test_what_is_no_archive(case: str, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(NOT_ARCHIVES[case])
    with pytest.raises(TrainerError) as caught:
        take_in(tmp_path / "a.tar.gz", tmp_path / "out")
    assert caught.value.exit_code == 65


def test_what_follows_the_end_mark_is_no_member(tmp_path: Path) -> None:
    """Also where the mark stands first, as in an empty archive that others were appended to."""
    plain = pack(tmp_path / "b.tar", [("1.jpg", jpeg())]).read_bytes()
    (tmp_path / "a.tar").write_bytes(bytes(512) + plain)
    with pytest.raises(TrainerError, match="holds no files"):
        take_in(tmp_path / "a.tar", tmp_path / "out")
    second = pack(tmp_path / "c.tar", [("2.jpg", jpeg())]).read_bytes()
    (tmp_path / "a.tar").write_bytes(plain + second)
    assert list(take_in(tmp_path / "a.tar", tmp_path / "out")[1].files) == ["1.jpg"]


def test_an_empty_archive(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="holds no files"):
        take_in(pack(tmp_path / "a.tar.gz", []), tmp_path / "out")


def test_a_bomb_is_refused_before_it_fills_the_disk(tmp_path: Path) -> None:
    """A header that promises more than the disk has is believed, not tried."""
    info = tarfile.TarInfo("huge.jpg")
    info.size = 1 << 50
    with gzip.open(tmp_path / "a.tar.gz", "wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT) + bytes(10_000))
    with pytest.raises(TrainerError, match="than the disk of") as caught:
        take_in(tmp_path / "a.tar.gz", tmp_path / "out")
    assert caught.value.exit_code == 74


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
@pytest.mark.parametrize(
    "size", [1 << 32, -(1 << 62), -512], ids=["large", "far below 0", "a block below 0"]
)
def test_a_header_of_gigabytes_does_not_fill_the_memory(
    size: int, kind: bytes, tmp_path: Path
) -> None:
    """Nor one below nothing, which would make room for it in what is counted."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = kind, size
    with gzip.open(tmp_path / "a.tar.gz", "wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20))
    with pytest.raises(TrainerError, match=f"a header of {size} bytes") as caught:
        take_in(tmp_path / "a.tar.gz", tmp_path / "out")
    assert caught.value.exit_code == 65


def test_endless_padding_is_refused(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.tar.gz", "wb", compresslevel=1) as file:
        file.write(tarfile.TarInfo("1.jpg").tobuf())
        for _ in range(80):
            file.write(bytes(1 << 20))
    with pytest.raises(TrainerError, match="more data follows the end mark"):
        take_in(tmp_path / "a.tar.gz", tmp_path / "out")


def test_a_disk_that_is_known_to_be_too_small(small_disk: Path, tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tar.gz", [(f"{i}.jpg", bytes(1 << 20)) for i in range(8)])
    with pytest.raises(TrainerError, match="than the disk of") as caught:
        take_in(archive, small_disk / "out", reserve=0)
    assert caught.value.exit_code == 74
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_fills_up_meanwhile(small_disk: Path, tmp_path: Path) -> None:
    """Somebody else writes: the system's own ENOSPC ends as DiskFull, and nothing stays."""
    archive = pack(tmp_path / "a.tar.gz", [("1.jpg", bytes(1000)), ("2.jpg", bytes(2 << 20))])
    with pytest.raises(TrainerError, match="No space left") as caught:
        take_in(
            archive,
            small_disk / "out",
            reserve=0,
            moved=lambda count: count and (small_disk / "other").write_bytes(bytes(3 << 20)),
        )
    assert caught.value.exit_code == 74
    assert [path.name for path in small_disk.iterdir()] == ["other"]


ROOTS = {
    "images/": ("images/", "photos.tar.gz", "images"),
    "the archive's stem": ("photos/", "s3://b/photos.tar.gz", "photos"),
    "the archive's root": ("", "photos.tar.gz", ""),
    "a folder of the names' own": ("sub/", "photos.tar.gz", ""),
}


@pytest.mark.parametrize("case", ROOTS)
def test_where_the_images_start(case: str) -> None:
    prefix, archive_name, want = ROOTS[case]
    index = Index({f"{prefix}{n}.jpg": (0, 0) for n in (1, 2, 3)})
    names = [f"{'sub/' if prefix == 'sub/' else ''}{i}.jpg" for i in (9, 3)]
    assert image_root(index, archive_name, names) == want


def test_the_names_decide_between_two_folders() -> None:
    index = Index({"images/1.jpg": (0, 0), "photos/images/1.jpg": (0, 0)})
    assert image_root(index, "photos.tar.gz", ["images/1.jpg"]) == "photos"


def test_without_any_name_the_likely_folder_is_named() -> None:
    assert image_root(Index({"photos/1.jpg": (0, 0)}), "photos.tar.gz", ["x.jpg"]) == "photos"
    assert image_root(Index({"other/1.jpg": (0, 0)}), "photos.tar.gz", ["x.jpg"]) == ""


def test_names_of_archives() -> None:
    assert stem("s3://b/a/images.tar.gz") == "images"
    assert stem("IMAGES.TGZ") == "IMAGES"
    assert is_archive("s3://b/x.tar")
    assert not is_archive("s3://b/images")
    assert not is_archive("images.zip")


def test_headers_without_end_are_refused(tmp_path: Path) -> None:
    """Each header of a long name is followed by one more; or one says where a sparse file has
    its parts, a million of them."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 4
    again = info.tobuf(tarfile.GNU_FORMAT) + b"abc".ljust(512, b"\0")
    (tmp_path / "chain.tar").write_bytes(again * 600 + bytes(10_240))
    sparse = tarfile.TarInfo("1.jpg")
    sparse.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    pack(tmp_path / "sparse.tar", [(sparse, b"1000000000\n" + b"0\n" * (1 << 20))])
    for name in ("chain.tar", "sparse.tar"):
        with pytest.raises(TrainerError, match="is damaged or ends early: a header") as caught:
            take_in(tmp_path / name, tmp_path / "out")
        assert caught.value.exit_code == 65


def test_a_name_that_no_system_opens(tmp_path: Path) -> None:
    """One of a hundred kilobytes would have fifty thousand folders before it."""
    archive = pack(tmp_path / "a.tar", [("d/" * 50_000 + "1.jpg", jpeg())])
    with pytest.raises(TrainerError, match="a name of 100005 characters"):
        take_in(archive, tmp_path / "out")
    archive = pack(tmp_path / "b.tar", [("d/" * 2000 + "1.jpg", jpeg())])
    _, index = take_in(archive, tmp_path / "out")
    assert list(index.files) == ["d/" * 2000 + "1.jpg"]


def test_what_is_said_of_every_member_does_not_pile_up(tmp_path: Path) -> None:
    """As `git archive` says its commit; not a hundred kilobytes of that."""
    for size, refused in ((1000, False), (100_000, True)):
        at, said = tmp_path / f"{size}.tar", {"comment": "c" * size}
        with tarfile.open(at, "w", format=tarfile.PAX_FORMAT, pax_headers=said) as tar:
            tar.addfile(tarfile.TarInfo("1.jpg"))
        if refused:
            with pytest.raises(TrainerError, match="are said of every member"):
                take_in(at, tmp_path / "out")
        else:
            assert list(take_in(at, tmp_path / "out")[1].files) == ["1.jpg"]


@pytest.mark.parametrize("key", ["GNU.sparse.size", "GNU.sparse.map", "GNU.sparse.realsize"])
def test_a_header_with_words_for_numbers(key: str, tmp_path: Path) -> None:
    info = tarfile.TarInfo("1.jpg")
    info.pax_headers = {key: "many"}
    archive = pack(tmp_path / "a.tar", [(info, jpeg())])
    with pytest.raises(TrainerError, match=r"a header that cannot be read \(ValueError\)"):
        take_in(archive, tmp_path / "out")
