"""What an action has published: files at their final place, with the manifest that lists them.

Beside the files lies `manifest.json` with the size and SHA-256 of each, written after the payload;
`fetch` checks against it. An S3 object also carries its SHA-256 as metadata, written in one step
with the content: when a run is killed between payload and manifest, the newer payload still proves
itself. What a file was before can be kept under a second name, copied by the server before the new
content arrives, so that at every moment one of the two is whole.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from threading import Event

from dino_api.names import FailureReason
from dino_trainer.errors import TrainerError
from dino_trainer.results.manifest import Manifest, ManifestEntry
from dino_trainer.results.readback import damaged
from dino_trainer.storage.byte_meter import ByteMeter
from dino_trainer.storage.files import named, sha256_of
from dino_trainer.storage.store import Say, Store, StoredFile
from dino_trainer.storage.uris import is_remote


class PublishedFiles:
    """The files of one store and their local copies. Safe for use from two threads.

    store: of the results folder. folder: where files are made; that of the store where it is local.
    say: hears of slow transfers and of damaged files.
    """

    def __init__(self, store: Store, folder: Path, say: Say) -> None:
        self.store, self.dir, self._say = store, folder, say
        self.remote = is_remote(store.uri(""))
        self.manifest = Manifest(store, say)

    def put(
        self, path: Path, name: str, previous: str, outdated: Event | None = None
    ) -> StoredFile:
        """Publishes the content of `path` as `name`."""
        try:
            with named(path):
                size = path.stat().st_size
                kept = self._kept(name, previous) if previous else {}
                if self.remote:
                    meter = ByteMeter(f"uploading {name}", size, self._say, outdated)
                    stored = self.store.upload(path, name, meter)
                else:
                    stored = StoredFile(self.store.uri(name), sha256_of(path), size)
                self.manifest.write({**kept, name: self._listed(stored, path)})
        except TrainerError as error:
            where = f"{error.message} {name} is kept at {self.dir / name}."
            raise TrainerError(error.reason, where, error.remedy) from error
        return stored

    def _listed(self, stored: StoredFile, path: Path) -> ManifestEntry:
        entry: ManifestEntry = {"sha256": stored.sha256, "bytes": stored.bytes}
        if not self.remote:
            entry["mtimeNs"] = path.stat().st_mtime_ns
        return entry

    def _kept(self, name: str, previous: str) -> Mapping[str, ManifestEntry]:
        """The entry of what was `name`, now as `previous`; none where that is not worth keeping."""
        entry = self.manifest.files.get(name)
        if entry is None:
            return {}
        if self.remote:
            stored = self.store.head(name)
            whole = stored and stored.size == entry["bytes"]
            if not whole or self.store.digest_of(name) != entry["sha256"]:
                return {}
            try:
                self.store.copy(name, previous)
            except TrainerError as error:
                if error.reason == FailureReason.STORAGE_UNAVAILABLE:
                    raise
                self._say(f"The {name} before this one is not kept: {error.message}")
                return {}
        return {previous: entry}

    def erase(self, name: str) -> None:
        """Makes `name` be gone from its final place."""
        if name in self.manifest.files:
            self.manifest.write({name: None})
        self.store.remove(name)

    def fetch(self, name: str) -> Path | None:
        """The local path of a published file, checked; None where there is none to be trusted.

        One that differs from the manifest, or is gone, is reported through `say` and not used."""
        path = self.dir / name
        expected = self.manifest.files.get(name)
        if self.remote and expected and path.is_file() and sha256_of(path) == expected["sha256"]:
            return path
        fetched = self._downloaded(name, path, expected) if self.remote else None
        if not self.remote and path.is_file():
            fetched = self._checked_local(name, path, expected)
        elif fetched is None and expected and not self.store.exists(name):
            self._say(f"{self.store.uri(name)} was published and is gone.")
            self.manifest.note({name: None})
        return fetched

    def _checked_local(self, name: str, path: Path, expected: ManifestEntry | None) -> Path | None:
        if expected is None or path.stat().st_mtime_ns != expected.get("mtimeNs"):
            # Replaced since: by a run that was killed before it could note it, or by its owner.
            return path
        if sha256_of(path) == expected["sha256"]:
            return path
        self._say(damaged(str(path), expected["bytes"], path.stat().st_size))
        self.reject(name)
        return None

    def _downloaded(self, name: str, path: Path, expected: ManifestEntry | None) -> Path | None:
        if not self.store.exists(name):
            return None
        aside = path.with_name(f".{path.name}.fetched")
        try:
            self.store.download(name, aside, ByteMeter(f"downloading {name}", 0, self._say))
            own, actual = self.store.digest_of(name), sha256_of(aside)
            trusted = {own, expected and expected["sha256"]} - {None}
            if trusted and actual not in trusted:
                size = expected["bytes"] if expected else 0
                self._say(damaged(self.store.uri(name), size, aside.stat().st_size))
                self.reject(name)
                return None
            self.manifest.note({name: {"sha256": actual, "bytes": aside.stat().st_size}})
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)
        return path

    def reject(self, name: str) -> None:
        """Keeps what is published as `name`, which is damaged, from replacing the one before it:
        a local file is set aside as `<name>.damaged`."""
        self.manifest.note({name: None})
        path = self.dir / name
        if path.is_file():
            os.replace(path, path.with_name(f"{path.name}.damaged"))
