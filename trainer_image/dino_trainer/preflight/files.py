"""Which image files are there, and what is wrong in them."""

from __future__ import annotations

from collections import defaultdict

from dino_trainer.data.image_facts import ImageFacts
from dino_trainer.data.source_facts import Looking
from dino_trainer.data.unreadable import look_again
from dino_trainer.preflight.findings import Findings
from dino_trainer.preflight.grouped_flaws import add_names
from dino_trainer.preflight.sources import PreflightSource


def check_files(source: PreflightSource, looking: Looking, findings: Findings) -> None:
    """Looks into every image of a source, and fills `source.facts` where that is not done yet.

    Raises StorageUnavailable, AccessDenied or InputNotFound for a file whose content does not come.
    """
    names = source.entries.file_names
    source.facts = source.facts or _facts(source, looking)
    absent = [name for name, facts in zip(names, source.facts, strict=True) if facts is None]
    _missing(source, absent, findings)
    measured = set(source.entries.measured)
    flaws: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for place, facts in enumerate(source.facts):
        for id, detail in facts.flaws if facts else ():
            if id == "exif-turned" and place in measured:
                id = "exif-unclear"  # the annotations say no size
            flaws[id].append((place, f"{source.image(place)}{_bracketed(detail)}"))
    for id, flawed in flaws.items():
        positions, examples = zip(*flawed, strict=True)
        findings.add_places(id, examples, str, source.at_images(positions))
    unread = source.flaws.of("image-unreadable")
    named = (f"{source.name} {flaw.where}{_bracketed(flaw.fault)}" for flaw in unread)
    findings.add_all("image-unreadable", named, source.at)


def _facts(source: PreflightSource, looking: Looking) -> list[ImageFacts | None]:
    """A disk or a mount that fails is no fault of the data, and may be well at the next attempt."""
    facts = looking.facts_of(source.staged, source.entries)
    for place, one in enumerate(facts):
        if one is not None and not one.digest:
            name, size = source.entries.file_names[place], source.entries.sizes[place].tolist()
            facts[place] = look_again(source.staged, name, *size)
    return facts


def _missing(source: PreflightSource, absent: list[str], findings: Findings) -> None:
    """Also those that lack a size, too: what is wrong with the names is one cause for both."""
    names = [*absent, *(flaw.name for flaw in source.flaws.of("image-missing"))]
    named = [(f"{source.name} {name}", name) for name in names]
    add_names("image-missing", named, findings, source.nearby.hint, source.at)


def _bracketed(detail: str) -> str:
    return f" ({detail})" if detail else ""
