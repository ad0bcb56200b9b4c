"""Unpacks an image archive without trusting it.

Only plain files and folders with sane relative names come out. Links, devices, names that leave the
folder, names that appear twice, sparse files and archives that end early are refused as a whole:
an archive with one hostile member is not a dataset. What is unpacked may not exceed the free disk.
"""

from __future__ import annotations

import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from dino_api.names import FailureReason
from dino_trainer.data.hashed import Hashed
from dino_trainer.data.inflate import Inflated, Readable
from dino_trainer.errors import TrainerError, invalid_dataset
from dino_trainer.storage import named

SUFFIXES = (".tar.gz", ".tgz", ".tar")
# Left free for the checkpoint, the log and everybody else on the node.
RESERVE_BYTES = 256 * 1024 * 1024
# No header of an honest archive comes near: a larger one would only be there to fill the memory.
_MAX_HEADER = 8 << 20
_MAX_PADDING = 64 << 20
_BLOCK = 1 << 20
_DAMAGED = (tarfile.ReadError, tarfile.HeaderError, EOFError, zlib.error)


def is_archive(name: str) -> bool:
    """Whether a file name or URI ends like an archive that `extract` reads."""
    return name.lower().endswith(SUFFIXES)


def stem(name: str) -> str:
    """`images.tar.gz` -> `images`."""
    base = PurePosixPath(name).name
    for suffix in SUFFIXES:
        if base.lower().endswith(suffix):
            return base[: -len(suffix)]
    return base


def extract(
    archive: Path | Readable,
    into: Path,
    *,
    name: str | None = None,
    moved: Callable[[int], None] | None = None,
    reserve: int = RESERVE_BYTES,
) -> str:
    """Unpacks `archive` into the new folder `into`; returns the SHA-256 of the archive's bytes.

    archive: a file, or the bytes of one as they come. name: what error messages call it (its URI).
    moved: hears of bytes read.
    reserve: bytes that must stay free on the disk.
    `into` exists only after success. Raises InvalidDataset for a damaged or hostile archive,
    DiskFull where the content does not fit.
    """
    name = name or (str(archive) if isinstance(archive, Path) else "the archive")
    aside = into.with_name(into.name + ".unpacking")
    shutil.rmtree(aside, ignore_errors=True)
    with named(aside):
        aside.mkdir(parents=True)
    try:
        digest = _unpack(archive, aside, name, moved, reserve)
        with named(into):
            aside.rename(into)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return digest


def image_root(folder: Path, archive_name: str, file_names: Iterable[str]) -> Path:
    """The folder inside an unpacked archive that the annotations' file names start from.

    The first of `images/`, `<archive stem>/` and the archive's root under which one of the first
    file names exists; the most likely one where none does, so that the caller's complaint about
    missing files names a sensible place.
    """
    probes = [name for _, name in zip(range(20), file_names, strict=False)]
    candidates = [folder / "images", folder / stem(archive_name), folder]
    for candidate in candidates:
        if any((candidate / probe).is_file() for probe in probes):
            return candidate
    return next(candidate for candidate in candidates if candidate.is_dir())


def _unpack(
    archive: Path | Readable,
    into: Path,
    name: str,
    moved: Callable[[int], None] | None,
    reserve: int,
) -> str:
    with _opened(archive, name) as source, Hashed(source, moved) as raw, _whole(name):
        budget = _Budget(into, reserve, name)
        reader = _Forward(Inflated(raw) if raw.is_gzip() else raw)
        _write_members(reader, into, name, budget)
        reader.finish()
        return raw.finish()


@contextmanager
def _opened(archive: Path | Readable, name: str) -> Iterator[Readable]:
    if not isinstance(archive, Path):
        yield archive
        return
    with named(name):
        file = archive.open("rb", buffering=0)
    with file:
        yield file


def _write_members(reader: _Forward, into: Path, name: str, budget: _Budget) -> None:
    # The reader offers exactly what TarFile uses of a file: read, seek forward, tell.
    tar = tarfile.TarFile(fileobj=reader, mode="r")  # type: ignore[arg-type]
    seen: set[PurePosixPath] = set()
    folders: set[Path] = set()
    for member in iter(tar.next, None):
        if member.size < 0:
            raise tarfile.ReadError(f"{member.name!r} has a negative size")
        target = _safe_name(member, name)
        if member.isdir():
            with named(into / target):
                (into / target).mkdir(parents=True, exist_ok=True)
            continue
        if target in seen:
            raise invalid_dataset(f"{name} holds {member.name!r} twice.")
        seen.add(target)
        budget.take(member.size)
        _write(reader, member.size, into / target, f"{member.name!r} in {name}", folders)
        # TarFile keeps every header it has read; a million of them would be a gigabyte.
        tar.members.clear()
    if not seen:
        raise invalid_dataset(f"{name} holds no files.")


def _safe_name(member: tarfile.TarInfo, archive: str) -> PurePosixPath:
    if not (member.isdir() or (member.isreg() and not member.issparse())):
        raise _hostile(archive, member.name, f"is {_kind(member)}")
    path = PurePosixPath(member.name)
    if path.is_absolute():
        raise _hostile(archive, member.name, "has an absolute path")
    if ".." in path.parts:
        raise _hostile(archive, member.name, "leaves the folder with ..")
    if "\0" in member.name or (not path.parts and not member.isdir()):
        raise _hostile(archive, member.name, "has no usable name")
    return path


def _hostile(archive: str, member: str, why: str) -> TrainerError:
    return invalid_dataset(
        f"{archive} is refused: its member {member!r} {why}.",
        "Pack the images again as plain files with relative names: tar -czf images.tar.gz images/",
    )


def _kind(member: tarfile.TarInfo) -> str:
    if member.issym():
        return f"a symbolic link to {member.linkname!r}"
    if member.islnk():
        return f"a hard link to {member.linkname!r}"
    if member.issparse():
        return "a sparse file"
    return "neither a file nor a folder"


def _write(reader: _Forward, size: int, path: Path, what: str, folders: set[Path]) -> None:
    """One file; `x` so that a name that differs only in spelling can never overwrite another."""
    try:
        if path.parent not in folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            folders.add(path.parent)
        with path.open("xb") as file:
            for block in reader.blocks(size):
                file.write(block)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise invalid_dataset(f"{what} is both a file and a folder, or is there twice.") from error
    except UnicodeEncodeError as error:
        raise invalid_dataset(f"{what} has a name that cannot be written.") from error
    except OSError as error:
        with named(path):
            raise error


@contextmanager
def _whole(name: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise invalid_dataset(
            f"{name} is damaged or ends early: {' '.join(str(error).split()) or 'no data'}.",
            "Pack it again (tar -czf images.tar.gz images/), test it (tar -tzf) and upload it "
            "again.",
        ) from error


class _Budget:
    """What may still be written before the disk is down to the reserve."""

    def __init__(self, folder: Path, reserve: int, name: str) -> None:
        self._left = shutil.disk_usage(folder).free - reserve
        self._folder, self._name = folder, name

    def take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise TrainerError(
                FailureReason.DISK_FULL,
                f"{self._name} unpacks to more than the disk of {self._folder.parent} has free.",
            )


class _Forward:
    """Reads forward only, in bounded pieces; knows whether the archive's end was really reached.

    Seeking backward in a gzip stream would unpack it again from its start.
    """

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._at = 0
        self._last: bytes | memoryview = b""

    def tell(self) -> int:
        return self._at

    def read(self, size: int) -> bytes:
        if size > _MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        data = bytes(self._read(size))
        while len(data) < size and (more := self._read(size - len(data))):
            data += more
        # TarFile reads headers as whole blocks: the last one is the end mark, or nothing.
        self._last = data
        return data

    def seek(self, target: int) -> int:
        for _ in self.blocks(target - self._at):
            pass
        return self._at

    def blocks(self, size: int) -> Iterator[bytes | memoryview]:
        """The next `size` bytes in pieces; EOFError where the archive ends before."""
        while size > 0:
            block = self._read(min(size, _BLOCK))
            if not block:
                raise EOFError("unexpected end of data")
            size -= len(block)
            yield block

    def finish(self) -> None:
        """Checks the end mark, then reads on so that gzip compares its checksum."""
        if not self._last or bytes(self._last).strip(b"\0"):
            raise EOFError("the end mark is missing")
        padding = 0
        while block := self._read(_BLOCK):
            padding += len(block)
            if padding > _MAX_PADDING:
                raise EOFError("more data follows the end mark")

    def _read(self, size: int) -> bytes | memoryview:
        data = self._source.read(size)
        self._at += len(data)
        return data
