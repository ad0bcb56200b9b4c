"""The images of one source by name, whether each is a file of its own or lies inside a .tar.

An archive is not unpacked: a million small files cost more than reading them ever does. Its images
are read in place. Every read opens the archive anew, so that processes which were forked from one
another, as a loader's workers are, share no place in it.
"""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


class ImageFile(Protocol):
    """One image; a `Path` is one, too."""

    @property
    def name(self) -> str:
        """Without the folders it lies in."""

    def read_bytes(self) -> bytes:
        """The whole content. Raises OSError."""


@dataclass(frozen=True)
class Held:
    """A file that was read already."""

    name: str
    content: bytes

    def read_bytes(self) -> bytes:
        return self.content


class ImageStore(Protocol):
    """Images by the names that the annotations use. `str` of it tells people where they are."""

    def find(self, name: str) -> ImageFile | None:
        """The image, None where there is no such file."""

    def size(self, name: str) -> int:
        """In bytes, -1 where there is no such file."""


@dataclass(frozen=True)
class Folder:
    """Images that are files below `root`."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def find(self, name: str) -> Path | None:
        path = self.root / name
        return path if path.is_file() else None

    def size(self, name: str) -> int:
        path = self.root / name
        return path.stat().st_size if path.is_file() else -1


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside the archive `tar`: `size` bytes from `offset` on."""

    tar: Path
    path: str
    offset: int
    size: int

    @property
    def name(self) -> str:
        return posixpath.basename(self.path)

    def read_bytes(self) -> bytes:
        """Raises OSError, also where the archive has become shorter."""
        with self.tar.open("rb", buffering=0) as file:
            data = os.pread(file.fileno(), self.size, self.offset)
        if len(data) < self.size:
            raise OSError(f"{self.tar} ends inside of {self.path}")
        return data


@dataclass(frozen=True)
class Index:
    """Where the files of a .tar lie: (offset, size) in bytes, by name without `./` or `//`."""

    files: Mapping[str, tuple[int, int]]

    def write(self, path: Path) -> None:
        """Raises OSError."""
        path.write_text(json.dumps({"files": self.files}))

    def has_folder(self, name: str) -> bool:
        """Whether a file lies below the folder `name`."""
        return any(path.startswith(f"{name}/") for path in self.files)

    @classmethod
    def read(cls, path: Path) -> Index | None:
        """None where there is none that can be read."""
        try:
            files = json.loads(path.read_bytes())["files"]
            return cls({name: (int(offset), int(size)) for name, (offset, size) in files.items()})
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None


@dataclass(frozen=True)
class Packed:
    """Images inside the archive `tar`, below its folder `root` ("" for all of it).

    called: what people call the archive.
    """

    tar: Path
    index: Index = field(repr=False)
    root: str = ""
    called: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.root}/ of {self.called}" if self.root else self.called

    def find(self, name: str) -> Member | None:
        path = self._path(name)
        place = self.index.files.get(path)
        return Member(self.tar, path, *place) if place else None

    def size(self, name: str) -> int:
        return self.index.files.get(self._path(name), (0, -1))[1]

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}" if self.root else name
