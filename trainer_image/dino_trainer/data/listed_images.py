"""The images of an S3 folder: those that the annotations list, each downloaded once."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from dino_api.names import FailureReason
from dino_trainer.data.byte_streams import PART
from dino_trainer.data.image_store import Folder
from dino_trainer.data.name_forms import composed, leaves_folder
from dino_trainer.data.nearby import Nearby
from dino_trainer.data.staging_context import StagingContext, fetch_entry, is_whole, key_of
from dino_trainer.errors import TrainerError
from dino_trainer.storage.byte_meter import human_bytes
from dino_trainer.storage.files import named, require_room
from dino_trainer.storage.opening import open_store
from dino_trainer.storage.store import Store, StoreEntry, changed

_THREADS = 16
# Names of other files that are kept, for saying what a missing one may be.
_OTHERS = 100_000


def download_listed(uri: str, names: set[str], work: StagingContext) -> Folder:
    """A folder with what is both listed in the annotations and there, in whatever form of Unicode.

    What is missing is reported with the dataset's other flaws when it is loaded.
    """
    store, cache = open_store(uri, work.say), work.cache
    wanted = set(map(composed, names))
    entries: list[StoreEntry] = []
    others: list[str] = []
    for entry in store.list():
        if leaves_folder(entry.key):
            continue
        if composed(entry.key) in wanted:
            entries.append(entry)
        elif len(others) < _OTHERS:
            others.append(entry.key)
    entries.sort()
    keys = (*(entry.key for entry in entries), *others)
    if not entries and names:
        hint = Nearby(keys).hint(min(names))
        why = f" ({min(names)}: {hint.cause})" if hint else ""
        raise TrainerError(
            FailureReason.INPUT_NOT_FOUND,
            f"{uri} holds none of the {len(names)} images that the annotations list{why}.",
            hint.remedy if hint else None,
        )
    objects = {entry: cache.path(f"images/{key_of(store, entry)}") for entry in entries}

    def gather(into: Path) -> None:
        wanted = [entry for entry, path in objects.items() if not is_whole(path, entry)]
        _download_all(store, {entry: objects[entry] for entry in wanted}, into, uri, work)
        for entry, path in objects.items():
            _link(path, into / entry.key)

    name = f"lists/{key_of(store, *entries)}"
    root = cache.once(name, uri, gather)
    if broken := [entry for entry in entries if not is_whole(root / entry.key, entry)]:
        with cache.writing(name, uri) as scratch:
            gather(scratch / "again")
            for entry in broken:
                cache.keep(scratch / "again" / entry.key, f"{name}/{entry.key}")
    return Folder(root, uri, keys)


def _link(path: Path, at: Path) -> None:
    """A second name for a file that never changes; a copy where the disk knows no such thing."""
    with named(at):
        at.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, at)
        except (OSError, NotImplementedError):
            shutil.copyfile(path, at)


def _read(store: Store, entry: StoreEntry) -> bytes:
    """The content of this very object. Raises StorageUnavailable where it was replaced since."""
    content = b"".join(store.read_part(entry, 0, entry.size)) if entry.size else b""
    if len(content) != entry.size:
        raise changed(store.uri(entry.key))
    return content


def _download_all(
    store: Store, wanted: dict[StoreEntry, Path], scratch: Path, uri: str, work: StagingContext
) -> None:
    total = sum(entry.size for entry in wanted)
    if not wanted:
        return
    require_room(total, scratch, uri)
    work.say(f"Downloading {len(wanted)} images ({human_bytes(total)}) from {uri}")
    meter = work.meter(f"downloading from {uri}", total)

    def download(entry: StoreEntry, path: Path) -> None:
        with named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        # Ours alone until it is whole: others may be downloading the same image.
        aside = scratch.parent / path.name
        if entry.size > PART:
            fetch_entry(store, entry, aside, meter)
        else:
            content = _read(store, entry)  # a managed transfer costs more than most images
            with named(aside):
                aside.write_bytes(content)
            meter(len(content))
        with named(path):
            os.replace(aside, path)

    with ThreadPoolExecutor(_THREADS) as pool:
        jobs = [pool.submit(download, entry, path) for entry, path in wanted.items()]
        try:
            for job in as_completed(jobs):
                job.result()
        finally:
            # After an error the pool would first download everything that still waits.
            pool.shutdown(wait=True, cancel_futures=True)
