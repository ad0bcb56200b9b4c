"""The flaws of one annotation file: those of one kind are told once, and what follows is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dino_api.reported import without_middle
from dino_api.rules.annotations import BOX_RULES, CATEGORY_RULES, IMAGE_ENTRY_RULES
from dino_trainer.data.flaws import Flaw
from dino_trainer.data.nearby import Hint
from dino_trainer.preflight.findings import EXAMPLES, Findings

Look = Callable[[str], Hint | None]
_SHOWN = 80
# An unknown id may be that of an entry whose own id could not be read.
_FOLLOW = {"box-image-unknown": "image-entry", "box-category-unknown": "category-entry"}
_IMAGES = {rule.id for rule in IMAGE_ENTRY_RULES} | {"image-missing", "image-unreadable"}
_BOXES = {rule.id for rule in BOX_RULES}
_CATEGORIES = {rule.id for rule in CATEGORY_RULES}


@dataclass
class Gathered:
    """What the reader notes. label: how examples call the file.

    kept: by rule and kind, the first few of each; those that are told by name are kept whole.
    """

    label: str
    kept: dict[tuple[str, str], list[Flaw]] = field(default_factory=dict)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def note(self, flaw: Flaw) -> None:
        """One more."""
        key = (flaw.rule, flaw.kind)
        kept = self.kept.setdefault(key, [])
        if flaw.name or len(kept) < EXAMPLES:
            kept.append(flaw)
        self.counts[key] += 1

    @property
    def images(self) -> int:
        """How many images are left out."""
        return sum(count for (rule, _), count in self.counts.items() if rule in _IMAGES)

    @property
    def boxes(self) -> int:
        """How many boxes are left out, or that there is none."""
        return sum(count for (rule, _), count in self.counts.items() if rule in _BOXES)

    @property
    def categories(self) -> bool:
        """Whether categories are left out."""
        return any(rule in _CATEGORIES for rule, _ in self.counts)

    def tell(self, findings: Findings, look: Look) -> None:
        """Adds what is a cause. look: why a name is not there."""
        rules = {rule for rule, _ in self.counts}
        for (rule, kind), kept in self.kept.items():
            if _FOLLOW.get(rule) in rules:
                continue
            if kept[0].name:
                named = [(flaw.where, flaw.name) for flaw in kept]
                there = rule == "image-unreadable"
                tell_names(rule, self.label, named, findings, (lambda _: None) if there else look)
            elif kind:
                first, count = kept[0], self.counts[rule, kind]
                text = f"{self.label} {first.where}{_more(count)}: {first.said}"
                findings.add(rule, text, count, shown=count)
            else:
                findings.add_all(rule, (f"{self.label} {flaw.where}" for flaw in kept))
                if more := self.counts[rule, kind] - len(kept):
                    findings.add(rule, count=more)


def tell_names(
    rule: str, label: str, named: Sequence[tuple[str, str]], findings: Findings, look: Look
) -> None:
    """Files that are not there, those of one cause as one. named: (where, file name)."""
    groups: dict[str, list[str]] = {}
    remedies: dict[str, str] = {}
    for where, name in named:
        hint = look(name)
        cause = hint.cause if hint else ""
        groups.setdefault(cause, []).append(f"{label} {where}")
        remedies.setdefault(cause, hint.remedy if hint else "")
    for cause, places in groups.items():
        if cause:
            text = f"{without_middle(places[0], _SHOWN)}{_more(len(places))}: {cause}"
            findings.add(rule, text, len(places), shown=len(places), remedy=remedies[cause])
        else:
            findings.add_places(rule, places, str)


def _more(count: int) -> str:
    return f" and {count - 1} more" if count > 1 else ""
