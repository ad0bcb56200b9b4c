"""The results folder of one action: local files, and their published copies.

`Output.dir` is where files are made. `publish` makes one safe at its final place; with a local
results folder that is the same file, with S3 it is uploaded. `publish_soon` uploads beside the
training. What lies at the final place, and how it is checked, says `published.py`.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from threading import Event

from dino_api.names import LATEST_CHECKPOINT, SKIPPED_FILE, Env, FailureReason
from dino_api.result import Artifact
from dino_trainer.errors import TrainerError, invalid_spec
from dino_trainer.results.published import PublishedFiles
from dino_trainer.results.readback import confirm, doubt
from dino_trainer.results.uploads import Uploads, UploadTask
from dino_trainer.storage.files import named, replacing
from dino_trainer.storage.opening import open_store
from dino_trainer.storage.store import Say, StoredFile, print_line
from dino_trainer.storage.uris import is_remote, local_path

# Of a pod's 120 seconds of grace the rest is for the step, the checkpoint and the last words.
STOP_SECONDS, _SLICE = 90.0, 0.2


class Output:
    """The files of one action. For use from one thread; it has one of its own.

    folder: of `output_folder`, a path or s3:// URI. work_dir: where files are made if that is not
    local. say: hears of retries, slow uploads and damaged files; called from both threads.
    stop: once it is set, nothing waits longer than 90 seconds for an upload. make: whether a local
    folder is made. Raises InvalidSpec without a folder, AccessDenied where it cannot be made.
    """

    def __init__(
        self,
        folder: str,
        work_dir: Path,
        say: Say = print_line,
        *,
        stop: Event | None = None,
        make: bool = True,
    ) -> None:
        if not folder:
            raise invalid_spec(
                "results_dir is not set.", "Add results_dir: /path or s3://bucket/path."
            )
        self._base = folder.rstrip("/") or folder
        self._store = open_store(self._base, say)
        self._stop = stop or Event()
        remote = is_remote(self._base)
        if remote:
            place = hashlib.sha256(self._base.encode()).hexdigest()[:16]
            self.dir = work_dir / "output" / place / PurePosixPath(self._base).name
        else:
            self.dir = local_path(self._base)
        if make or remote:
            with named(self.dir):
                self.dir.mkdir(parents=True, exist_ok=True)
        self._published = PublishedFiles(self._store, self.dir, say)
        self._uploads = Uploads(self.dir / ".uploads", say)
        self._ends: float | None = None
        self.stuck = False

    def uri(self, name: str) -> str:
        """The URI of `name` once it is published."""
        return self._store.uri(name)

    def claim(
        self, digest: str, finished: bool = False, differing: Callable[[], str] = lambda: ""
    ) -> None:
        """Makes this the output of the spec with this digest; call before the first publish.

        finished: a run has succeeded here, of whatever spec. differing: asked by what keys that
        spec differs. Raises InvalidSpec, having changed nothing, if another spec's checkpoints or
        result would be overwritten.
        """
        manifest = self._published.manifest
        owner, files = manifest.owner, manifest.files
        theirs = owner not in (None, digest)
        if theirs and (finished or any(name.endswith(".pth") for name in files)):
            by = differing() or f"spec digest {str(owner)[:12]}…, this one has {digest[:12]}…"
            raise invalid_spec(
                f"{self._base} holds the results of another experiment ({by}).",
                f"Choose another output (results_dir), or delete that one first.{_go_on(files)}",
            )
        # What an attempt without a checkpoint left behind says nothing about this experiment.
        manifest.own(digest, {} if theirs else files)
        for name in files if theirs else ():
            # A list of images that this one does not leave out, and may never write.
            if name.startswith(SKIPPED_FILE):
                self._published.erase(name)

    def published(self) -> dict[str, StoredFile]:
        """What the manifest lists, by name."""
        files = self._published.manifest.files
        return {n: StoredFile(self.uri(n), f["sha256"], f["bytes"]) for n, f in files.items()}

    def exists(self, name: str) -> bool:
        """Whether `name` lies at its final place."""
        return self._store.exists(name)

    def publish(self, name: str, previous: str = "") -> StoredFile:
        """Makes `dir/name` safe at its final place; the file itself stays.

        name: may hold folders. previous: the name that what is published there now is kept under.
        Raises StorageUnavailable, AccessDenied, InputNotFound (no such bucket) after retries; the
        message says where the local file is kept.
        """
        self._uploads.withdraw(name)
        return self._published.put(self.dir / name, name, previous)

    def publish_text(self, name: str, text: str) -> Artifact:
        """Writes a page or a JSON document, and publishes it.

        Names of images may hold bytes that are no text: they stand there as \\udce9 and the like.
        """
        path = self.dir / name
        with named(path), replacing(path) as aside:
            aside.write_text(text, encoding="utf-8", errors="backslashreplace")
        return self.publish(name).artifact(name)

    def publish_soon(self, name: str, previous: str = "") -> None:
        """Publishes, but an upload goes on beside the caller's work.

        What is sent is the file as it is now; `dir/name` may be replaced, but not written to. Where
        the one before still waits, it is left out. Raises what ended an upload before this one.
        """
        if not self._published.remote:
            self.publish(name, previous)
            return
        self._uploads.raise_failure()
        snapshot = self._uploads.snapshot(self.dir / name, copied=False)
        job = UploadTask(
            lambda outdated: self._published.put(snapshot, name, previous, outdated), snapshot
        )
        self._uploads.put(name, job)

    def offer(self, name: str) -> None:
        """The same for a file of small size and worth: a failed upload is said and costs nothing.

        The file may be written to afterwards. Raises TrainerError with a local results folder.
        """
        if not self._published.remote:
            self.publish(name)
            return
        snapshot = self._uploads.snapshot(self.dir / name, copied=True)
        job = UploadTask(
            lambda outdated: self._published.put(snapshot, name, "", outdated),
            snapshot,
            vital=False,
        )
        self._uploads.put(name, job)

    def remove(self, name: str) -> None:
        """Makes `name` be gone, here and there; what was never there is gone already."""
        with named(self.dir / name):
            (self.dir / name).unlink(missing_ok=True)
        if self._published.remote:
            self._uploads.put(name, UploadTask(lambda _: self._published.erase(name), vital=False))
        elif name in self._published.manifest.files:
            self._published.manifest.write({name: None})

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
        return self._published.fetch(name)

    def reject(self, name: str) -> None:
        """Keeps what is published as `name`, which is damaged, from replacing the one before it:
        a local file is set aside as `<name>.damaged`."""
        self._published.reject(name)

    def _wait(self) -> list[str]:
        """Waits for the uploads; the names of those that a stop leaves no time for."""
        while left := self._uploads.wait(_SLICE):
            if self._ends is None and self._stop.is_set():
                self._ends = time.monotonic() + STOP_SECONDS
            if self._ends is not None and time.monotonic() > self._ends:
                return left
        return []


def _go_on(files: Iterable[str]) -> str:
    """How a training goes on from a checkpoint with other values; a DinoJob resumes its own."""
    if LATEST_CHECKPOINT not in files or os.environ.get(Env.JOB_UID):
        return ""
    return (
        f" To go on from its {LATEST_CHECKPOINT} with the new values, choose another output and "
        "name it as train.resume_training_checkpoint_path."
    )
