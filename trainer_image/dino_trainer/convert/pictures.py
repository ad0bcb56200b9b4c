"""The image files of an export, by the names that its annotations use."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from dino_api.names import FailureReason
from dino_trainer.data.decode import IMAGE_FORMATS, UnreadableImage, open_image
from dino_trainer.data.folder_files import files_below, is_hidden
from dino_trainer.data.name_forms import composed, path_below
from dino_trainer.errors import TrainerError, invalid_dataset

_SHOWN = 3


class PictureFile(NamedTuple):
    """An image file. name: its path from the folder of the images on."""

    path: Path
    name: str


_Index = Mapping[str, list[PictureFile]]


class PictureFolders:
    """The images below some folders; of those that are no folders nothing is said."""

    def __init__(self, *roots: Path | None) -> None:
        folders = [root for root in roots if root is not None and root.is_dir()]
        self._roots = list(dict.fromkeys(folders))

    def find(self, name: str) -> PictureFile | None:
        """The image that is called so: by its whole path, by the end of it, by the last part.

        Tools write paths of other machines, addresses, and names with the wrong ending, so the
        last way is by the name without its ending, where that leaves one file.
        """
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
        ends = ["/".join(parts[start:]) for start in range(len(parts))]
        for root in self._roots:
            for end in ends:
                if path := path_below(root, end):
                    return PictureFile(path, end)
        return next(filter(None, map(self.called, ends)), None)

    def called(self, name: str) -> PictureFile | None:
        """The one image with that path, or that name in any folder; with its ending or another."""
        for index in (self._by_path, self._by_name):
            for key in (name, _without_ending(name)):
                pictures = index.get(composed(key), ())
                if len(pictures) == 1:
                    return pictures[0]
        return None

    def __iter__(self) -> Iterator[PictureFile]:
        """All of them, each once, sorted by name."""
        seen: set[Path] = set()
        for root in self._roots:
            for picture in below(root):
                if picture.path not in seen:
                    seen.add(picture.path)
                    yield picture

    @cached_property
    def _by_path(self) -> _Index:
        return _indexed((picture.name, picture) for picture in self)

    @cached_property
    def _by_name(self) -> _Index:
        return _indexed((picture.path.name, picture) for picture in self)


def _indexed(named: Iterable[tuple[str, PictureFile]]) -> _Index:
    """By each name, and by it without its ending."""
    index: defaultdict[str, list[PictureFile]] = defaultdict(list)
    for name, picture in named:
        for key in {name, _without_ending(name)}:
            index[composed(key)].append(picture)
    return index


def below(root: Path) -> list[PictureFile]:
    """The images in and below a folder, sorted by name."""
    names = (name for name in files_below(root) if not is_hidden(name))
    return [
        PictureFile(root / name, name)
        for name in sorted(names)
        if PurePosixPath(name).suffix.lower() in IMAGE_FORMATS
    ]


def measured(path: Path) -> tuple[int, int]:
    """Width and height as viewers show the image. Raises InvalidDataset with its whole path."""
    try:
        return open_image(path).upright
    except UnreadableImage as error:
        raise invalid_dataset(
            f"{path} cannot be read as an image: {error.why}.",
            "Replace the file, or remove it and what the export says of it.",
        ) from error


def missing(names: Iterable[str], where: Path) -> TrainerError:
    """InputNotFound for images that the export speaks of and that are nowhere."""
    names = list(names)
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return TrainerError(
        FailureReason.INPUT_NOT_FOUND,
        f"{where} speaks of images that are not there: {shown}{more}.",
        "Name the folder that they lie in: --images DIR. Or export again, with the images.",
    )


def _without_ending(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in IMAGE_FORMATS else name
