"""What every step of one staging needs, and the names that staged things have."""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from dino_api.names import Env
from dino_trainer.data.cache import DataCache
from dino_trainer.storage.byte_meter import ByteMeter
from dino_trainer.storage.store import Moved, Say, Store, StoreEntry, changed


@dataclass(frozen=True)
class StagingContext:
    """The folders of one staging, and who hears of it.

    stop: when set, the copying ends with Preempted.
    """

    cache: DataCache
    say: Say
    stop: threading.Event | None

    def meter(self, what: str, total: int) -> ByteMeter:
        """Counts the bytes of one copy."""
        return ByteMeter(what, total, self.say, self.stop)


def fetch_entry(store: Store, entry: StoreEntry, path: Path, moved: Moved) -> None:
    """Downloads this very object, after which what is kept of it is called.

    Raises StorageUnavailable where somebody has replaced it since it was looked at.
    """
    store.download(entry.key, path, moved)
    if store.head(entry.key) != entry:
        raise changed(store.uri(entry.key))


def is_whole(path: Path, entry: StoreEntry) -> bool:
    """Whether a file has all that was written: after a power cut some of it may be missing."""
    try:
        return path.stat().st_size == entry.size
    except OSError:
        return False


def key_of(store: Store, *entries: StoreEntry) -> str:
    """A name for exactly these objects: where they lie, and the store's own account of them.

    What two servers call by one URI are different things.
    """
    server = os.environ.get(Env.S3_ENDPOINT, "")
    lines = [server, store.uri(""), *(f"{e.key} {e.size} {e.etag}" for e in entries)]
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:32]
