"""Uploads beside the training: one thread, one file at a time, the newest of each name.

A server slower than the training makes published checkpoints rarer, never the training slower: what
still waits when a newer file of its name arrives is dropped, and the newer one takes its place. So
the order holds: a file that was put before another is never older than that one at the store. For
the same reason nothing vital is sent once something vital has failed.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from dino_trainer.errors import TrainerError, failure_of
from dino_trainer.storage.files import named
from dino_trainer.storage.store import Say


@dataclass
class UploadTask:
    """One thing to do at the store.

    run: does it; may end with Preempted once the event that it is given is set.
    snapshot: the file that is sent, the job's own; removed after it.
    vital: whether its failure ends the training, or is only said.
    """

    run: Callable[[Event], object]
    snapshot: Path | None = None
    vital: bool = True
    outdated: Event = field(default_factory=Event)

    def drop(self) -> None:
        """Forgets the job."""
        if self.snapshot:
            self.snapshot.unlink(missing_ok=True)


class Uploads:
    """The thread and what waits for it. Its methods are for one other thread.

    folder: where snapshots lie, on the file system of the files that are sent.
    """

    def __init__(self, folder: Path, say: Say) -> None:
        self._folder, self._say = folder, say
        self._changed = threading.Condition()
        self._waiting: dict[str, UploadTask] = {}
        self._running: tuple[str, UploadTask] | None = None
        self._failure: TrainerError | None = None
        self._thread: threading.Thread | None = None
        self._count = 0

    def snapshot(self, path: Path, *, copied: bool) -> Path:
        """A second name of the file, which keeps what it is now when `path` is replaced.

        copied: make it a copy, since the file is written to rather than replaced.
        Raises TrainerError: DiskFull, InputNotFound.
        """
        if self._count == 0:
            shutil.rmtree(self._folder, ignore_errors=True)  # of a run that was killed
        self._count += 1
        snapshot = self._folder / f"{self._count}-{path.name}"
        with named(path):
            self._folder.mkdir(parents=True, exist_ok=True)
            if not copied:
                with suppress(OSError):  # a file system without hard links
                    os.link(path, snapshot)
                    return snapshot
            shutil.copyfile(path, snapshot)
        return snapshot

    def put(self, name: str, job: UploadTask) -> None:
        """Queues a job; one of its name that has not begun gives way to it."""
        with self._changed:
            if older := self._waiting.get(name):
                older.drop()
            self._waiting[name] = job
            self._changed.notify_all()
        if self._thread is None:
            # A daemon: a server that hangs must not hold the process.
            self._thread = threading.Thread(target=self._work, name="uploads", daemon=True)
            self._thread.start()

    def withdraw(self, name: str) -> None:
        """Returns once nothing of this name is under way or waits."""
        with self._changed:
            if older := self._waiting.pop(name, None):
                older.drop()
            self._changed.wait_for(lambda: self._running is None or self._running[0] != name)

    def raise_failure(self) -> None:
        """Raises what ended a vital job."""
        if self._failure:
            raise self._failure

    def wait(self, seconds: float) -> list[str]:
        """Waits for all jobs, at most so long; the names of those that are not done.

        A file under way of which there is a newer one is not worth the time.
        """
        ends = time.monotonic() + seconds
        with self._changed:
            if self._running and self._running[0] in self._waiting:
                self._running[1].outdated.set()
            self._changed.wait_for(lambda: not self._left(), ends - time.monotonic())
            return self._left()

    def _left(self) -> list[str]:
        """What is not done: by name what is vital, or else the rest."""
        jobs = dict([self._running] if self._running else []) | self._waiting
        return [name for name, job in jobs.items() if job.vital] or list(jobs)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                name = next(iter(self._waiting))
                job = self._waiting.pop(name)
                self._running = (name, job)
            self._run(name, job)
            with self._changed:
                self._running = None
                self._changed.notify_all()

    def _run(self, name: str, job: UploadTask) -> None:
        """Does the job; keeps its failure for the training's thread, if that matters."""
        try:
            if not (job.vital and self._failure):
                job.run(job.outdated)
        # Whatever it is, the training's own thread has to hear of it.
        except Exception as error:  # noqa: BLE001
            failure = failure_of(error)
            if job.vital and not job.outdated.is_set():
                self._failure = failure
            elif not job.vital:
                self._say(f"{name} is not published: {failure.message}")
        finally:
            job.drop()
