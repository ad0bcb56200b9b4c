"""Brings the data to local folders: nothing is copied that is already a local file.

- A local folder and a local annotation file are used where they are.
- An archive (local or on S3) is unpacked below `into`; an S3 archive is deleted once unpacked.
- Of an S3 folder only the images that the annotations list are downloaded, several at a time.

What was staged once is used again while the source is unchanged (size and ETag, or mtime), so that
a validation set that equals the training set, or a second run on a laptop, costs nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dino_api.names import Env, FailureReason
from dino_trainer.byte_meter import ByteMeter, human_bytes
from dino_trainer.data.archive import extract, image_root, is_archive
from dino_trainer.data.coco_file import read_file_names
from dino_trainer.errors import TrainerError, invalid_dataset, invalid_spec
from dino_trainer.storage import (
    Entry,
    LocalStore,
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

_THREADS = 16


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


@dataclass(frozen=True)
class _Place:
    """Where one URI's copy lies: `files` beside a note of what the source was when copied."""

    folder: Path

    @property
    def files(self) -> Path:
        return self.folder / "files"

    def note(self) -> dict[str, Any]:
        """{"etags": {key: etag}, …}, empty where nothing whole was ever copied."""
        try:
            note = json.loads((self.folder / "source.json").read_bytes())
        except (OSError, ValueError):
            return {"etags": {}}
        return note

    def mark(self, entries: Iterable[Entry], **facts: str) -> None:
        etags = {entry.key: entry.etag for entry in entries}
        LocalStore(self.folder).write_bytes(
            json.dumps({"etags": etags, **facts}).encode(), "source.json"
        )

    def clear(self) -> None:
        with named(self.folder):
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)


@dataclass(frozen=True)
class _Stage:
    """What every step of one staging needs."""

    into: Path
    say: Say
    stop: threading.Event | None

    def place(self, uri: str) -> _Place:
        """The cache of one URI."""
        return _Place(self.into / hashlib.sha256(uri.encode()).hexdigest()[:16])

    def meter(self, what: str, total: int) -> ByteMeter:
        return ByteMeter(what, total, self.say, self.stop)


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

    work = _Stage(into, say_unless_stopped, stop)
    return [_stage_source(source, work) for source in sources]


def _stage_source(source: DataSource, work: _Stage) -> StagedSource:
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


def _annotations(uri: str, work: _Stage) -> Path:
    base, name = split(uri)
    if not is_remote(uri):
        path = local_path(uri)
        if not path.is_file():
            raise TrainerError(FailureReason.INPUT_NOT_FOUND, f"There is no file {path}.")
        return path
    store, place = open_store(base, work.say), work.place(uri)
    entry = _required(store, name)
    path = place.files / name
    if place.note()["etags"].get(name) != entry.etag or not path.is_file():
        work.say(f"Downloading {uri}")
        store.download(name, path, work.meter(f"downloading {name}", entry.size))
        place.mark([entry])
    return path


def _unpacked(uri: str, work: _Stage) -> tuple[Path, str]:
    """The folder with an archive's content, and the archive's SHA-256."""
    base, name = split(uri)
    store, place = open_store(base, work.say), work.place(uri)
    entry = _required(store, name)
    note = place.note()
    if note["etags"].get(name) == entry.etag and place.files.is_dir():
        return place.files, note["sha256"]
    place.clear()
    archive = _archive_file(store, entry, uri, work)
    work.say(f"Unpacking {uri}")
    moved = work.meter(f"unpacking {name}", entry.size)
    digest = extract(archive, place.files, name=uri, moved=moved)
    if is_remote(uri):
        archive.unlink()
    place.mark([entry], sha256=digest)
    return place.files, digest


def _archive_file(store: Store, entry: Entry, uri: str, work: _Stage) -> Path:
    if not is_remote(uri):
        return local_path(uri)
    path = work.place(uri).folder / entry.key
    require_room(entry.size, path.parent, uri)
    work.say(f"Downloading {uri}")
    store.download(entry.key, path, work.meter(f"downloading {entry.key}", entry.size))
    return path


def _image_folder(uri: str, names: list[str], work: _Stage) -> Path:
    if is_remote(uri):
        return _download_listed(uri, set(names), work)
    path = local_path(uri)
    if path.is_dir():
        return path
    if not path.exists():
        raise TrainerError(FailureReason.INPUT_NOT_FOUND, f"There is no folder or archive {path}.")
    raise invalid_dataset(
        f"{path} is neither a folder nor a .tar.gz, .tgz or .tar archive.",
        "Name a folder of images, or pack it: tar -czf images.tar.gz images/",
    )


def _download_listed(uri: str, names: set[str], work: _Stage) -> Path:
    """Downloads what is both listed in the annotations and there.

    What is missing is reported with the dataset's other flaws when it is loaded.
    """
    store, place = open_store(uri, work.say), work.place(uri)
    entries = [entry for entry in store.list() if entry.key in names]
    if not entries:
        raise TrainerError(
            FailureReason.INPUT_NOT_FOUND,
            f"{uri} holds none of the {len(names)} images that the annotations list.",
        )
    have = place.note()["etags"]
    wanted = [
        e for e in entries if have.get(e.key) != e.etag or not (place.files / e.key).is_file()
    ]
    if wanted:
        total = sum(entry.size for entry in wanted)
        require_room(total, work.into, uri)
        work.say(f"Downloading {len(wanted)} images ({human_bytes(total)}) from {uri}")
        _download_all(store, wanted, place.files, work.meter(f"downloading from {uri}", total))
        place.mark(entries)
    return place.files


def _download_all(store: Store, entries: list[Entry], into: Path, meter: ByteMeter) -> None:
    with ThreadPoolExecutor(_THREADS) as pool:
        jobs = [pool.submit(store.download, e.key, into / e.key, meter) for e in entries]
        try:
            for job in as_completed(jobs):
                job.result()
        finally:
            # After an error the pool would first download everything that still waits.
            pool.shutdown(wait=True, cancel_futures=True)


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
