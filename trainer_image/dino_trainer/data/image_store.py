"""The images of one source by name, whether each is a file of its own or lies inside a .tar.

An archive is not unpacked: a million small files cost more than reading them ever does. Its images
are read in place. Every read opens the archive anew, so that processes which were forked from one
another share no place in it.
"""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from dino_trainer.data.folder_files import files_below
from dino_trainer.data.name_forms import by_form, composed, path_below


class ImageFile(Protocol):
    """One image; a `Path` is one, too."""

    @property
    def name(self) -> str:
        """Without the folders it lies in."""

    def read_bytes(self) -> bytes:
        """The whole content. Raises OSError."""


@dataclass(frozen=True)
class FileInMemory:
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
        """The size in bytes, -1 where there is no such file."""

    def names(self) -> Iterable[str]:
        """What is there, for whoever looks for a file that is not."""


@dataclass(frozen=True)
class Folder:
    """Images that are files below `root`.

    remote: where they were copied from, and what lies there; "" for a folder of people's own.
    """

    root: Path
    remote: str = ""
    listed: tuple[str, ...] = field(default=(), repr=False, compare=False)

    def __str__(self) -> str:
        return self.remote or str(self.root)

    def find(self, name: str) -> Path | None:
        return path_below(self.root, name)

    def size(self, name: str) -> int:
        path = self.find(name)
        return path.stat().st_size if path else -1

    def names(self) -> Iterable[str]:
        return self.listed if self.remote else files_below(self.root)


@dataclass(frozen=True)
class UnseenImages:
    """Images that nobody looks for, since their annotations are of no use."""

    called: str = ""

    def __str__(self) -> str:
        return self.called

    def find(self, name: str) -> None:
        return None

    def size(self, name: str) -> int:
        return -1

    def names(self) -> Iterable[str]:
        return ()


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
    """The places of a .tar's files: (offset, size) in bytes, by name without `./` or `//`."""

    files: Mapping[str, tuple[int, int]]

    @cached_property
    def by_form(self) -> Mapping[str, str]:
        """Names beyond ASCII by their composed form."""
        return by_form(self.files)

    def write(self, path: Path) -> None:
        """Raises OSError."""
        path.write_text(json.dumps({"files": self.files}))

    def has_folder(self, name: str) -> bool:
        """Whether a file lies below the folder `name`."""
        return any(path.startswith(f"{name}/") for path in self.files)

    @classmethod
    def read(cls, path: Path) -> Index | None:
        """Reads it; None where there is none that can be read."""
        try:
            files = json.loads(path.read_bytes())["files"]
            return cls({name: (int(offset), int(size)) for name, (offset, size) in files.items()})
        except (AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError):
            return None


@dataclass(frozen=True)
class ArchivedImages:
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

    def names(self) -> Iterable[str]:
        if not self.root:
            return self.index.files
        start = f"{self.root}/"
        return (name[len(start) :] for name in self.index.files if name.startswith(start))

    def _path(self, name: str) -> str:
        path = f"{self.root}/{name}" if self.root else name
        if path.isascii() or path in self.index.files:
            return path
        return self.index.by_form.get(composed(path), path)
