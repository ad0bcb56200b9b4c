"""What inference leaves behind: thousands of small files, and one JSON file that has it all."""

from __future__ import annotations

import gzip
import json
import shutil
import tarfile
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from dino_api.formats import ARCHIVES
from dino_api.names import PREDICTIONS_FILE
from dino_api.result import Artifact
from dino_trainer.results.output import Output
from dino_trainer.storage.files import named, replacing
from dino_trainer.storage.uris import is_remote


class FileSink(Protocol):
    """Takes many small files of one kind.

    Any thread of any process may pack a file, which takes long; one alone adds what they packed.
    """

    def packed(self, name: str, content: bytes) -> bytes:
        """A file as `add` takes it; `name` may hold folders."""

    def add(self, name: str, packed: bytes) -> None:
        """One packed file. Raises DiskFull."""

    def close(self) -> list[Artifact]:
        """Makes safe what is not yet; what a result should list of it."""


def open_sink(output: Output, name: str) -> FileSink:
    """The folder `name` of a local output; for a remote one `name`.tar.gz, sent once at the end.

    Thousands of uploads would take longer than the images.
    """
    if is_remote(output.uri(name)):
        return _Archive(output, name)
    return _Folder(output.dir / name)


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def packed(self, name: str, content: bytes) -> bytes:
        return content

    def add(self, name: str, packed: bytes) -> None:
        path = self._root / name
        with named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(packed)

    def close(self) -> list[Artifact]:
        return []


class _Archive:
    """A .tar.gz of which each file is a gzip member of its own: to add one is to append its bytes.

    The same files give the same bytes: nothing in it carries a time or an owner. It begins with the
    first file, so that processes which only pack leave none.
    """

    def __init__(self, output: Output, name: str) -> None:
        self._output, self._folder, self._name = output, name, f"{name}{ARCHIVES[0]}"
        self._path = output.dir / self._name
        self._file: IO[bytes] | None = None

    def packed(self, name: str, content: bytes) -> bytes:
        info = tarfile.TarInfo(f"{self._folder}/{name}")
        info.size = len(content)
        header = info.tobuf(tarfile.DEFAULT_FORMAT, tarfile.ENCODING, "surrogateescape")
        filled = bytes(-len(content) % tarfile.BLOCKSIZE)
        return _member(header + content + filled)

    def add(self, name: str, packed: bytes) -> None:
        with named(self._path):
            self._file = self._file or self._path.open("wb")
            self._file.write(packed)

    def close(self) -> list[Artifact]:
        self.add("", _member(bytes(2 * tarfile.BLOCKSIZE)))  # where a tar ends
        assert self._file is not None
        with named(self._path):
            self._file.close()
        return [self._output.publish(self._name).artifact(self._name)]


def _member(content: bytes) -> bytes:
    """Fast rather than small: pictures are packed already."""
    return gzip.compress(content, 1, mtime=0)


def label_names(images: Sequence[str]) -> list[str]:
    """The label file of each image: the same path, ending in .txt.

    Where two images differ in their ending alone, theirs is kept: `a.jpg.txt` and `a.png.txt`. In
    TAO the second overwrites the first.
    """
    stems = [str(PurePosixPath(name).with_suffix(".txt")) for name in images]
    counts = Counter(stems)
    chosen = [
        stem if counts[stem] == 1 else f"{name}.txt"
        for stem, name in zip(stems, images, strict=True)
    ]
    unique = len(set(chosen)) == len(chosen)
    return chosen if unique else [f"{name}.txt" for name in images]


class _Entries:
    """A JSON list without its brackets, on the disk. A temporary file: gone when it is closed."""

    def __init__(self, folder: Path) -> None:
        self._file: IO[str] = tempfile.TemporaryFile("w+", dir=folder)  # noqa: SIM115
        self.count = 0

    def add(self, entry: str) -> None:
        self._file.write(f"{',' if self.count else ''}{entry}\n")
        self.count += 1

    def copy_to(self, file: IO[str]) -> None:
        self._file.seek(0)
        shutil.copyfileobj(self._file, file)

    def close(self) -> None:
        self._file.close()


class PredictionsFile:
    """predictions.json: a COCO file whose annotations have scores.

    `annotations` alone is what COCO's tools call results. Entries go to the disk as they come.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / PREDICTIONS_FILE
        with named(folder):
            self._images, self._annotations = _Entries(folder), _Entries(folder)

    @property
    def images(self) -> int:
        """How many were added."""
        return self._images.count

    def add(self, image_id: int, name: str, size: tuple[int, int], entries: Sequence[str]) -> None:
        """One image of `size` (height, width). entries: as of `coco`. Raises DiskFull."""
        height, width = size
        image = {"id": image_id, "file_name": name, "width": width, "height": height}
        with named(self._path):
            self._images.add(json.dumps(image))
            for entry in entries:
                self._annotations.add(f'{{"id": {self._annotations.count + 1}, {entry}')

    def write(self, info: dict[str, object], names: Sequence[str]) -> None:
        """The file. names: of the classes, by label."""
        categories = [{"id": label, "name": name} for label, name in enumerate(names) if name]
        with (
            named(self._path),
            replacing(self._path) as aside,
            aside.open("w", encoding="utf-8") as file,
        ):
            file.write(f'{{"info": {json.dumps(info)},\n"categories": {json.dumps(categories)}')
            for key, part in (("images", self._images), ("annotations", self._annotations)):
                file.write(f',\n"{key}": [\n')
                part.copy_to(file)
                file.write("]")
            file.write("}\n")

    def close(self) -> None:
        """Gives the scratch space back."""
        self._images.close()
        self._annotations.close()
