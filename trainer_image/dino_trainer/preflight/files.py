"""Which image files are there, and what is in them; facts that were found before are used again."""

from __future__ import annotations

import json
import os
import threading
import uuid
from collections import defaultdict
from pathlib import Path

from dino_trainer.data import image_facts
from dino_trainer.data.image_facts import Facts, ImageToCheck
from dino_trainer.data.stage import StagedSource
from dino_trainer.preflight.findings import Findings
from dino_trainer.preflight.grouped_flaws import add_names
from dino_trainer.preflight.sources import Source
from dino_trainer.storage.store import Say


def check_files(
    source: Source, kept: Path, findings: Findings, say: Say, stop: threading.Event | None
) -> None:
    """Looks into every image of a source, and fills `source.facts`.

    kept: a folder for the facts of data that cannot change under its digest.
    """
    names, sizes = source.entries.file_names, source.entries.sizes.tolist()
    store = source.staged.images
    files = [store.find(name) for name in names]
    absent = [name for name, file in zip(names, files, strict=True) if not file]
    _missing(source, absent, findings)
    there = [place for place, file in enumerate(files) if file]
    looks = [
        ImageToCheck(file, width, height, store.size(name))
        for file, (width, height), name in zip(files, sizes, names, strict=True)
        if file
    ]
    all_facts = _facts(source.staged, looks, kept, say, stop)
    source.facts = [None] * len(files)
    measured = set(source.entries.measured)
    flaws: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for place, facts in zip(there, all_facts, strict=True):
        source.facts[place] = facts
        for id, detail in facts.flaws:
            if id == "exif-turned" and place in measured:
                id = "exif-unclear"  # the annotations say no size
            flaws[id].append((place, f"{source.image(place)}{_bracketed(detail)}"))
    for id, flawed in flaws.items():
        positions, examples = zip(*flawed, strict=True)
        findings.add_places(id, examples, str, source.at_images(positions))
    for flaw in source.flaws.of("image-unreadable"):
        findings.add(flaw.rule, f"{source.name} {flaw.where}{_bracketed(flaw.fault)}", at=source.at)


def _missing(source: Source, absent: list[str], findings: Findings) -> None:
    """Also those that lack a size, too: what is wrong with the names is one cause for both."""
    names = [*absent, *(flaw.name for flaw in source.flaws.of("image-missing"))]
    named = [(f"{source.name} {name}", name) for name in names]
    add_names("image-missing", named, findings, source.nearby.hint, source.at)


def _bracketed(detail: str) -> str:
    return f" ({detail})" if detail else ""


def _facts(
    staged: StagedSource,
    looks: list[ImageToCheck],
    kept: Path,
    say: Say,
    stop: threading.Event | None,
) -> list[Facts]:
    note = kept / f"{staged.digest}-{image_facts.VERSION}.json"
    if staged.fixed and (known := _read(note, len(looks))):
        say(f"The {len(looks)} images of {staged.annotations} were checked before.")
        return known
    facts = image_facts.look_at_all(looks, say, stop)
    if staged.fixed:
        _write(note, facts)
    return facts


def _read(path: Path, count: int) -> list[Facts] | None:
    """The facts of an earlier run, None where there are none that can be read."""
    try:
        rows = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    facts = [Facts(digest, tuple((id, detail) for id, detail in flaws)) for digest, flaws in rows]
    return facts if len(facts) == count else None


def _write(path: Path, facts: list[Facts]) -> None:
    """A convenience for the next run: where it cannot be kept, nothing is lost."""
    aside = path.with_name(f".{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(json.dumps(facts))
        os.replace(aside, path)
    except OSError:
        aside.unlink(missing_ok=True)
