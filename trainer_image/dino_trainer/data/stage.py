"""Brings the data to local folders: nothing is copied that is already a local file.

- A local folder and a local annotation file are used where they are.
- An archive is unpacked into the cache; one on S3 while it is downloaded, and never kept itself.
- Of an S3 folder only the images that the annotations list are downloaded, several at a time.

What was staged once is used again while the source is unchanged (size and ETag, or mtime): by the
validation set, by the next run, and by other jobs where they share DINO_CACHE_DIR. See `cache.py`.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from dino_api.names import Env, FailureReason
from dino_trainer.byte_meter import human_bytes
from dino_trainer.data.ahead import Ahead
from dino_trainer.data.archive import extract, image_root, is_archive
from dino_trainer.data.cache import Cache
from dino_trainer.data.coco_file import read_file_names
from dino_trainer.data.listed import download_listed
from dino_trainer.data.work import Work, key_of
from dino_trainer.errors import TrainerError, invalid_dataset, invalid_spec
from dino_trainer.storage import (
    Entry,
    Say,
    Store,
    is_remote,
    local_path,
    named,
    open_store,
    require_room,
    sha256_of,
    split,
)


class DataSource(Protocol):
    """One entry of `train_data_sources`: where the images and the annotations are."""

    image_dir: str
    json_file: str


@dataclass(frozen=True)
class StagedSource:
    """One source on the local disk.

    image_dir: the folder that the annotations' file names start from.
    digest: SHA-256 of annotations and images (the archive's content; names and sizes of files).
    fixed: the digest stands for every byte of the images, not for their names and sizes alone.
    """

    image_dir: Path
    annotations: Path
    digest: str
    fixed: bool = False


def data_root(into: Path) -> Path:
    """The folder of staged data: DINO_CACHE_DIR/data, which jobs share, or `into`."""
    shared = os.environ.get(Env.CACHE_DIR)
    return Path(shared, "data") if shared else into


def stage(
    sources: Sequence[DataSource], into: Path, say: Say, stop: threading.Event | None = None
) -> list[StagedSource]:
    """Makes every source local, in order.

    into: the folder for copies. say: hears what is copied and how far it is.
    stop: when set, the copying ends with Preempted.
    Raises InputNotFound, AccessDenied, StorageUnavailable, InvalidDataset, DiskFull, InvalidSpec.
    """
    into = data_root(into)
    with named(into):
        into.mkdir(parents=True, exist_ok=True)

    def say_unless_stopped(line: str) -> None:
        # Waiting for a server that is away is announced, too: a good moment to give up.
        if stop is not None and stop.is_set():
            raise TrainerError(FailureReason.PREEMPTED, "Stopped while staging the data.")
        say(line)

    work = Work(Cache(into, say_unless_stopped), say_unless_stopped, stop)
    return [_stage_source(source, work) for source in sources]


def _stage_source(source: DataSource, work: Work) -> StagedSource:
    for key, value in (("image_dir", source.image_dir), ("json_file", source.json_file)):
        if not value:
            raise invalid_spec(f"A data source has no {key}.", f"Name the {key} of every source.")
    annotations = _annotations(source.json_file, work)
    names = read_file_names(annotations)
    if is_archive(source.image_dir):
        folder, content = _unpacked(source.image_dir, work)
        folder = image_root(folder, source.image_dir, names)
    else:
        folder = _image_folder(source.image_dir, names, work)
        content = _listing_digest(folder, names)
    digest = hashlib.sha256(f"{sha256_of(annotations)} {content}".encode()).hexdigest()
    return StagedSource(folder, annotations, digest, is_archive(source.image_dir))


def _annotations(uri: str, work: Work) -> Path:
    base, name = split(uri)
    if not is_remote(uri):
        path = local_path(uri)
        if not path.is_file():
            raise TrainerError(FailureReason.INPUT_NOT_FOUND, f"There is no file {path}.")
        return path
    store = open_store(base, work.say)
    entry = _required(store, name)

    def download(into: Path) -> None:
        require_room(entry.size, into, uri)
        work.say(f"Downloading {uri}")
        store.download(name, into / name, work.meter(f"downloading {name}", entry.size))

    return work.cache.once(f"objects/{key_of(store, entry)}", uri, download) / name


def _unpacked(uri: str, work: Work) -> tuple[Path, str]:
    """The folder with an archive's content, and the archive's SHA-256."""
    base, name = split(uri)
    store = open_store(base if is_remote(uri) else str(Path(base).absolute()), work.say)
    entry = _required(store, name)
    key, cache = key_of(store, entry), work.cache
    if known := _known(cache, key):
        return known
    with cache.writing(f"content/{key}", uri) as scratch:
        if known := _known(cache, key):
            return known
        digest = _unpack(store, entry, uri, scratch / "files", work)
        note = {"uri": uri, "sha256": digest, "bytes": _bytes_in(scratch / "files")}
        if _bytes_in(cache.path(f"content/{digest}")) != note["bytes"]:
            cache.drop(f"content/{digest}")
        files = cache.keep(scratch / "files", f"content/{digest}")
        cache.write_note(key, note)
    return files, digest


def _known(cache: Cache, key: str) -> tuple[Path, str] | None:
    """What an archive was unpacked to before, by anybody.

    Nobody waits until a disk has written every file: after a power cut some may be empty, which
    their sizes show.
    """
    note = cache.note(key)
    if not note:
        return None
    files = cache.path(f"content/{note.get('sha256')}")
    return (files, str(note["sha256"])) if _bytes_in(files) == note.get("bytes") else None


def _bytes_in(folder: Path) -> int:
    """Of all files, -1 without a folder."""
    if not folder.is_dir():
        return -1
    with named(folder):
        return sum(
            os.stat(os.path.join(at, name)).st_size
            for at, _, names in os.walk(folder)
            for name in names
        )


def _unpack(store: Store, entry: Entry, uri: str, into: Path, work: Work) -> str:
    """Fills the new folder `into`; an archive on S3 is unpacked while it comes."""
    if not is_remote(uri):
        work.say(f"Unpacking {uri}")
        moved = work.meter(f"unpacking {entry.key}", entry.size)
        return extract(local_path(uri), into, name=uri, moved=moved)
    require_room(entry.size, into.parent, uri)
    work.say(f"Downloading and unpacking {uri} ({human_bytes(entry.size)})")
    moved = work.meter(f"downloading {entry.key}", entry.size)
    with Ahead(partial(store.read_part, entry), entry.size) as stream:
        return extract(stream, into, name=uri, moved=moved)


def _image_folder(uri: str, names: list[str], work: Work) -> Path:
    if is_remote(uri):
        return download_listed(uri, set(names), work)
    path = local_path(uri)
    if path.is_dir():
        return path
    if not path.exists():
        raise TrainerError(FailureReason.INPUT_NOT_FOUND, f"There is no folder or archive {path}.")
    raise invalid_dataset(
        f"{path} is neither a folder nor a .tar.gz, .tgz or .tar archive.",
        "Name a folder of images, or pack it: tar -czf images.tar.gz images/",
    )


def _required(store: Store, key: str) -> Entry:
    entry = store.head(key)
    if entry is None:
        # An answer to HEAD has no body; reading says whether key, bucket or user is unknown.
        store.read_bytes(key)
        raise TrainerError(
            FailureReason.INPUT_NOT_FOUND, f"There was no {store.uri(key)} a moment ago."
        )
    return entry


def _listing_digest(folder: Path, names: Iterable[str]) -> str:
    """Of names and sizes: reading every image of a large folder would cost minutes."""
    digest = hashlib.sha256()
    for name in sorted(names):
        path = folder / name
        size = path.stat().st_size if path.is_file() else -1
        digest.update(f"{name} {size}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
