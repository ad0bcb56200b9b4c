"""`manifest.json`: what lies in a results folder, by name, with size and SHA-256.

It is written after the files that it lists, so that it never promises what is not there.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import NotRequired, TypedDict, TypeGuard

from dino_api.names import MANIFEST_FILE, FailureReason
from dino_trainer.errors import TrainerError
from dino_trainer.storage.store import Say, Store

_SCHEMA = 1


class ManifestEntry(TypedDict):
    """One file. sha256: hex. mtimeNs: of a local one."""

    sha256: str
    bytes: int
    mtimeNs: NotRequired[int]


class ManifestContent(TypedDict):
    """The whole file. specDigest: of whose files these are."""

    schema: int
    files: Mapping[str, ManifestEntry]
    specDigest: NotRequired[str]


class Manifest:
    """The manifest of one store, read when it is first needed. Safe for use from several threads.

    Raises StorageUnavailable or AccessDenied where it cannot be read or written. One that cannot be
    understood counts as empty and is said to be.
    """

    def __init__(self, store: Store, say: Say) -> None:
        self._store, self._say = store, say
        self._lock = threading.RLock()
        # Not the other one: what is listed is asked for while a server hangs in a write of it.
        self._writing = threading.Lock()
        self._loaded: ManifestContent | None = None

    @property
    def files(self) -> Mapping[str, ManifestEntry]:
        """What is listed, by name: never changed, only replaced."""
        return self._content()["files"]

    @property
    def owner(self) -> str | None:
        """The digest of the spec whose files these are."""
        return self._content().get("specDigest")

    def own(self, digest: str, files: Mapping[str, ManifestEntry]) -> None:
        """Another owner and list, in memory: they are written with the next change."""
        with self._lock:
            self._loaded = {**self._content(), "specDigest": digest, "files": dict(files)}

    def note(self, changes: Mapping[str, ManifestEntry | None]) -> None:
        """Entries that are new, or None for those that are gone; in memory only."""
        with self._lock:
            files = {**self.files, **changes}
            known = {name: entry for name, entry in files.items() if entry is not None}
            self._loaded = {**self._content(), "files": known}

    def write(self, changes: Mapping[str, ManifestEntry | None]) -> None:
        """The same, and the file with it."""
        with self._writing:
            self.note(changes)
            text = json.dumps(self._content(), indent=2, sort_keys=True) + "\n"
            self._store.write_bytes(text.encode(), MANIFEST_FILE)

    def _content(self) -> ManifestContent:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _load(self) -> ManifestContent:
        empty: ManifestContent = {"schema": _SCHEMA, "files": {}}
        try:
            content = json.loads(self._store.read_bytes(MANIFEST_FILE))
        except TrainerError as error:
            if error.reason != FailureReason.INPUT_NOT_FOUND:
                raise
            return empty
        except (RecursionError, ValueError):
            content = None
        if not _is_manifest(content):
            self._say(f"{self._store.uri(MANIFEST_FILE)} is not readable and will be written anew.")
            return empty
        return content


def _is_manifest(content: object) -> TypeGuard[ManifestContent]:
    if not isinstance(content, dict) or not isinstance(content.get("files"), dict):
        return False
    owner = content.get("specDigest")
    return (owner is None or isinstance(owner, str)) and all(
        map(_is_listed, content["files"].values())
    )


def _is_listed(entry: object) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("sha256"), str):
        return False
    return isinstance(entry.get("bytes"), int) and isinstance(entry.get("mtimeNs", 0), int)
