"""What a store is, whatever holds the files.

A store is a base (a folder or `s3://bucket/prefix`) and works on keys below
it. Every failure leaves as a `TrainerError` that names the object: InputNotFound, AccessDenied,
StorageUnavailable, DiskFull or InvalidSpec.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from dino_api.names import FailureReason
from dino_api.result import Artifact
from dino_trainer.errors import TrainerError

Say = Callable[[str], None]
# Called with the number of bytes moved since the last call, from any thread.
Moved = Callable[[int], None]


@dataclass(frozen=True)
class StoredFile:
    """A file that lies safely at `uri`; sha256 in hex, bytes its size."""

    uri: str
    sha256: str
    bytes: int

    def artifact(self, name: str) -> Artifact:
        """The entry of a result's list, under `name`."""
        return Artifact(name=name, uri=self.uri, sha256=self.sha256, bytes=self.bytes)


class StoreEntry(NamedTuple):
    """One object of a store; `etag` changes when the content does."""

    key: str
    size: int
    etag: str


class Store(Protocol):
    """A place of files. Keys are relative, with `/` between parts."""

    def uri(self, key: str) -> str:
        """The full name of `key`, for people and for the resource's status."""

    def head(self, key: str) -> StoreEntry | None:
        """What lies at `key`, or None."""

    def exists(self, key: str) -> bool:
        """Whether there is a file at `key`."""

    def read_bytes(self, key: str) -> bytes:
        """The whole content; InputNotFound if there is none."""

    def read_part(self, entry: StoreEntry, start: int, end: int) -> list[bytes]:
        """The bytes from `start` up to `end`, which is excluded, in pieces as they came.

        Raises StorageUnavailable if the content is not that of `entry` any more.
        """

    def stream(self, entry: StoreEntry, start: int, end: int) -> Iterator[bytes]:
        """The same piece by piece; where it breaks off, the rest is asked for anew."""

    def write_bytes(self, data: bytes, key: str) -> StoredFile:
        """Replaces the content of `key` at once: a reader sees the old bytes or the new."""

    def download(self, key: str, path: Path, progress: Moved | None = None) -> None:
        """Copies `key` to the local `path`, which appears only when it is whole."""

    def upload(self, path: Path, key: str, progress: Moved | None = None) -> StoredFile:
        """Copies the local `path` to `key`, which changes only when it is whole."""

    def copy(self, key: str, to: str) -> None:
        """Makes `to` what `key` is now, without the bytes coming here."""

    def remove(self, key: str) -> None:
        """Makes `key` be gone, whether it was there or not."""

    def digest_of(self, key: str) -> str | None:
        """The sha256 that was written together with the content, where the store keeps one."""

    def hurry(self) -> None:
        """Asks for nothing a second time from now on: there is no time left to wait."""

    def list(self, prefix: str = "") -> Iterator[StoreEntry]:
        """All files whose key starts with `prefix`, in no particular order."""


def print_line(line: str) -> None:
    """The default `Say`: one line on standard output, seen at once in a pod's log."""
    print(line, flush=True)


class SameAgainError(TrainerError):
    """A failure that is no server's being away: the same request would end in it again."""


def changed(what: str) -> SameAgainError:
    """Somebody replaced `what` while it was read in parts."""
    return SameAgainError(
        FailureReason.STORAGE_UNAVAILABLE,
        f"{what} was replaced while it was downloaded.",
        "If that was meant, run again, which reads the new one.",
    )


def not_that_part(what: str, span: str) -> SameAgainError:
    """A server answered with other bytes than it was asked for, which must not be put together."""
    return SameAgainError(
        FailureReason.STORAGE_UNAVAILABLE,
        f"The server does not send the part of {what} that it was asked for ({span}).",
        "Ask the store's operator whether a proxy before it takes the Range header away.",
    )
