"""Headers of a .tar read in short are what the library reads, whatever is in them."""

from __future__ import annotations

import io
import random
import tarfile
from typing import Any

import pytest

from dino_trainer.data.tar_headers import ForwardTar, Header

NAMES = ("1.jpg", "images/1.jpg", "ü/ä.jpg", "n" * 100, "n" * 99, "d/" * 60 + "1.jpg", "x" * 300)
FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def archive(format: int, **changes: Any) -> bytes:
    """A .tar of small files, with whatever name the format can have."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=format) as tar:
        for place, name in enumerate(NAMES):
            info = tarfile.TarInfo(name)
            info.size, info.mtime = 3 + 600 * place, 1_700_000_000 + place
            for key, value in changes.items():
                setattr(info, key, value)
            try:
                tar.addfile(info, io.BytesIO(bytes(info.size)))
            except ValueError:  # a name that ustar has no room for
                continue
    return made.getvalue()


def members(content: bytes, headers: type[tarfile.TarInfo]) -> list[Any] | str:
    """What is taken from each header; the error where the archive is refused."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:", tarinfo=headers) as tar:
            return [(m.name, m.size, m.type, m.linkname, m.offset_data, m.sparse) for m in tar]
    except (tarfile.TarError, OverflowError, ValueError) as error:
        return f"{type(error).__name__} {error}"


class Ahead(io.BytesIO):
    """Forward only, in pieces: what lies behind a piece's border is not at hand."""

    piece = 700

    def seek(self, target: int, whence: int = 0, /) -> int:
        assert target >= self.tell()
        if target > len(self.getvalue()):
            raise EOFError("unexpected end of data")
        return super().seek(target)

    def peek(self, size: int, /) -> bytes:
        at = self.tell()
        whole = at % self.piece + size <= self.piece
        data = self.getvalue()[at : at + size]
        return data if whole and len(data) == size else b""


def read_forward(content: bytes) -> list[Any] | str:
    """As `members`, by the reader of archives that come."""
    try:
        tar = ForwardTar(Ahead(content))
        seen = []
        while m := tar.next():
            seen.append((m.name, m.size, m.type, m.linkname, m.offset_data, m.sparse))
    except EOFError as error:
        return f"ReadError {error}"
    except (tarfile.TarError, OverflowError, ValueError) as error:
        return f"{type(error).__name__} {error}"
    return seen


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"uid": 2_500_000, "gid": 2**22},
        {"uname": "jürgen", "gname": "x" * 32},
        {"mtime": 1_700_000_000.5},
        {"mtime": 0, "mode": 0},
        {"type": tarfile.CONTTYPE},
        {"pax_headers": {"comment": "by a camera"}},
    ],
    ids=str,
)
def test_archives_of_tools(format: int, changes: dict[str, Any]) -> None:
    content = archive(format, **changes)
    assert members(content, Header) == members(content, tarfile.TarInfo)
    assert read_forward(content) == members(content, tarfile.TarInfo)
    has_room = format != tarfile.USTAR_FORMAT or "uid" not in changes
    assert len(members(content, Header)) > 4 or not has_room


def test_other_kinds_of_members() -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo("folder/")
            info.type, info.linkname = kind, "elsewhere"
            tar.addfile(info)
    assert members(made.getvalue(), Header) == members(made.getvalue(), tarfile.TarInfo)


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_broken_headers(format: int) -> None:
    """Each byte of a header in turn, with its checksum corrected half of the time."""
    plain, chance = bytearray(archive(format)[:1536]), random.Random(format)
    for at in range(512):
        broken = bytearray(plain)
        broken[at] = chance.choice([0, 32, 48, 55, 56, 0o200, 0o377, chance.randrange(256)])
        if chance.random() < 0.5:
            broken[148:156] = b" " * 8
            broken[148:156] = b"%06o\0 " % sum(broken[:512])
        want = members(bytes(broken), tarfile.TarInfo)
        assert members(bytes(broken), Header) == want, at
        assert read_forward(bytes(broken)) == want, at


def test_a_plain_file_is_read_in_short(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    library = tarfile.TarInfo.frombuf.__func__  # type: ignore[attr-defined]

    def frombuf(cls: type[tarfile.TarInfo], buf: bytes, *more: str) -> tarfile.TarInfo:
        asked.append(buf)
        return library(cls, buf, *more)  # type: ignore[no-any-return]

    content = archive(tarfile.GNU_FORMAT)
    monkeypatch.setattr(tarfile.TarInfo, "frombuf", classmethod(frombuf))
    found = members(content, Header)
    short = [name for name in NAMES if len(name.encode()) <= 100]
    assert len(found) == len(NAMES)
    # The end mark, and of each longer name the header that announces it.
    assert len(asked) == 1 + len(NAMES) - len(short)


def test_what_is_said_of_all_that_follows_is_the_librarys_work() -> None:
    """A header for every member may change size and name of each."""
    made = io.BytesIO()
    with tarfile.open(
        fileobj=made, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "of all"}
    ) as tar:
        for n in range(3):
            tar.addfile(tarfile.TarInfo(f"{n}.jpg"))
    assert read_forward(made.getvalue()) == members(made.getvalue(), tarfile.TarInfo)
    tar = ForwardTar(Ahead(made.getvalue()))
    assert [member.pax_headers for member in iter(tar.next, None)] == [{"comment": "of all"}] * 3


@pytest.mark.parametrize("left", [0, 100, 512, 1000, 1024, 1500, 1536, 2000])
def test_archives_that_end_early(left: int) -> None:
    content = archive(tarfile.GNU_FORMAT)[:left]
    assert read_forward(content) == members(content, tarfile.TarInfo)
