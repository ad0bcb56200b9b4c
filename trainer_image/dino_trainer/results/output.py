"""The results folder of one action: local files, and their published copies.

`Output.dir` is where files are made. `publish` makes one safe at its final place; with a local
results folder that is the same file, with S3 it is uploaded. `publish_soon` uploads beside the
training. Beside the files lies `manifest.json` with the size and SHA-256 of each, written after the
payload; `fetch` checks against it. An S3 object also carries its SHA-256 as metadata, written in
one step with the content: when a run is killed between payload and manifest, the newer payload
still proves itself. What a file was before can be kept under a second name, copied by the server
before the new content arrives, so that at every moment one of the two is whole.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from threading import Event

from dino_api.names import LATEST_CHECKPOINT, Env, FailureReason
from dino_api.result import Artifact
from dino_trainer.errors import TrainerError, invalid_spec
from dino_trainer.results.manifest import Listed, Manifest
from dino_trainer.results.readback import confirm, damaged, doubt
from dino_trainer.results.uploads import Job, Uploads
from dino_trainer.storage.byte_meter import ByteMeter
from dino_trainer.storage.files import named, sha256_of
from dino_trainer.storage.opening import open_store
from dino_trainer.storage.store import Say, Stored, print_line
from dino_trainer.storage.uris import is_remote, local_path

# Of a pod's 120 seconds of grace the rest is for the step, the checkpoint and the last words.
STOP_SECONDS, _SLICE = 90.0, 0.2


class Output:
    """Files of `<results_dir>/<action>/`. For use from one thread; it has one of its own.

    results_dir: a folder or s3:// URI. work_dir: where files are made if that is not local.
    say: hears of retries, slow uploads and damaged files; called from both threads.
    folder: used as it is in place of `<results_dir>/<action>` (TAO's `<action>.results_dir`).
    stop: once it is set, nothing waits longer than 90 seconds for an upload.
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
        stop: Event | None = None,
        make: bool = True,
    ) -> None:
        if not (results_dir or folder):
            raise invalid_spec(
                "results_dir is not set.", "Add results_dir: /path or s3://bucket/path."
            )
        self._base = folder.rstrip("/") or f"{results_dir.rstrip('/')}/{action}"
        self._store = open_store(self._base, say)
        self._say = say
        self._stop = stop or Event()
        self._remote = is_remote(self._base)
        self._manifest = Manifest(self._store, say)
        if self._remote:
            place = hashlib.sha256(self._base.encode()).hexdigest()[:16]
            self.dir = work_dir / "output" / place / action
        else:
            self.dir = local_path(self._base)
        if make or self._remote:
            with named(self.dir):
                self.dir.mkdir(parents=True, exist_ok=True)
        self._uploads = Uploads(self.dir / ".uploads", say)
        self._ends: float | None = None
        self.stuck = False

    def uri(self, name: str) -> str:
        """Where `name` lies once it is published."""
        return self._store.uri(name)

    def claim(
        self, digest: str, finished: bool = False, differing: Callable[[], str] = lambda: ""
    ) -> None:
        """Makes this the output of the spec with this digest; call before the first publish.

        finished: a run has succeeded here, of whatever spec. differing: asked by what keys that
        spec differs. Raises InvalidSpec, having changed nothing, if another spec's checkpoints or
        result would be overwritten.
        """
        owner, files = self._manifest.owner, self._manifest.files
        theirs = owner not in (None, digest)
        if theirs and (finished or any(name.endswith(".pth") for name in files)):
            by = differing() or f"spec digest {str(owner)[:12]}…, this one has {digest[:12]}…"
            raise invalid_spec(
                f"{self._base} holds the results of another experiment ({by}).",
                f"Choose another output (results_dir), or delete that one first.{_go_on(files)}",
            )
        # What an attempt without a checkpoint left behind says nothing about this experiment.
        self._manifest.own(digest, {} if theirs else files)

    def published(self) -> dict[str, Stored]:
        """What the manifest lists, by name."""
        files = self._manifest.files
        return {n: Stored(self.uri(n), f["sha256"], f["bytes"]) for n, f in files.items()}

    def exists(self, name: str) -> bool:
        """Whether `name` lies at its final place."""
        return self._store.exists(name)

    def publish(self, name: str, previous: str = "") -> Stored:
        """Makes `dir/name` safe at its final place; the file itself stays.

        name: may hold folders. previous: the name that what is published there now is kept under.
        Raises StorageUnavailable, AccessDenied, InputNotFound (no such bucket) after retries; the
        message says where the local file is kept.
        """
        self._uploads.withdraw(name)
        return self._put(self.dir / name, name, previous)

    def publish_soon(self, name: str, previous: str = "") -> None:
        """Like `publish`, but an upload goes on beside the caller's work.

        What is sent is the file as it is now; `dir/name` may be replaced, but not written to. Where
        the one before still waits, it is left out. Raises what ended an upload before this one.
        """
        if not self._remote:
            self.publish(name, previous)
            return
        self._uploads.raise_failure()
        snapshot = self._uploads.snapshot(self.dir / name, copied=False)
        job = Job(lambda outdated: self._put(snapshot, name, previous, outdated), snapshot)
        self._uploads.put(name, job)

    def offer(self, name: str) -> None:
        """The same for a file of small size and worth: a failed upload is said and costs nothing.

        The file may be written to afterwards. Raises TrainerError with a local results folder.
        """
        if not self._remote:
            self.publish(name)
            return
        snapshot = self._uploads.snapshot(self.dir / name, copied=True)
        job = Job(lambda outdated: self._put(snapshot, name, "", outdated), snapshot, vital=False)
        self._uploads.put(name, job)

    def remove(self, name: str) -> None:
        """Makes `name` be gone, here and there; what was never there is gone already."""
        with named(self.dir / name):
            (self.dir / name).unlink(missing_ok=True)
        if self._remote:
            self._uploads.put(name, Job(lambda _: self._erase(name), vital=False))
        elif name in self._manifest.files:
            self._manifest.write({name: None})

    def settle(self) -> None:
        """Waits until all is published. Raises what ended an upload; Preempted at a stop."""
        if left := self._wait():
            raise TrainerError(
                FailureReason.PREEMPTED, f"Stopped before {', '.join(left)} was published."
            )
        self._uploads.raise_failure()

    def finish(self) -> str:
        """The same at the end of a run that failed or was stopped: what is lost, in a sentence.
        After it nothing is waited for; `stuck` says that a thread may hang in an upload."""
        left = self._wait()
        if left:
            self.stuck = True
            self._store.hurry()
            return (
                f"{', '.join(left)} could not be published within {STOP_SECONDS:.0f} s: what "
                "was published before is still there."
            )
        try:
            self._uploads.raise_failure()
        except TrainerError as error:
            return error.message
        return ""

    def confirm(self, artifacts: Iterable[Artifact]) -> None:
        """Raises StorageUnavailable unless all can be read back as they were published."""
        confirm(self._store, artifacts)

    def holds(self, artifact: Artifact) -> bool:
        """Whether one can."""
        return doubt(self._store, artifact) is None

    def fetch(self, name: str) -> Path | None:
        """The local path of a published file, checked; None where there is none to be trusted.

        One that differs from the manifest, or is gone, is reported through `say` and not used."""
        self.settle()
        path = self.dir / name
        expected = self._manifest.files.get(name)
        if self._remote and expected and path.is_file() and sha256_of(path) == expected["sha256"]:
            return path
        fetched = self._downloaded(name, path, expected) if self._remote else None
        if not self._remote and path.is_file():
            fetched = self._checked_local(name, path, expected)
        elif fetched is None and expected and not self._store.exists(name):
            self._say(f"{self.uri(name)} was published and is gone.")
            self._manifest.note({name: None})
        return fetched

    def reject(self, name: str) -> None:
        """Keeps what is published as `name`, which is damaged, from replacing the one before it:
        a local file is set aside as `<name>.damaged`."""
        self._manifest.note({name: None})
        path = self.dir / name
        if path.is_file():
            os.replace(path, path.with_name(f"{path.name}.damaged"))

    def _put(self, path: Path, name: str, previous: str, outdated: Event | None = None) -> Stored:
        """Publishes the content of `path` as `name`."""
        try:
            with named(path):
                size = path.stat().st_size
                kept = self._kept(name, previous) if previous else {}
                if self._remote:
                    meter = ByteMeter(f"uploading {name}", size, self._say, outdated)
                    stored = self._store.upload(path, name, meter)
                else:
                    stored = Stored(self.uri(name), sha256_of(path), size)
                self._manifest.write({**kept, name: self._listed(stored, path)})
        except TrainerError as error:
            where = f"{error.message} {name} is kept at {self.dir / name}."
            raise TrainerError(error.reason, where, error.remedy) from error
        return stored

    def _listed(self, stored: Stored, path: Path) -> Listed:
        entry: Listed = {"sha256": stored.sha256, "bytes": stored.bytes}
        if not self._remote:
            entry["mtimeNs"] = path.stat().st_mtime_ns
        return entry

    def _kept(self, name: str, previous: str) -> Mapping[str, Listed]:
        """The entry of what was `name`, now as `previous`; none where that is not worth keeping."""
        entry = self._manifest.files.get(name)
        if entry is None:
            return {}
        if self._remote:
            stored = self._store.head(name)
            whole = stored and stored.size == entry["bytes"]
            if not whole or self._store.digest_of(name) != entry["sha256"]:
                return {}
            try:
                self._store.copy(name, previous)
            except TrainerError as error:
                if error.reason == FailureReason.STORAGE_UNAVAILABLE:
                    raise
                self._say(f"The {name} before this one is not kept: {error.message}")
                return {}
        return {previous: entry}

    def _erase(self, name: str) -> None:
        if name in self._manifest.files:
            self._manifest.write({name: None})
        self._store.remove(name)

    def _wait(self) -> list[str]:
        """Waits for the uploads; the names of those that a stop leaves no time for."""
        while left := self._uploads.wait(_SLICE):
            if self._ends is None and self._stop.is_set():
                self._ends = time.monotonic() + STOP_SECONDS
            if self._ends is not None and time.monotonic() > self._ends:
                return left
        return []

    def _checked_local(self, name: str, path: Path, expected: Listed | None) -> Path | None:
        if expected is None or path.stat().st_mtime_ns != expected.get("mtimeNs"):
            # Replaced since: by a run that was killed before it could note it, or by its owner.
            return path
        if sha256_of(path) == expected["sha256"]:
            return path
        self._say(damaged(str(path), expected["bytes"], path.stat().st_size))
        self.reject(name)
        return None

    def _downloaded(self, name: str, path: Path, expected: Listed | None) -> Path | None:
        if not self._store.exists(name):
            return None
        aside = path.with_name(f".{path.name}.fetched")
        try:
            self._store.download(name, aside, ByteMeter(f"downloading {name}", 0, self._say))
            own, actual = self._store.digest_of(name), sha256_of(aside)
            trusted = {own, expected and expected["sha256"]} - {None}
            if trusted and actual not in trusted:
                size = expected["bytes"] if expected else 0
                self._say(damaged(self.uri(name), size, aside.stat().st_size))
                self.reject(name)
                return None
            self._manifest.note({name: {"sha256": actual, "bytes": aside.stat().st_size}})
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)
        return path


def _go_on(files: Iterable[str]) -> str:
    """How a training goes on from a checkpoint with other values; a DinoJob resumes its own."""
    if LATEST_CHECKPOINT not in files or os.environ.get(Env.JOB_UID):
        return ""
    return (
        f" To go on from its {LATEST_CHECKPOINT} with the new values, choose another output and "
        "name it as train.resume_training_checkpoint_path."
    )
