"""Staged data under names that follow from its content, shared by jobs that write at the same time.

    objects/<key>/…     one annotation file on S3, by the store's account of it (place, size, ETag)
    content/<hash>.tar  an archive, inflated where it was packed, by the BLAKE3 of its own bytes
    indexes/<hash>.json where the files lie in it
    images/<key>        one image of an S3 folder
    lists/<key>/        all images of an S3 folder: hard links to the above
    notes/<key>.json    which content an archive had when it was last seen
    checked/…           what the preflight found in images
    tmp/<token>@…/      what a writer is at; leases/… who that is (locks/ in earlier releases)

An entry appears by one rename when it is whole and never changes: readers need no lock, and two
writers of one entry only waste work. That is what locks are for: the second waits for the first,
unless the first has died, which shows by its lock not being touched any more. The folder may be
deleted whenever no job runs; in here only a damaged entry is.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dino_trainer.data.lock import Lock
from dino_trainer.storage.files import named
from dino_trainer.storage.store import Say

_TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR}


class DataCache:
    """One folder of entries. `say` hears of waiting, and may raise to end it."""

    def __init__(self, root: Path, say: Say) -> None:
        self.root = root
        self._say = say

    def path(self, name: str) -> Path:
        """The path of the entry `kind/key`; it is whole if it exists."""
        return self.root / name

    def note(self, key: str) -> dict[str, object] | None:
        """What was noted under `key`, None where there is nothing that can be read."""
        try:
            content = json.loads(self.path(f"notes/{key}.json").read_bytes())
        except (OSError, RecursionError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    def write_note(self, key: str, content: dict[str, object]) -> None:
        """Replaces the note at once."""
        path = self.path(f"notes/{key}.json")
        with named(path), self._scratch() as scratch:
            aside = scratch / path.name
            aside.write_text(json.dumps(content))
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(aside, path)

    def once(self, name: str, what: str, build: Callable[[Path], None]) -> Path:
        """The entry `name`, built by one writer at a time where it is not there yet.

        build: fills a folder that is given to it; it becomes the entry. what: for who waits.
        """
        target = self.path(name)
        if target.exists():
            return target
        with self.writing(name, what) as scratch:
            if not target.exists():
                inside = scratch / "entry"
                inside.mkdir()
                build(inside)
                self.keep(inside, name)
        return target

    def keep(self, made: Path, name: str) -> Path:
        """Makes `made` the entry `name`; of two equal folders the first stays, of files the last.

        That mends a damaged file. Whoever has the other one open goes on to read the same.
        """
        target = self.path(name)
        with named(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.rename(made, target)
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise
        return target

    @contextmanager
    def writing(self, name: str, what: str) -> Iterator[Path]:
        """An empty folder to work in, while nobody else works on `name`."""
        flat = name.replace("/", "-")
        lock = Lock(self.root / "leases" / flat, what, self._say)
        with named(lock.path):
            lock.take()
        try:
            for left in (self.root / "tmp").glob("*@*"):
                if left.name.partition("@")[2] == flat:  # of a holder that died
                    shutil.rmtree(left, ignore_errors=True)
            with self._scratch(flat) as scratch:
                yield scratch
        finally:
            lock.release()

    @contextmanager
    def _scratch(self, of: str = "") -> Iterator[Path]:
        """of: the entry that is locked meanwhile."""
        folder = self.root / "tmp" / f"{uuid.uuid4().hex}@{of}"
        with named(folder):
            folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
