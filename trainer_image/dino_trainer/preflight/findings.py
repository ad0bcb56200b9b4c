"""What was found: by rule, with a count and a few examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dino_api.reported import without_middle
from dino_api.rules.data import DATA_RULES, data_rule
from dino_api.rules.data_rule import DataRule

EXAMPLES = 5
_ORDER = {rule.id: place for place, rule in enumerate(DATA_RULES)}
_LONGEST = 160
# Of what a whole source ends with: there is one for each.
SENTENCES = 600


@dataclass
class Finding:
    """All there is of one kind. examples: at most EXAMPLES, which speak of `shown` of `count`.

    remedies: those of causes that were seen, by which part of `count` they mend.
    """

    rule: DataRule
    count: int = 0
    examples: list[str] = field(default_factory=list)
    shown: int = 0
    remedies: dict[str, int] = field(default_factory=dict)

    @property
    def is_error(self) -> bool:
        """Whether training must not begin."""
        return self.rule.severity == "error"

    @property
    def message(self) -> str:
        """`Images that …: 7 (train 3.jpg, train 5.jpg, and 5 more).`"""
        if not self.examples:
            return f"{self.rule.title}{'' if self.count == 1 else f': {self.count}'}."
        left = self.count - self.shown
        shown = ", ".join(self.examples) + (f", and {left} more" if left else "")
        return f"{self.rule.title}: {self.count} ({shown})."

    @property
    def remedy(self) -> str:
        """What to do: about the causes that were seen, and about the rest."""
        rest = sum(self.remedies.values()) < self.count
        return " ".join([*self.remedies, *([self.rule.remedy] if rest else [])])

    def to_dict(self) -> dict[str, Any]:
        """For report.json."""
        return {
            "id": self.rule.id,
            "severity": self.rule.severity,
            "count": self.count,
            "examples": self.examples,
            "message": self.message,
            "remedy": self.remedy,
        }


class Findings:
    """Collects; the same example counts as often as it is added."""

    def __init__(self) -> None:
        self._found: dict[str, Finding] = {}

    def add(
        self,
        id: str,
        example: str = "",
        count: int = 1,
        *,
        shown: int = 1,
        remedy: str = "",
        longest: int = _LONGEST,
    ) -> None:
        """`count` of rule `id`. shown: how many of them the example speaks of. remedy: another
        one than the rule's, where the cause was seen. longest: what of the example is kept."""
        finding = self._found.setdefault(id, Finding(data_rule(id)))
        finding.count += count
        if remedy:
            finding.remedies[remedy] = finding.remedies.get(remedy, 0) + count
        if example and len(finding.examples) < EXAMPLES:
            finding.examples.append(without_middle(example, longest))
            finding.shown += shown

    def add_all(self, id: str, examples: Iterable[str]) -> None:
        """One for each example."""
        for example in examples:
            self.add(id, example)

    def add_places(self, id: str, places: Sequence[Any], describe: Callable[[Any], str]) -> None:
        """One for each place; only those that are shown are described."""
        shown = [describe(place) for place in places[:EXAMPLES]]
        self.add_all(id, shown)
        if len(places) > len(shown):
            self.add(id, count=len(places) - len(shown))

    def has(self, id: str) -> bool:
        """Whether there is any of rule `id`."""
        return id in self._found

    def all(self) -> list[Finding]:
        """Errors first, then in the order of the catalogue."""
        return sorted(self._found.values(), key=lambda one: (not one.is_error, _ORDER[one.rule.id]))

    @property
    def errors(self) -> list[Finding]:
        """Why training must not begin; empty if it may."""
        return [one for one in self.all() if one.is_error]

    @property
    def warnings(self) -> list[Finding]:
        """What is odd and no error."""
        return [one for one in self.all() if not one.is_error]
