"""What was found: by rule, with a count and a few examples, and without what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dino_api.reported import without_middle
from dino_api.rules.data import DATA_RULES, data_rule
from dino_api.rules.data.rule import DataRule
from dino_trainer.preflight.causes import causes_of, rules_in_order
from dino_trainer.preflight.places import NOWHERE, At, Places, T

MOST_EXAMPLES = 5
_ORDER = {rule.id: place for place, rule in enumerate(DATA_RULES)}
_LONGEST = 160
# Of what a whole source ends with: there is one for each.
SENTENCES = 600


@dataclass
class Finding:
    """All there is of one kind. examples: at most EXAMPLES, which speak of `shown` of `count`.

    remedies: those of causes that were seen, by cause, and which part of `count` they mend; of the
    same cause in another source the first one is told. places: where all of it is.
    """

    rule: DataRule
    count: int = 0
    examples: list[str] = field(default_factory=list)
    shown: int = 0
    remedies: dict[str, tuple[str, int]] = field(default_factory=dict)
    places: list[Places] = field(default_factory=list)

    @property
    def is_error(self) -> bool:
        """Whether training must not begin."""
        return self.rule.severity == "error"

    @property
    def message(self) -> str:
        """The sentence: `Images that …: 7 (train 3.jpg, train 5.jpg, and 5 more).`"""
        if not self.examples:
            return f"{self.rule.title}{'' if self.count == 1 else f': {self.count}'}."
        left = self.count - self.shown
        shown = ", ".join(self.examples) + (f", and {left} more" if left else "")
        return f"{self.rule.title}: {self.count} ({shown})."

    @property
    def remedy(self) -> str:
        """What to do: about the causes that were seen, and about the rest."""
        remedies, counts = zip(*self.remedies.values(), strict=True) if self.remedies else ((), ())
        rest = sum(counts) < self.count
        return " ".join([*remedies, *([self.rule.remedy] if rest else [])])

    def to_dict(self) -> dict[str, Any]:
        """Its entry in report.json."""
        return {
            "id": self.rule.id,
            "severity": self.rule.severity,
            "count": self.count,
            "examples": self.examples,
            "message": self.message,
            "remedy": self.remedy,
        }


@dataclass(frozen=True)
class Advice:
    """What to do where a cause was seen, in place of the rule's remedy. cause: the words for it,
    by which what has one cause is counted; the remedy's own where left out."""

    remedy: str = ""
    cause: str = ""


RULES_OWN = Advice()


@dataclass(frozen=True)
class _Part:
    """What one check found of one rule, and where. say: adds what of it is to be told."""

    places: Places
    say: Callable[[Finding, Places], None]


class Findings:
    """Collects; the same example counts as often as it is added.

    Nothing is left out before everything is in: what follows from what, `causes.py` says.
    """

    def __init__(self) -> None:
        self._parts: dict[str, list[_Part]] = {}

    def add(
        self,
        id: str,
        example: str = "",
        count: int = 1,
        advice: Advice = RULES_OWN,
        at: At = NOWHERE,
    ) -> None:
        """Adds `count` of rule `id`, of which the example speaks. at: where it was found, told or
        left out as a whole."""
        self.add_sentences(id, without_middle(example, _LONGEST), count, advice, at)

    def add_sentences(
        self, id: str, text: str, count: int = 1, advice: Advice = RULES_OWN, at: At = NOWHERE
    ) -> None:
        """Adds the same of an example that is whole sentences, and may be longer."""

        def say(finding: Finding, _: Places) -> None:
            finding.count += count
            if remedy := advice.remedy:
                cause = advice.cause or remedy
                first, mended = finding.remedies.get(cause, (remedy, 0))
                finding.remedies[cause] = (first, mended + count)
            if text and len(finding.examples) < MOST_EXAMPLES:
                finding.examples.append(without_middle(text, SENTENCES))
                finding.shown += count

        self._note(id, Places(at), say)

    def add_all(self, id: str, examples: Iterable[str], at: At = NOWHERE) -> None:
        """One for each example; all share one place, or have one each."""
        self.add_places(id, list(examples), str, at)

    def add_places(
        self, id: str, places: Sequence[T], describe: Callable[[T], str], at: At = NOWHERE
    ) -> None:
        """One for each place; only those that are shown are described. at: the place of each."""
        if not len(places):
            return

        def say(finding: Finding, left: Places) -> None:
            kept = left.of(places)
            finding.count += len(kept)
            for place in kept[: MOST_EXAMPLES - len(finding.examples)]:
                finding.examples.append(without_middle(describe(place), _LONGEST))
                finding.shown += 1

        self._note(id, Places(at, len(places)), say)

    def mark(self, id: str, at: At) -> None:
        """Something that is not told, from which others follow."""
        self._note(id, Places(at), lambda *_: None)

    def _note(self, id: str, places: Places, say: Callable[[Finding, Places], None]) -> None:
        self._parts.setdefault(id, []).append(_Part(places, say))

    def has(self, id: str) -> bool:
        """Whether there is any of rule `id`, told or not."""
        return id in self._parts

    def all(self) -> list[Finding]:
        """Errors first, then in the order of the catalogue."""
        findings = [one for id, parts in self._left().items() if (one := _finding_of(id, parts))]
        return sorted(findings, key=lambda one: (not one.is_error, _ORDER[one.rule.id]))

    def _left(self) -> dict[str, list[_Part]]:
        """What is told: everything but what follows from something that is told."""
        left: dict[str, list[_Part]] = {}
        for id in (*rules_in_order(), *self._parts):
            if id in left or id not in self._parts:
                continue
            causes = [
                (part.places, within)
                for cause, within in causes_of(id)
                for part in left.get(cause, ())
            ]
            parts = [_Part(one.places.without(causes), one.say) for one in self._parts[id]]
            left[id] = [one for one in parts if one.places.any()]
        return left

    @property
    def errors(self) -> list[Finding]:
        """Why training must not begin; empty if it may."""
        return [one for one in self.all() if one.is_error]

    @property
    def warnings(self) -> list[Finding]:
        """What is odd and no error."""
        return [one for one in self.all() if not one.is_error]


def _finding_of(id: str, parts: list[_Part]) -> Finding | None:
    if id not in _ORDER or not parts:
        return None
    finding = Finding(data_rule(id))
    for part in parts:
        part.say(finding, part.places)
        finding.places.append(part.places)
    return finding
