"""Brings the data to local folders: nothing is copied that is already a local file.

- A local folder and a local annotation file are used where they are.
- An archive is taken into the cache as one plain .tar, inflated and indexed while it comes. Its
  images are read in place: see `image_store.py`.
- Of an S3 folder only the images that the annotations list are downloaded, several at a time.

What was staged once is used again while the source is unchanged (size and ETag, or mtime): by the
validation set, by the next run, and by other jobs where they share DINO_CACHE_DIR. See `cache.py`.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dino_api.experiment import DataSource
from dino_api.names import Env, FailureReason
from dino_trainer.data.archive import take_in
from dino_trainer.data.archive_root import image_root
from dino_trainer.data.byte_streams import FetchedInParts
from dino_trainer.data.cache import DataCache
from dino_trainer.data.coco_file import Outline, read_outline
from dino_trainer.data.image_store import ArchivedImages, Folder, ImageStore, Index, UnseenImages
from dino_trainer.data.listed_images import download_listed
from dino_trainer.data.packing import is_archive, other_by_name, slow_gzip, useless_gzip
from dino_trainer.data.staging_context import StagingContext, fetch_entry, is_whole, key_of
from dino_trainer.errors import TrainerError, invalid_dataset, invalid_spec
from dino_trainer.storage.byte_meter import human_bytes
from dino_trainer.storage.files import named, require_room, sha256_of
from dino_trainer.storage.opening import open_store
from dino_trainer.storage.store import Say, Store, StoreEntry
from dino_trainer.storage.uris import is_remote, local_path, split


@dataclass(frozen=True)
class StagedAnnotations:
    """A source of which the annotation file alone is on the local disk, and what it lists."""

    source: DataSource
    path: Path
    outline: Outline

    @property
    def without_images(self) -> StagedSource:
        """The source, where nobody will look at its images."""
        return StagedSource(UnseenImages(self.source.image_dir), self.path, "")


@dataclass(frozen=True)
class StagedSource:
    """One source on the local disk.

    images: by the file names that the annotations use.
    digest: SHA-256 of annotations and images (the archive's content; names and sizes of files).
    fixed: the digest stands for every byte of the images, not for their names and sizes alone.
    """

    images: ImageStore
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
    work = staging(into, say, stop)
    return [stage_images(stage_annotations(source, work), work) for source in sources]


def staging(into: Path, say: Say, stop: threading.Event | None) -> StagingContext:
    """What the steps of one staging share. Arguments and failures as of `stage`."""
    into = data_root(into)
    with named(into):
        into.mkdir(parents=True, exist_ok=True)

    def say_unless_stopped(line: str) -> None:
        # Waiting for a server that is away is announced, too: a good moment to give up.
        if stop is not None and stop.is_set():
            raise TrainerError(FailureReason.PREEMPTED, "Stopped while staging the data.")
        say(line)

    return StagingContext(DataCache(into, say_unless_stopped), say_unless_stopped, stop)


def stage_annotations(source: DataSource, work: StagingContext) -> StagedAnnotations:
    """The first half of `stage`, which takes no image."""
    for key, value in (("image_dir", source.image_dir), ("json_file", source.json_file)):
        if not value:
            raise invalid_spec(f"A data source has no {key}.", f"Name the {key} of every source.")
    annotations = _annotations(source.json_file, work)
    return StagedAnnotations(source, annotations, read_outline(annotations))


def stage_images(staged: StagedAnnotations, work: StagingContext) -> StagedSource:
    """The second half of `stage`."""
    source, annotations, names = staged.source, staged.path, staged.outline.file_names
    images: ImageStore
    if archive := is_packed(source.image_dir):
        whole, content = packed(source.image_dir, work)
        images = replace(whole, root=image_root(whole.index, source.image_dir, names))
    else:
        images = _image_folder(source.image_dir, names, work)
        content = _listing_digest(images, names)
    digest = hashlib.sha256(f"{sha256_of(annotations)} {content}".encode()).hexdigest()
    return StagedSource(images, annotations, digest, fixed=archive)


def _annotations(uri: str, work: StagingContext) -> Path:
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
        fetch_entry(store, entry, into / name, work.meter(f"downloading {name}", entry.size))

    kept = f"objects/{key_of(store, entry)}"
    path = work.cache.once(kept, uri, download) / name
    if not is_whole(path, entry):
        with work.cache.writing(kept, uri) as scratch:
            download(scratch)
            work.cache.keep(scratch / name, f"{kept}/{name}")
    return path


def is_packed(uri: str) -> bool:
    """Whether images lie in an archive there; a folder may be called like one."""
    return is_archive(uri) and (is_remote(uri) or not local_path(uri).is_dir())


def packed(uri: str, work: StagingContext) -> tuple[ArchivedImages, str]:
    """An archive's content, and the archive's BLAKE3. Failures as of `stage`."""
    base, name = split(uri)
    store = open_store(base if is_remote(uri) else str(Path(base).absolute()), work.say)
    entry = _required(store, name)
    key, cache = key_of(store, entry), work.cache
    if known := _known(cache, key, uri):
        return known
    with cache.writing(f"content/{key}", uri) as scratch:
        if known := _known(cache, key, uri):
            return known
        tar = scratch / "images.tar"
        digest, index = _take_in(store, entry, uri, tar, work)
        size = tar.stat().st_size
        if useless_gzip(entry.size, size):
            work.say(slow_gzip(uri))
        note = {"uri": uri, "blake3": digest, "bytes": size}
        with named(scratch):
            index.write(scratch / "index.json")
        cache.keep(scratch / "index.json", f"indexes/{digest}.json")
        tar = cache.keep(tar, f"content/{digest}.tar")
        cache.write_note(key, note)
    return ArchivedImages(tar, index, called=uri), digest


def _known(cache: DataCache, key: str, uri: str) -> tuple[ArchivedImages, str] | None:
    """What an archive was taken in as before, by anybody.

    Nobody waits until a disk has written everything: after a power cut some may be missing, which
    the size shows.
    """
    note = cache.note(key) or {}
    digest, size = str(note.get("blake3")), note.get("bytes")
    tar = cache.path(f"content/{digest}.tar")
    if not tar.is_file() or tar.stat().st_size != size:
        return None
    index = Index.read(cache.path(f"indexes/{digest}.json"))
    return (ArchivedImages(tar, index, called=uri), digest) if index else None


def _take_in(
    store: Store, entry: StoreEntry, uri: str, into: Path, work: StagingContext
) -> tuple[str, Index]:
    """Fills the new file `into`; an archive on S3 is inflated and indexed while it comes."""
    if not is_remote(uri):
        work.say(f"Reading {uri} ({human_bytes(entry.size)})")
        moved = work.meter(f"reading {entry.key}", entry.size)
        return take_in(local_path(uri), into, name=uri, moved=moved)
    require_room(entry.size, into.parent, uri)
    work.say(f"Downloading {uri} ({human_bytes(entry.size)})")
    moved = work.meter(f"downloading {entry.key}", entry.size)
    with FetchedInParts(partial(store.stream, entry), entry.size) as stream:
        return take_in(stream, into, name=uri, moved=moved)


def _image_folder(uri: str, names: list[str], work: StagingContext) -> Folder:
    other = other_by_name(uri)
    if is_remote(uri):
        if other:
            raise other
        return download_listed(uri, set(names), work)
    path = local_path(uri)
    if path.is_dir():
        return Folder(path)
    if not path.exists():
        raise TrainerError(FailureReason.INPUT_NOT_FOUND, f"There is no folder or archive {path}.")
    raise other or invalid_dataset(
        f"{path} is neither a folder nor a .tar.gz, .tgz or .tar archive.",
        "Name a folder of images, or pack it: tar -czf images.tar.gz images/",
    )


def _required(store: Store, key: str) -> StoreEntry:
    entry = store.head(key)
    if entry is None:
        # An answer to HEAD has no body; reading says whether key, bucket or user is unknown.
        store.read_bytes(key)
        raise TrainerError(
            FailureReason.INPUT_NOT_FOUND, f"There was no {store.uri(key)} a moment ago."
        )
    return entry


def _listing_digest(images: ImageStore, names: Iterable[str]) -> str:
    """Of names and sizes: reading every image of a large folder would cost minutes."""
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(f"{name} {images.size(name)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
