"""A file of a store, opened where it lies: what is read of it is all that comes over."""

from __future__ import annotations

import io

from dino_api.names import FailureReason
from dino_trainer.errors import TrainerError
from dino_trainer.storage.opening import open_store
from dino_trainer.storage.store import Store, StoreEntry
from dino_trainer.storage.uris import split

# Read at once; the directory of a checkpoint's archive is about so large.
_PIECE = 1 << 17


def open_stored(uri: str) -> io.BufferedReader:
    """The file at `uri`, to seek and read in.

    Raises:
        TrainerError: InputNotFound, AccessDenied, StorageUnavailable; InvalidSpec for a scheme that
            is not known.
    """
    folder, name = split(uri)
    store = open_store(folder)
    entry = store.head(name)
    if entry is None:
        raise TrainerError(FailureReason.INPUT_NOT_FOUND, f"There is no file {uri}.")
    return io.BufferedReader(_RemoteFile(store, entry), _PIECE)


class _RemoteFile(io.RawIOBase):
    """`entry` of `store`, by parts."""

    def __init__(self, store: Store, entry: StoreEntry) -> None:
        self._store, self._entry, self._at = store, entry, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._entry.size}[whence]
        if start + offset < 0:
            raise ValueError("a place before the file")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        end = min(self._entry.size, self._at + len(buffer))
        if end <= self._at:
            return 0
        content = b"".join(self._store.read_part(self._entry, self._at, end))
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)
