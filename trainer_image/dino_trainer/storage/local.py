"""A folder of this machine as a store."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from dino_trainer.storage.files import named, replacing, sha256_of
from dino_trainer.storage.store import Moved, StoredFile, StoreEntry, changed


class LocalStore:
    """A folder. It need not exist before the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def uri(self, key: str) -> str:
        return str(self.root / key)

    def head(self, key: str) -> StoreEntry | None:
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

    def read_part(self, entry: StoreEntry, start: int, end: int) -> list[bytes]:
        path = self.root / entry.key
        with named(path), path.open("rb") as file:
            if self._entry(path).etag != entry.etag:
                raise changed(str(path))
            file.seek(start)
            return [file.read(end - start)]

    def stream(self, entry: StoreEntry, start: int, end: int) -> Iterator[bytes]:
        yield from self.read_part(entry, start, end)

    def write_bytes(self, data: bytes, key: str) -> StoredFile:
        path = self.root / key
        with named(path), replacing(path) as aside:
            aside.write_bytes(data)
        return StoredFile(str(path), hashlib.sha256(data).hexdigest(), len(data))

    def download(self, key: str, path: Path, progress: Moved | None = None) -> None:
        self._copy(self.root / key, path, progress)

    def upload(self, path: Path, key: str, progress: Moved | None = None) -> StoredFile:
        target = self.root / key
        if target.resolve() != path.resolve():
            self._copy(path, target, progress)
        with named(target):
            return StoredFile(str(target), sha256_of(target), target.stat().st_size)

    def copy(self, key: str, to: str) -> None:
        self._copy(self.root / key, self.root / to, None)

    def remove(self, key: str) -> None:
        with named(self.root / key):
            (self.root / key).unlink(missing_ok=True)

    def digest_of(self, key: str) -> str | None:
        return None

    def hurry(self) -> None:
        """A disk is asked once anyway."""

    def list(self, prefix: str = "") -> Iterator[StoreEntry]:
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = Path(folder, name)
                if path.relative_to(self.root).as_posix().startswith(prefix):
                    yield self._entry(path)

    def _entry(self, path: Path) -> StoreEntry:
        stat = path.stat()
        key = path.relative_to(self.root).as_posix()
        return StoreEntry(key, stat.st_size, f"{stat.st_size}-{stat.st_mtime_ns}")

    @staticmethod
    def _copy(source: Path, target: Path, progress: Moved | None) -> None:
        with named(source):
            size = source.stat().st_size
        with named(target), replacing(target) as aside:
            shutil.copyfile(source, aside)
        if progress:
            progress(size)
