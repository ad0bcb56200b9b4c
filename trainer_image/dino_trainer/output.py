"""The results folder of one action: local files, and their published copies.

`Output.dir` is where files are made. `publish` makes one safe at its final place; with a local
results folder that is the same file, with S3 it is uploaded. Beside the files lies `manifest.json`
with the size and SHA-256 of each: it is written after the payload, so that it never promises what
is not there, and `fetch` checks against it. An S3 object also carries its SHA-256 as metadata,
written in one step with the content: when a run is killed between payload and manifest, the newer
payload still proves itself.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from dino_api.names import FailureReason
from dino_trainer.byte_meter import ByteMeter
from dino_trainer.errors import TrainerError, invalid_spec
from dino_trainer.storage import (
    Say,
    Stored,
    is_remote,
    local_path,
    named,
    open_store,
    print_line,
    sha256_of,
)

MANIFEST = "manifest.json"
_SCHEMA = 1


class Output:
    """Files of `<results_dir>/<action>/`. Not safe for use from several threads.

    results_dir: a folder or s3:// URI. work_dir: where files are made if that is not local.
    say: hears of retries, slow uploads and damaged files.
    folder: used as it is in place of `<results_dir>/<action>` (TAO's `train.results_dir`).
    Raises InvalidSpec without a results_dir, AccessDenied where the folder cannot be made.
    """

    def __init__(
        self,
        results_dir: str,
        action: str,
        work_dir: Path,
        say: Say = print_line,
        *,
        folder: str = "",
    ) -> None:
        if not (results_dir or folder):
            raise invalid_spec(
                "results_dir is not set.", "Add results_dir: /path or s3://bucket/path."
            )
        self._base = folder.rstrip("/") or f"{results_dir.rstrip('/')}/{action}"
        self._store = open_store(self._base, say)
        self._say = say
        self._remote = is_remote(self._base)
        self._manifest: dict[str, Any] | None = None
        if self._remote:
            place = hashlib.sha256(self._base.encode()).hexdigest()[:16]
            self.dir = work_dir / "output" / place / action
        else:
            self.dir = local_path(self._base)
        with named(self.dir):
            self.dir.mkdir(parents=True, exist_ok=True)

    def uri(self, name: str) -> str:
        """Where `name` lies once it is published."""
        return self._store.uri(name)

    def claim(self, digest: str) -> None:
        """Makes this the output of the spec with this digest; call before the first publish.

        Raises InvalidSpec, having changed nothing, if another spec's files are here: a training
        that overwrote them would lose its owner's checkpoint.
        """
        manifest = self._read_manifest()
        owner = manifest.get("specDigest")
        worth = any(name.endswith(".pth") for name in manifest["files"])
        if worth and owner not in (None, digest):
            raise invalid_spec(
                f"{self._base} holds the results of another experiment (spec digest "
                f"{owner[:12]}…, this one has {digest[:12]}…).",
                "Choose another output (results_dir), or delete that one first.",
            )
        if owner not in (None, digest):
            # What an attempt without a checkpoint left behind says nothing about this experiment.
            manifest["files"] = {}
        manifest["specDigest"] = digest

    def published(self) -> dict[str, Stored]:
        """What the manifest lists, by name."""
        files = self._read_manifest()["files"]
        return {n: Stored(self.uri(n), f["sha256"], f["bytes"]) for n, f in files.items()}

    def exists(self, name: str) -> bool:
        """Whether `name` lies at its final place."""
        return self._store.exists(name)

    def publish(self, name: str) -> Stored:
        """Makes `dir/name` safe at its final place; the file itself stays.

        Raises StorageUnavailable, AccessDenied, InputNotFound (no such bucket) after retries; the
        message says where the local file is kept.
        """
        path = self.dir / name
        try:
            stored = self._upload(path, name) if self._remote else self._hash(path, name)
            self._record(name, stored, path)
        except TrainerError as error:
            raise TrainerError(
                error.reason, f"{error.message} {name} is kept at {path}.", error.remedy
            ) from error
        return stored

    def fetch(self, name: str) -> Path | None:
        """The local path of a published file, checked; None where there is none to be trusted.

        A file that differs from the manifest is reported through `say` and not used.
        """
        path = self.dir / name
        expected = self._read_manifest()["files"].get(name)
        if not self._remote:
            return self._checked_local(path, expected) if path.is_file() else None
        if expected and path.is_file() and sha256_of(path) == expected["sha256"]:
            return path
        return self._downloaded(name, path, expected)

    def _upload(self, path: Path, name: str) -> Stored:
        with named(path):
            meter = ByteMeter(f"uploading {name}", path.stat().st_size, self._say)
        return self._store.upload(path, name, meter)

    def _hash(self, path: Path, name: str) -> Stored:
        with named(path):
            return Stored(self.uri(name), sha256_of(path), path.stat().st_size)

    def _record(self, name: str, stored: Stored, path: Path) -> None:
        entry: dict[str, Any] = {"sha256": stored.sha256, "bytes": stored.bytes}
        if not self._remote:
            entry["mtimeNs"] = path.stat().st_mtime_ns
        manifest = self._read_manifest()
        manifest["files"][name] = entry
        text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
        self._store.write_bytes(text.encode(), MANIFEST)

    def _checked_local(self, path: Path, expected: dict[str, Any] | None) -> Path | None:
        if expected is None or path.stat().st_mtime_ns != expected.get("mtimeNs"):
            # Replaced since: by a run that was killed before it could note it, or by its owner.
            return path
        if sha256_of(path) == expected["sha256"]:
            return path
        self._say(_damaged(str(path), expected["bytes"], path.stat().st_size))
        return None

    def _downloaded(self, name: str, path: Path, expected: dict[str, Any] | None) -> Path | None:
        if not self._store.exists(name):
            return None
        aside = path.with_name(f".{name}.fetched")
        try:
            self._store.download(name, aside, ByteMeter(f"downloading {name}", 0, self._say))
            own = self._store.digest_of(name)
            trusted = {own, expected and expected["sha256"]} - {None}
            if trusted and sha256_of(aside) not in trusted:
                size = expected["bytes"] if expected else 0
                self._say(_damaged(self.uri(name), size, aside.stat().st_size))
                return None
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)
        return path

    def _read_manifest(self) -> dict[str, Any]:
        if self._manifest is None:
            self._manifest = self._load_manifest()
        return self._manifest

    def _load_manifest(self) -> dict[str, Any]:
        empty: dict[str, Any] = {"schema": _SCHEMA, "files": {}}
        try:
            manifest = json.loads(self._store.read_bytes(MANIFEST))
        except TrainerError as error:
            if error.reason != FailureReason.INPUT_NOT_FOUND:
                raise
            return empty
        except ValueError:
            self._say(f"{self.uri(MANIFEST)} is not readable and will be written anew.")
            return empty
        if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
            return empty
        return manifest


def _damaged(where: str, expected: int, found: int) -> str:
    return (
        f"{where} differs from what was published ({found:,} bytes, {expected:,} expected, or "
        "another SHA-256): it is not used."
    )
