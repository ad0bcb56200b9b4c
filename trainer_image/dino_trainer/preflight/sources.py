"""Stages and reads every source of a split; a source that cannot be used is a finding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from dino_api.experiment import DataSource
from dino_api.names import FailureReason
from dino_trainer.data.coco_entries import Entries, NotCoco, read_entries
from dino_trainer.data.coco_file import Oddities, odd_boxes
from dino_trainer.data.nearby import Nearby
from dino_trainer.data.stage import StagedSource
from dino_trainer.errors import TrainerError
from dino_trainer.preflight.findings import SENTENCES, Findings
from dino_trainer.preflight.gathered import Gathered
from dino_trainer.preflight.images import Facts

# How a failure of staging reads as a finding. Others, such as a store that is away, end the run.
_AS_FINDING = {
    FailureReason.INPUT_NOT_FOUND: "source-missing",
    FailureReason.INVALID_DATASET: "source-unusable",
}
StageOne = Callable[[DataSource], StagedSource]


@dataclass
class Source:
    """One source that could be read.

    name: how examples call it (`train`, or `train[1]` where there are several).
    flaws: of entries that are left out.
    facts: what is in each of the i image files; None where it was not looked at or is missing.
    """

    name: str
    staged: StagedSource
    entries: Entries
    odd: Oddities
    flaws: Gathered
    facts: list[Facts | None] = field(default_factory=list)

    @cached_property
    def nearby(self) -> Nearby:
        """What is there, for names that are not."""
        return Nearby(self.staged.images.names())

    def image(self, position: int) -> str:
        """An image in an example."""
        return f"{self.name} {self.entries.file_names[position]}"

    def box(self, place: int) -> str:
        """A box in an example: its entry, image and numbers."""
        numbers = ", ".join(f"{value:g}" for value in self.entries.boxes[place])
        where = self.image(int(self.entries.images[place]))
        return f"{where} annotations[{self.entries.rows[place]}] [{numbers}]"


@dataclass
class Split:
    """Training or validation. complete: every source of it could be read."""

    name: str
    sources: list[Source]
    complete: bool

    @property
    def whole(self) -> bool:
        """Nothing of it is left out, so that what is lacking is no consequence of that."""
        return self.complete and not any(one.flaws.counts for one in self.sources)

    @property
    def categories(self) -> dict[int, str]:
        """Names by id, of all sources; the first source's name where they differ."""
        known: dict[int, str] = {}
        for source in self.sources:
            for number, name in source.entries.categories.items():
                known.setdefault(number, name)
        return known

    @property
    def images(self) -> int:
        """Number of images that can be used."""
        return sum(len(source.entries.file_names) for source in self.sources)

    @property
    def listed(self) -> int:
        """Number of images that the annotations list."""
        return self.images + sum(source.flaws.images for source in self.sources)

    @property
    def boxes(self) -> int:
        """Number of usable boxes, crowd included."""
        return sum(int(source.odd.usable.sum()) for source in self.sources)

    @property
    def objects(self) -> int:
        """Number of usable boxes, crowds left out."""
        return sum(int((one.odd.usable & ~one.entries.crowd).sum()) for one in self.sources)


def read_split(
    name: str, sources: Sequence[DataSource], stage_one: StageOne, findings: Findings
) -> Split:
    """Reads what can be read of a split; `findings` hears of the rest.

    Raises TrainerError for what is no flaw of the data: no access, a full disk, a store away.
    """
    read: list[Source] = []
    for number, source in enumerate(sources):
        label = name if len(sources) == 1 else f"{name}[{number}]"
        one = _read(label, source, stage_one, findings)
        read += [one] if one else []
    return Split(name, read, complete=len(read) == len(sources))


def _read(label: str, source: DataSource, stage_one: StageOne, findings: Findings) -> Source | None:
    flaws = Gathered(label)
    try:
        staged = stage_one(source)
        entries = read_entries(staged.annotations, flaws.note, staged.images)
    except TrainerError as error:
        rule = _AS_FINDING.get(FailureReason(error.reason))
        if rule is None:
            raise
        rule = "annotations-unreadable" if isinstance(error, NotCoco) else rule
        own = error.remedy if error.remedy != error.rule.remedy else ""
        findings.add(rule, f"{label}: {error.message}", remedy=own, longest=SENTENCES)
        return None
    read = Source(label, staged, entries, odd_boxes(entries), flaws)
    flaws.tell(findings, lambda name: read.nearby.hint(name))
    return read
