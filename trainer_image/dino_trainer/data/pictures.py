"""Images without annotations: those of folders and archives, here or on S3.

Every image below a folder or in an archive counts, however deep it lies. They come in natural order
(`img2` before `img10`), each under one relative path of its own, which outputs are named after.
Files that do not end as images do (`decode.IMAGE_FORMATS`, as in training) are left out, and named.
"""

from __future__ import annotations

import posixpath
import re
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from dino_api.names import FailureReason
from dino_trainer.data.decode import IMAGE_FORMATS
from dino_trainer.data.folder_files import files_below, is_hidden
from dino_trainer.data.image_store import Folder, ImageFile, ImageStore
from dino_trainer.data.listed_images import download_listed
from dino_trainer.data.packing import stem
from dino_trainer.data.stage import is_packed, packed, staging
from dino_trainer.data.staging_context import StagingContext
from dino_trainer.errors import TrainerError, invalid_dataset
from dino_trainer.storage.opening import open_store
from dino_trainer.storage.store import Say
from dino_trainer.storage.uris import is_remote, local_path

_NUMBER = re.compile(r"(\d{1,4000})")
"""As many digits as Python reads at once."""
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Picture:
    """One image; an `ImageFile`, too.

    path: relative, with `/` between parts; no other image has it. file: where its bytes are.
    """

    path: str
    file: ImageFile

    @property
    def name(self) -> str:
        """Without the folders it lies in."""
        return posixpath.basename(self.path)

    def read_bytes(self) -> bytes:
        """The whole content. Raises OSError."""
        return self.file.read_bytes()


@dataclass(frozen=True)
class PictureListing:
    """What sources hold. left_out: the paths of files that do not end as images do. lost: of those
    that do, and are no files: links that lead nowhere, names as `/a.jpg` or `../a.jpg` in an object
    store, and the like."""

    pictures: list[Picture]
    left_out: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def omissions(self) -> str | None:
        """What is left out, counted, the first ones by name; None where nothing is."""
        sentences = []
        if self.left_out:
            why = f"not ending as images do ({_by_ending(self.left_out)})"
            sentences.append(f"{_files(self.left_out)} left out, {why}: {_named(self.left_out)}.")
        if self.lost:
            why = (
                "a link that leads nowhere, a name that leads out of the folder, or no file at all"
            )
            sentences.append(f"{_files(self.lost)} left out, {why}: {_named(self.lost)}.")
        return " ".join(sentences) or None


def find_pictures(
    sources: Sequence[str], into: Path, say: Say, stop: threading.Event | None = None
) -> PictureListing:
    """The images of all sources, source after source; copied here where they lie elsewhere.

    sources: folders, archives (.tar.gz, .tgz, .tar), or either of them on S3. Several sources that
    share a relative path have their own names before it.
    into, say, stop: as for `stage`.

    Raises:
        TrainerError: InputNotFound for a source that is not there; InvalidDataset for one without
            images or none at all; those of `stage`.
    """
    if not sources:
        raise invalid_dataset("No images are named.", "Name a folder or an archive of images.")
    work = staging(into, say, stop)
    listings = [_pictures_of(source, work) for source in sources]
    paths = [picture.path for one in listings for picture in one.pictures]
    if len(set(paths)) < len(paths):
        listings = [
            _under(label, one) for label, one in zip(_labels(sources), listings, strict=True)
        ]
    return PictureListing(
        [picture for one in listings for picture in one.pictures],
        tuple(path for one in listings for path in one.left_out),
        tuple(path for one in listings for path in one.lost),
    )


def _under(label: str, listing: PictureListing) -> PictureListing:
    return PictureListing(
        [replace(picture, path=f"{label}/{picture.path}") for picture in listing.pictures],
        tuple(f"{label}/{path}" for path in listing.left_out),
        tuple(f"{label}/{path}" for path in listing.lost),
    )


def is_picture(path: str) -> bool:
    """Whether a path is that of an image."""
    return PurePosixPath(path).suffix.lower() in IMAGE_FORMATS and not is_hidden(path)


def natural_order(paths: Iterable[str]) -> list[str]:
    """Natural order: numbers inside of names count as numbers; folder by folder."""
    return sorted(paths, key=_key)


def _key(path: str) -> tuple[list[tuple[int, int, str]], str]:
    parts = _NUMBER.split(path.casefold())
    keyed = [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts if p]
    return keyed, path  # the path itself, where only the case or zeros differ


def _pictures_of(source: str, work: StagingContext) -> PictureListing:
    store, paths = _store_of(source, work)
    shown = natural_order(path for path in paths if not is_hidden(path))
    files = [(path, store.find(path)) for path in filter(is_picture, shown)]
    pictures = [Picture(path, file) for path, file in files if file]
    left_out = tuple(path for path in shown if not is_picture(path))
    lost = tuple(path for path, file in files if not file)
    if not pictures:
        others = f", but there are {_by_ending(left_out)}" if left_out else ""
        others += f"; {_named(lost)}: no file, or a link that leads nowhere" if lost else ""
        raise invalid_dataset(
            f"{source} holds no image: no file there ends in .jpg, .png or the like{others}.",
            "Name a folder or an archive of images.",
        )
    return PictureListing(pictures, left_out, lost)


def _files(paths: Sequence[str]) -> str:
    return "1 file is" if len(paths) == 1 else f"{len(paths):,} files are"


def _named(paths: Sequence[str]) -> str:
    more = len(paths) - _NAMED
    return ", ".join(paths[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _by_ending(paths: Iterable[str]) -> str:
    """How many files of each ending, the most frequent ones first."""
    counts = Counter(PurePosixPath(path).suffix.lower() or "no ending" for path in paths)
    parts = [f"{count:,} {ending}" for ending, count in counts.most_common(_NAMED)]
    rest = counts.total() - sum(count for _, count in counts.most_common(_NAMED))
    return ", ".join([*parts, f"{rest:,} others"] if rest else parts)


def _store_of(source: str, work: StagingContext) -> tuple[ImageStore, Iterable[str]]:
    """A source's files, and the names that they have in it."""
    if is_packed(source):
        archive, _ = packed(source, work)
        return archive, archive.index.files
    if is_remote(source):
        keys = [entry.key for entry in open_store(source, work.say).list()]
        names = set(filter(is_picture, keys))
        if not names:
            return Folder(Path()), keys
        return download_listed(source, names, work), keys
    root = local_path(source)
    if not root.is_dir():
        raise TrainerError(
            FailureReason.INPUT_NOT_FOUND,
            f"There is no folder or archive {root}.",
            "Name a folder of images, or a .tar.gz, .tgz or .tar archive of them.",
        )
    return Folder(root), list(files_below(root))


def _labels(sources: Sequence[str]) -> list[str]:
    """A short name of each source that no other has."""
    names = [stem(source.rstrip("/")) or "images" for source in sources]
    if len(set(names)) == len(names):
        return names
    return [f"{number}-{name}" for number, name in enumerate(names, start=1)]
