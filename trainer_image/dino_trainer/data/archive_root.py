"""The folder inside an archive that the annotations' file names start from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from itertools import islice
from pathlib import Path

from dino_trainer.data.image_store import ArchivedImages, Index
from dino_trainer.data.name_forms import composed
from dino_trainer.data.packing import stem

_PROBES = 20


def image_root(index: Index, archive_name: str, file_names: Collection[str]) -> str:
    """The first of `images/`, `<archive stem>/` and the archive's root ("") under which one of the
    first file names exists; else the one folder, whatever its name, under which they do.

    The most likely one where none does, or several do, so that the caller's complaint about missing
    files names a sensible place.
    """
    probes = list(islice(file_names, _PROBES))
    candidates = ["images", stem(archive_name), ""]
    for root in candidates:
        if any(ArchivedImages(Path(), index, root).find(probe) for probe in probes):
            return root
    wanted = set(map(composed, file_names))
    roots = _roots(index, wanted)
    whole = [root for root, count in roots.items() if count == len(wanted)]
    for only in (list(roots), whole):
        if len(only) == 1:
            return only[0]
    return next(root for root in candidates if not root or index.has_folder(root))


def _roots(index: Index, wanted: Collection[str]) -> Counter[str]:
    """How many of the names each folder of the archive has below it."""
    counts: Counter[str] = Counter()
    for path in index.files:
        at = path.find("/")
        while at >= 0:
            if composed(path[at + 1 :]) in wanted:
                counts[path[:at]] += 1
            at = path.find("/", at + 1)
    return counts
