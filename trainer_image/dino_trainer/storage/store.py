"""Folders and S3 behind one small interface: what the trainer reads from and writes to.

Start at `open_store`. A store is a base (a folder or `s3://bucket/prefix`) and works on keys below
it. Every failure leaves as a `TrainerError` that names the object: InputNotFound, AccessDenied,
StorageUnavailable, DiskFull or InvalidSpec. `s3.py` holds the S3 half.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from dino_api.names import FailureReason
from dino_api.result import Artifact
from dino_trainer.errors import TrainerError, from_os_error, invalid_spec

Say = Callable[[str], None]
# Called with the number of bytes moved since the last call, from any thread.
Moved = Callable[[int], None]


@dataclass(frozen=True)
class Stored:
    """A file that lies safely at `uri`; sha256 in hex, bytes its size."""

    uri: str
    sha256: str
    bytes: int

    def artifact(self, name: str) -> Artifact:
        """As a result lists it, under `name`."""
        return Artifact(name=name, uri=self.uri, sha256=self.sha256, bytes=self.bytes)


class Entry(NamedTuple):
    """One object of a store; `etag` changes when the content does."""

    key: str
    size: int
    etag: str


class Store(Protocol):
    """A place of files. Keys are relative, with `/` between parts."""

    def uri(self, key: str) -> str:
        """The full name of `key`, for people and for the resource's status."""

    def head(self, key: str) -> Entry | None:
        """What lies at `key`, or None."""

    def exists(self, key: str) -> bool:
        """Whether there is a file at `key`."""

    def read_bytes(self, key: str) -> bytes:
        """The whole content; InputNotFound if there is none."""

    def read_part(self, entry: Entry, start: int, end: int) -> list[bytes]:
        """The bytes from `start` up to `end`, which is excluded, in pieces as they came.

        Raises StorageUnavailable if the content is not that of `entry` any more.
        """

    def write_bytes(self, data: bytes, key: str) -> Stored:
        """Replaces the content of `key` at once: a reader sees the old bytes or the new."""

    def download(self, key: str, path: Path, progress: Moved | None = None) -> None:
        """Copies `key` to the local `path`, which appears only when it is whole."""

    def upload(self, path: Path, key: str, progress: Moved | None = None) -> Stored:
        """Copies the local `path` to `key`, which changes only when it is whole."""

    def copy(self, key: str, to: str) -> None:
        """Makes `to` what `key` is now, without the bytes coming here."""

    def remove(self, key: str) -> None:
        """Makes `key` be gone, whether it was there or not."""

    def digest_of(self, key: str) -> str | None:
        """The sha256 that was written together with the content, where the store keeps one."""

    def hurry(self) -> None:
        """From now on nothing is asked for a second time: there is no time left to wait."""

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """All files whose key starts with `prefix`, in no particular order."""


def print_line(line: str) -> None:
    """The default `Say`: one line on standard output, seen at once in a pod's log."""
    print(line, flush=True)


def open_store(uri: str, say: Say = print_line) -> Store:
    """The store whose base is `uri`: a folder, `file://…` or `s3://bucket[/prefix]`.

    `say` hears about retries. Raises InvalidSpec for any other scheme. Opens no connection.
    """
    scheme, separator, _ = uri.partition("://")
    if not separator or scheme == "file":
        return LocalStore(local_path(uri))
    if scheme != "s3":
        raise invalid_spec(
            f"{uri}: {scheme}:// is not supported.",
            "Use s3://bucket/path (any S3-compatible server) or a local folder.",
        )
    # boto3 takes a quarter of a second to import, which local runs need not pay.
    from dino_trainer.storage.s3 import open_s3

    return open_s3(uri, say)


def is_remote(uri: str) -> bool:
    """Whether `uri` has to be copied here before a program can open it."""
    return "://" in uri and not uri.startswith("file://")


def local_path(uri: str) -> Path:
    """The path of a URI that is not remote."""
    return Path(uri.removeprefix("file://"))


def require_room(size: int, folder: Path, what: str) -> None:
    """Raises DiskFull if `what`, of `size` bytes, cannot fit on the disk of `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if size > free:
        raise TrainerError(
            FailureReason.DISK_FULL,
            f"{what} takes {size:,} bytes and {folder} has {free:,} free.",
        )


def changed(what: str) -> TrainerError:
    """Somebody replaced `what` while it was read in parts."""
    return TrainerError(
        FailureReason.STORAGE_UNAVAILABLE,
        f"{what} was replaced while it was downloaded.",
        "If that was meant, run again, which reads the new one.",
    )


def split(uri: str) -> tuple[str, str]:
    """`s3://bucket/a/b.json` -> (`s3://bucket/a`, `b.json`); the same for paths.

    Raises InvalidSpec where no file is named.
    """
    base, slash, name = uri.rpartition("/")
    if not name or base in ("s3:/", "file:/"):
        raise invalid_spec(f"{uri!r} names no file.", "Write the full path of the file.")
    return (base or "/" if slash else "."), name


def sha256_of(path: Path, progress: Moved | None = None) -> str:
    """SHA-256 of a file's content, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            if progress:
                progress(len(block))
    return digest.hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to; on success it is fsynced and takes the place of `path` in one step.

    On any error `path` keeps what it had.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield aside
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
        _sync_folder(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Without this a power cut may forget the rename although the file's bytes are safe."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def named(where: str | Path) -> Iterator[None]:
    """Operating system errors inside become TrainerErrors about `where`."""
    try:
        yield
    except OSError as error:
        raise from_os_error(error, str(where)) from error


class LocalStore:
    """A folder. It need not exist before the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def uri(self, key: str) -> str:
        return str(self.root / key)

    def head(self, key: str) -> Entry | None:
        path = self.root / key
        if not path.is_file():
            return None
        with named(path):
            return self._entry(path)

    def exists(self, key: str) -> bool:
        return (self.root / key).is_file()

    def read_bytes(self, key: str) -> bytes:
        with named(self.root / key):
            return (self.root / key).read_bytes()

    def read_part(self, entry: Entry, start: int, end: int) -> list[bytes]:
        path = self.root / entry.key
        with named(path), path.open("rb") as file:
            if self._entry(path).etag != entry.etag:
                raise changed(str(path))
            file.seek(start)
            return [file.read(end - start)]

    def write_bytes(self, data: bytes, key: str) -> Stored:
        path = self.root / key
        with named(path), replacing(path) as aside:
            aside.write_bytes(data)
        return Stored(str(path), hashlib.sha256(data).hexdigest(), len(data))

    def download(self, key: str, path: Path, progress: Moved | None = None) -> None:
        self._copy(self.root / key, path, progress)

    def upload(self, path: Path, key: str, progress: Moved | None = None) -> Stored:
        target = self.root / key
        if target.resolve() != path.resolve():
            self._copy(path, target, progress)
        with named(target):
            return Stored(str(target), sha256_of(target), target.stat().st_size)

    def copy(self, key: str, to: str) -> None:
        self._copy(self.root / key, self.root / to, None)

    def remove(self, key: str) -> None:
        with named(self.root / key):
            (self.root / key).unlink(missing_ok=True)

    def digest_of(self, key: str) -> str | None:
        return None

    def hurry(self) -> None:
        """A disk is asked once anyway."""

    def list(self, prefix: str = "") -> Iterator[Entry]:
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = Path(folder, name)
                if path.relative_to(self.root).as_posix().startswith(prefix):
                    yield self._entry(path)

    def _entry(self, path: Path) -> Entry:
        stat = path.stat()
        key = path.relative_to(self.root).as_posix()
        return Entry(key, stat.st_size, f"{stat.st_size}-{stat.st_mtime_ns}")

    @staticmethod
    def _copy(source: Path, target: Path, progress: Moved | None) -> None:
        with named(source):
            size = source.stat().st_size
        with named(target), replacing(target) as aside:
            shutil.copyfile(source, aside)
        if progress:
            progress(size)
