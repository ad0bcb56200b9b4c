"""Files of this machine: written at once or not at all, and digested."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dino_api.names import FailureReason
from dino_trainer.errors import TrainerError, from_os_error
from dino_trainer.storage.store import Moved


def require_room(size: int, folder: Path, what: str) -> None:
    """Raises DiskFull if `what`, of `size` bytes, cannot fit on the disk of `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if size > free:
        raise TrainerError(
            FailureReason.DISK_FULL,
            f"{what} takes {size:,} bytes and {folder} has {free:,} free.",
        )


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
def replacing(path: Path, previous: Path | None = None) -> Iterator[Path]:
    """A path to write to; on success it is fsynced and takes the place of `path` in one step.

    previous: where the file now at `path` is kept, if anywhere. On any error both keep what they
    had.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield aside
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        if previous is not None and path.exists():
            path.replace(previous)
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
