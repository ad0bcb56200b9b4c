"""`manifest.json`: what lies in a results folder, by name, with size and SHA-256.

It is written after the files that it lists, so that it never promises what is not there.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

from dino_api.names import MANIFEST_FILE, FailureReason
from dino_trainer.errors import TrainerError
from dino_trainer.storage.store import Say, Store

_SCHEMA = 1
# sha256 (hex) and bytes; of a local file also mtimeNs.
Listed = dict[str, Any]


class Manifest:
    """The manifest of one store, read when it is first needed. Safe for use from several threads.

    Raises StorageUnavailable or AccessDenied where it cannot be read or written. One that cannot be
    understood counts as empty and is said to be.
    """

    def __init__(self, store: Store, say: Say) -> None:
        self._store, self._say = store, say
        self._lock = threading.RLock()
        self._loaded: dict[str, Any] | None = None

    @property
    def files(self) -> Mapping[str, Listed]:
        """What is listed, by name: never changed, only replaced."""
        files: dict[str, Listed] = self._content()["files"]
        return files

    @property
    def owner(self) -> str | None:
        """The digest of the spec whose files these are."""
        return self._content().get("specDigest")

    def own(self, digest: str, files: Mapping[str, Listed]) -> None:
        """Another owner and list, in memory: they are written with the next change."""
        with self._lock:
            self._loaded = {**self._content(), "specDigest": digest, "files": dict(files)}

    def note(self, changes: Mapping[str, Listed | None]) -> None:
        """Entries that are new, or None for those that are gone; in memory only."""
        with self._lock:
            files = {**self.files, **changes}
            known = {name: entry for name, entry in files.items() if entry is not None}
            self._loaded = {**self._content(), "files": known}

    def write(self, changes: Mapping[str, Listed | None]) -> None:
        """The same, and the file with it."""
        with self._lock:
            self.note(changes)
            text = json.dumps(self._content(), indent=2, sort_keys=True) + "\n"
            self._store.write_bytes(text.encode(), MANIFEST_FILE)

    def _content(self) -> dict[str, Any]:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _load(self) -> dict[str, Any]:
        empty: dict[str, Any] = {"schema": _SCHEMA, "files": {}}
        try:
            content = json.loads(self._store.read_bytes(MANIFEST_FILE))
        except TrainerError as error:
            if error.reason != FailureReason.INPUT_NOT_FOUND:
                raise
            return empty
        except ValueError:
            self._say(f"{self._store.uri(MANIFEST_FILE)} is not readable and will be written anew.")
            return empty
        if not isinstance(content, dict) or not isinstance(content.get("files"), dict):
            return empty
        return content
