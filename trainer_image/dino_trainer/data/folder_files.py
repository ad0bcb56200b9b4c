"""The files in and below a folder, however deep; links are followed as reading them would."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from dino_trainer.storage.files import named

# What systems keep beside people's files: forks, thumbnails, what was lost and what was deleted.
_OF_SYSTEMS = ("__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information")


def is_hidden(path: str) -> bool:
    """Whether a file is none of people's own: hidden, or in a folder that a system keeps."""
    return any(part.startswith(".") or part in _OF_SYSTEMS for part in PurePosixPath(path).parts)


def files_below(root: Path) -> Iterator[str]:
    """Their paths from `root` on, with `/` between the parts. Hidden folders are not looked into.

    A link to a file counts, also one that leads nowhere. A link to a folder counts for what is in
    it, wherever that lies, but for one in which it lies itself: it would bring all once more, for
    ever.

    Raises TrainerError: AccessDenied and the like, with the very folder that cannot be read, since
    what is in it would be missing without a word.
    """
    return _below(root, "", frozenset())


def _below(folder: Path, at: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    with named(folder):
        stat = folder.stat()
        place = (stat.st_dev, stat.st_ino)
        if place in above:
            return
        with os.scandir(folder) as listing:
            entries = [(entry.name, _is_folder(entry)) for entry in listing]
    for name, is_folder in entries:
        if not is_folder:
            yield f"{at}{name}"
        elif not is_hidden(name):
            yield from _below(folder / name, f"{at}{name}/", above | {place})


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Raises OSError where a link leads to what must not be looked at."""
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:  # links that lead to one another, and nowhere else
            return False
        raise
