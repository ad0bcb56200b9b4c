"""Takes an image archive in as one plain .tar and an index of its files, without trusting it.

Nothing is unpacked. Only plain files and folders with sane relative names are indexed. Links,
devices, names that leave the folder, names that appear twice, sparse files and archives that end
early are refused as a whole: an archive with one hostile member is not a dataset. What is written
may not exceed the free disk.
"""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from typing import TypeVar, cast

from zlib_ng import zlib_ng

from dino_api.names import FailureReason
from dino_trainer.data.byte_streams import (
    PIECE,
    GzipReader,
    HashingReader,
    Readable,
    ReadAhead,
)
from dino_trainer.data.image_store import Index
from dino_trainer.data.packing import again, followed, other_by_content, pack
from dino_trainer.data.tar_headers import ForwardTar
from dino_trainer.errors import TrainerError, invalid_dataset
from dino_trainer.first_bytes import HEAD
from dino_trainer.storage.files import named

# Left free for the checkpoint, the log and everybody else on the node.
RESERVE_BYTES = 256 * 1024 * 1024
# No header of an honest archive comes near, nor do all those of one member, nor those that are said
# of every member: larger ones would only be there to fill the memory.
_MAX_HEADER = 1 << 20
_MAX_GLOBAL = 1 << 16
# No system opens a longer one.
_MAX_NAME = 4096
_MAX_PADDING = 64 << 20
# Between the slashes of a name: none of them is a file or a folder by itself.
_ODD_PARTS = frozenset(("", ".", ".."))
_BLOCK = 1 << 20
# zlib_ng types its error as a value, not as a class.
_DAMAGED: tuple[type[Exception], ...] = (
    tarfile.ReadError,
    tarfile.HeaderError,
    EOFError,
    cast("type[Exception]", zlib_ng.error),
)
_KNOWN: tuple[type[Exception], ...] = (TrainerError, OSError, MemoryError, *_DAMAGED)
_Read = TypeVar("_Read")


def take_in(
    archive: Path | Readable,
    into: Path,
    *,
    name: str | None = None,
    moved: Callable[[int], None] | None = None,
    reserve: int = RESERVE_BYTES,
) -> tuple[str, Index]:
    """Writes the .tar in `archive` to the new file `into`, inflated where it is packed.

    Returns the BLAKE3 of the archive's own bytes, in hex, and where the files lie in `into`.

    archive: a file, or the bytes of one as they come. name: what error messages call it (its URI).
    moved: hears of bytes read.
    reserve: bytes that must stay free on the disk.
    `into` exists only after success. Raises InvalidDataset for a damaged or hostile archive,
    DiskFull where the content does not fit.
    """
    name = name or (str(archive) if isinstance(archive, Path) else "the archive")
    aside = into.with_name(into.name + ".part")
    try:
        with named(aside):
            aside.parent.mkdir(parents=True, exist_ok=True)
            budget = _Budget(aside.parent, reserve, name)
        taken = _copy(archive, aside, name, moved, budget)
        with named(into):
            aside.rename(into)
    finally:
        aside.unlink(missing_ok=True)
    return taken


def _copy(
    archive: Path | Readable,
    into: Path,
    name: str,
    moved: Callable[[int], None] | None,
    budget: _Budget,
) -> tuple[str, Index]:
    with (
        _opened(archive, name) as source,
        HashingReader(source, moved) as raw,
        _TarWriter(into, budget) as file,
        _whole(name, file),
    ):
        with _inflated(raw) if raw.is_gzip() else nullcontext(raw) as content:
            reader = _Forward(content, file)
            index = _index(reader, name, budget)
            reader.finish()
        return raw.finish(), index


@contextmanager
def _inflated(raw: HashingReader) -> Iterator[Readable]:
    """What is packed, inflated by a thread that does nothing else: no other work takes as long."""
    with ReadAhead(raw, PIECE) as packed, ReadAhead(GzipReader(packed)) as content:
        yield content


@contextmanager
def _opened(archive: Path | Readable, name: str) -> Iterator[Readable]:
    if not isinstance(archive, Path):
        yield archive
        return
    with named(name):
        file = archive.open("rb", buffering=0)
    with file:
        yield file


def _index(reader: _Forward, name: str, budget: _Budget) -> Index:
    tar = _of_header(lambda: ForwardTar(reader))
    files: dict[str, tuple[int, int]] = {}
    folders: set[str] = set()
    while member := _next(tar):
        target = _safe_name(member, name)
        if member.isdir():
            folders.add(target)
        elif target in files:
            again = f"Pack each file once, into a new archive: {pack(name)}"
            raise invalid_dataset(f"{name} holds {member.name!r} twice.", again)
        else:
            budget.check(member.size)
            files[target] = (member.offset_data, member.size)
        folders.add(target.rpartition("/")[0])
        # TarFile keeps every header it has read; a million of them would be a gigabyte.
        tar.members.clear()
        reader.passed_header()
    if not files:
        raise invalid_dataset(f"{name} holds no files.", f"Pack the images: {pack(name)}")
    both = min((path for path in _with_parents(folders) if path in files), default=None)
    if both is not None:
        what = f"{both!r} in {name} is both a file and a folder."
        raise invalid_dataset(what, f"Pack a folder that has one of them: {pack(name)}")
    return Index(files)


def _next(tar: ForwardTar) -> tarfile.TarInfo | None:
    """The next member, of sane numbers; None at the end. Raises ReadError."""
    member = _of_header(tar.next)
    if sum(len(key) + len(value) for key, value in tar.pax_headers.items()) > _MAX_GLOBAL:
        raise tarfile.ReadError(f"more than {_MAX_GLOBAL} bytes are said of every member")
    if member is None:
        return None
    if member.size < 0:
        raise tarfile.ReadError(f"{member.name[:_MAX_NAME]!r} has a negative size")
    if (longest := max(len(member.name), len(member.linkname))) > _MAX_NAME:
        raise tarfile.ReadError(f"a name of {longest} characters")
    return member


def _of_header(read: Callable[[], _Read]) -> _Read:
    """What TarFile makes of a header; a broken one leads it to raise anything. Raises ReadError."""
    try:
        return read()
    except _KNOWN:
        raise
    except Exception as error:
        what = f"a header that cannot be read ({type(error).__name__})"
        raise tarfile.ReadError(what) from error


def _with_parents(folders: Iterable[str]) -> Iterator[str]:
    """Each folder, and those that it lies in: made one by one, as there may be very many."""
    for folder in folders:
        yield folder
        at = folder.rfind("/")
        while at > 0:
            yield folder[:at]
            at = folder.rfind("/", 0, at)


def _safe_name(member: tarfile.TarInfo, archive: str) -> str:
    """Its path in the archive, without ./ and //."""
    if not (member.isdir() or (member.isreg() and not member.issparse())):
        raise _hostile(archive, member, f"is {_kind(member)}")
    # Most are written as a path's parts are; making a path of each would take longer than all else.
    if _ODD_PARTS.isdisjoint(member.name.split("/")) and "\0" not in member.name:
        return member.name
    path = PurePosixPath(member.name)
    if path.is_absolute():
        raise _hostile(archive, member, "has an absolute path")
    if ".." in path.parts:
        raise _hostile(archive, member, "leaves the folder with ..")
    if "\0" in member.name or (not path.parts and not member.isdir()):
        raise _hostile(archive, member, "has no usable name")
    return str(path)


def _hostile(archive: str, member: tarfile.TarInfo, why: str) -> TrainerError:
    remedy = f"Pack the images again as plain files with relative names: {pack(archive)}"
    if member.issym() or member.islnk():
        remedy = followed(archive)
    elif not (member.isreg() or member.issparse()):
        remedy = f"Take {member.name!r} out of the folder, and pack it again: {pack(archive)}"
    return invalid_dataset(f"{archive} is refused: its member {member.name!r} {why}.", remedy)


def _kind(member: tarfile.TarInfo) -> str:
    if member.issym():
        return f"a symbolic link to {member.linkname!r}"
    if member.islnk():
        return f"a hard link to {member.linkname!r}"
    if member.issparse():
        return "a sparse file"
    return "neither a file nor a folder"


@contextmanager
def _whole(name: str, read: _TarWriter) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise other_by_content(name, read.head) or invalid_dataset(
            f"{name} is damaged or ends early: {' '.join(str(error).split()) or 'no data'}.",
            again(name),
        ) from error


class _Budget:
    """What may still be written before the disk is down to the reserve."""

    def __init__(self, folder: Path, reserve: int, name: str) -> None:
        self._left = shutil.disk_usage(folder).free - reserve
        self._folder, self._name = folder, name

    def take(self, size: int) -> None:
        """Notes that `size` bytes are going to be written."""
        self.check(size)
        self._left -= size

    def check(self, size: int) -> None:
        """Raises DiskFull where `size` bytes have no room."""
        if size > self._left:
            raise TrainerError(
                FailureReason.DISK_FULL,
                f"{self._name} unpacks to more than the disk of {self._folder.parent} has free.",
            )


class _TarWriter:
    """The file that everything goes to which passes: in order, so that its size proves it whole.

    After a power cut a disk may lack what was written last, which then shows in the size.
    """

    def __init__(self, path: Path, budget: _Budget) -> None:
        self._path, self._budget = path, budget
        self.head = b""

    def __enter__(self) -> _TarWriter:
        with named(self._path):
            self._file = self._path.open("wb", buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        with named(self._path):
            self._file.close()

    def write(self, data: memoryview) -> None:
        """All of `data`."""
        self.head = self.head or bytes(data[:HEAD])
        self._budget.take(len(data))
        with named(self._path):
            while data:
                data = data[self._file.write(data) :]


class _Forward:
    """Reads forward only, in bounded pieces; knows whether the archive's end was really reached.

    Seeking backward in a gzip stream would unpack it again from its start.
    file: gets all that is read, in the pieces in which it comes.
    """

    def __init__(self, source: Readable, file: _TarWriter) -> None:
        self._source, self._file = source, file
        self._rest = memoryview(b"")
        self._at = 0
        self._last = b""
        self._header = 0

    def tell(self) -> int:
        return self._at

    def read(self, size: int) -> bytes:
        # It would be taken off what was counted, and make room for gigabytes.
        if size < 0:
            raise tarfile.ReadError(f"a header of {size} bytes")
        self._header += size
        if self._header > _MAX_HEADER:
            raise tarfile.ReadError(f"a header of {max(size, self._header - size)} bytes")
        data = bytearray()
        while len(data) < size and (more := self._read(size - len(data))):
            data += more
        # TarFile reads headers as whole blocks: the last one is the end mark, or nothing.
        self._last = bytes(data)
        return self._last

    def peek(self, size: int) -> bytes:
        """What `read` will return, where one piece holds it all; else nothing."""
        data = bytes(self._rest[:size])
        return data if len(data) == size else b""

    def passed_header(self) -> None:
        """What is read from here on is of the next member."""
        self._header = 0

    def seek(self, target: int) -> int:
        while self._at < target:
            if not self._read(target - self._at):
                raise EOFError("unexpected end of data")
        return self._at

    def finish(self) -> None:
        """Checks the end mark, then reads on so that gzip compares its checksum."""
        if not self._last or self._last.strip(b"\0"):
            raise EOFError("the end mark is missing")
        padding = 0
        while block := self._read(_BLOCK):
            padding += len(block)
            if padding > _MAX_PADDING:
                raise EOFError("more data follows the end mark")

    def _read(self, size: int) -> memoryview:
        if not self._rest:
            self._rest = memoryview(self._source.read(_BLOCK))
            self._file.write(self._rest)
        data, self._rest = self._rest[:size], self._rest[size:]
        self._at += len(data)
        return data
