"""What is in the image files of a source; what was found before is used again."""

from __future__ import annotations

import json
import os
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path

from dino_trainer.data import image_facts
from dino_trainer.data.coco_entries import Entries
from dino_trainer.data.image_facts import ImageFacts, ImageToCheck
from dino_trainer.data.stage import StagedSource, data_root
from dino_trainer.storage.store import Say


@dataclass(frozen=True)
class Looking:
    """How the image files of sources are looked into.

    into: the folder for copies, as of `stage`. Facts of data that cannot change under its digest
    are kept beside them. say: hears how far it is. stop: when set, it ends with Preempted.
    """

    into: Path
    say: Say
    stop: threading.Event | None = None

    def facts_of(self, staged: StagedSource, entries: Entries) -> list[ImageFacts | None]:
        """What is in the file of each image that the entries list; None where it is missing."""
        names, sizes = entries.file_names, entries.sizes.tolist()
        store = staged.images
        files = [store.find(name) for name in names]
        looks = [
            ImageToCheck(file, width, height, store.size(name))
            for file, (width, height), name in zip(files, sizes, names, strict=True)
            if file
        ]
        facts = iter(self._facts(staged, looks))
        return [next(facts) if file else None for file in files]

    def _facts(self, staged: StagedSource, looks: list[ImageToCheck]) -> list[ImageFacts]:
        kept = data_root(self.into) / "checked"
        note = kept / f"{staged.digest}-{image_facts.VERSION}.json"
        if staged.fixed and (known := _read(note, len(looks))):
            self.say(f"The {len(looks)} images of {staged.annotations} were checked before.")
            return known
        facts = image_facts.look_at_all(looks, self.say, self.stop)
        if staged.fixed and _lasting(facts):
            _write(note, facts)
        return facts


def _lasting(facts: list[ImageFacts]) -> bool:
    """Whether they are of the content alone: a disk or mount may be well the next time."""
    return all(one.digest for one in facts)


def _read(path: Path, count: int) -> list[ImageFacts] | None:
    """The facts of an earlier run, None where there are none that can be read, or that last."""
    try:
        rows = json.loads(path.read_bytes())
        facts = [
            ImageFacts(digest, tuple((id, why) for id, why in flaws)) for digest, flaws in rows
        ]
    except (OSError, RecursionError, TypeError, ValueError):
        return None
    return facts if len(facts) == count and _lasting(facts) else None


def _write(path: Path, facts: list[ImageFacts]) -> None:
    """A convenience for the next run: where it cannot be kept, nothing is lost."""
    aside = path.with_name(f".{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(json.dumps(facts))
        os.replace(aside, path)
    except OSError:
        aside.unlink(missing_ok=True)
