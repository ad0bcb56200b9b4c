"""The flaws of one annotation file: those of one kind are told once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dino_api.reported import without_middle
from dino_api.rules.data.annotations import IMAGE_ENTRY_RULES
from dino_trainer.data.flaws import Flaw
from dino_trainer.data.nearby import Hint
from dino_trainer.preflight.causes import LEFT_OUT
from dino_trainer.preflight.findings import MOST_EXAMPLES, Advice, Findings
from dino_trainer.preflight.places import At

Explain = Callable[[str], Hint | None]
_SHOWN = 80
# Of files that lack what their entries leave out: told with all other files, by one who looks.
_OF_FILES = ("image-missing", "image-unreadable")
_IMAGES = {rule.id for rule in IMAGE_ENTRY_RULES} | {*_OF_FILES}
# Told with those of all other files.
_OF_ALL = "category-id-large"


@dataclass
class GroupedFlaws:
    """What the reader notes. split, label: how examples call the file, with its number.

    kept: by rule and kind, the first few of each; those that are told by name or id are kept whole.
    """

    split: str
    label: str
    kept: dict[tuple[str, str], list[Flaw]] = field(default_factory=dict)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def note(self, flaw: Flaw) -> None:
        """One more."""
        key = (flaw.rule, flaw.kind)
        kept = self.kept.setdefault(key, [])
        if flaw.name or flaw.id is not None or len(kept) < MOST_EXAMPLES:
            kept.append(flaw)
        self.counts[key] += 1

    @property
    def at(self) -> At:
        """The file."""
        return At(self.split, self.label)

    @property
    def images(self) -> int:
        """How many images are left out."""
        return sum(count for (rule, _), count in self.counts.items() if rule in _IMAGES)

    def of(self, rule: str) -> list[Flaw]:
        """The flaws of a rule whose files are told by name."""
        return self.kept.get((rule, ""), [])

    def add_to(self, findings: Findings, look: Explain, positions: Mapping[int, int]) -> None:
        """Adds what entries say themselves. look: why a name is not there. positions: of images,
        by id."""
        for (rule, kind), kept in self.kept.items():
            if rule in _OF_FILES:
                findings.mark(LEFT_OUT, self.at)
            elif rule != _OF_ALL:
                self._add((rule, kind), findings, look, self._at(rule, kept, positions))

    def _at(self, rule: str, kept: Sequence[Flaw], positions: Mapping[int, int]) -> At:
        ids = [flaw.id for flaw in kept if flaw.id is not None]
        if rule in {one.id for one in IMAGE_ENTRY_RULES}:
            return replace(self.at, images=[positions[id] for id in ids if id in positions])
        return replace(self.at, classes=ids)

    def _add(self, key: tuple[str, str], findings: Findings, look: Explain, at: At) -> None:
        (rule, kind), kept = key, self.kept[key]
        if kept[0].name:
            named = [(f"{self.label} {flaw.where}", flaw.name) for flaw in kept]
            add_names(rule, named, findings, look, at)
        elif kind:
            first, count = kept[0], self.counts[key]
            text = f"{self.label} {first.where}{_more(count)}: {first.fault}"
            findings.add(rule, text, count, at=at)
        else:
            findings.add_all(rule, (f"{self.label} {flaw.where}" for flaw in kept), at)
            if more := self.counts[key] - len(kept):
                findings.add(rule, count=more, at=at)


def add_names(
    rule: str,
    named: Sequence[tuple[str, str]],
    findings: Findings,
    look: Explain,
    at: At,
) -> None:
    """Files that are not there, those of one cause as one. named: (where, file
    name)."""
    groups: dict[str, list[str]] = {}
    remedies: dict[str, str] = {}
    for where, name in named:
        hint = look(name)
        cause = hint.cause if hint else ""
        groups.setdefault(cause, []).append(where)
        remedies.setdefault(cause, hint.remedy if hint else "")
    for cause, places in groups.items():
        if cause:
            text = f"{without_middle(places[0], _SHOWN)}{_more(len(places))}: {cause}"
            count, remedy = len(places), remedies[cause]
            findings.add(rule, text, count, Advice(remedy, cause), at)
        else:
            findings.add_places(rule, places, str, at)


def _more(count: int) -> str:
    return f" and {count - 1} more" if count > 1 else ""
