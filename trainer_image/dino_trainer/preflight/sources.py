"""Stages and reads every source of a split; a source that cannot be used is a finding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dino_api.experiment import DataSource
from dino_api.names import FailureReason
from dino_trainer.data.coco_entries import Entries, read_entries
from dino_trainer.data.coco_file import Oddities, odd_boxes
from dino_trainer.data.coco_json import NotCoco
from dino_trainer.data.image_facts import ImageFacts
from dino_trainer.data.nearby import Nearby
from dino_trainer.data.stage import StagedSource
from dino_trainer.data.unreadable import SkipList
from dino_trainer.errors import TrainerError
from dino_trainer.preflight.findings import Advice, Findings
from dino_trainer.preflight.grouped_flaws import GroupedFlaws
from dino_trainer.preflight.places import At
from dino_trainer.preflight.skipping import Omissions, Skipping

# How a failure of staging reads as a finding. Others, such as a store that is away, end the run.
AS_FINDING: Mapping[str, str] = {
    FailureReason.INPUT_NOT_FOUND: "source-missing",
    FailureReason.INVALID_DATASET: "source-unusable",
}
StageOne = Callable[[DataSource], StagedSource]


@dataclass
class PreflightSource:
    """One source that could be read.

    split: the split that it is of. name: how examples call it (`train`, or `train[1]` where there
    are several).
    flaws: of entries that are left out.
    facts: what is in each of the i image files; None where it was not looked at or is missing.
    skips: images that are left out, which none of these has; None where nobody looked for any.
    """

    split: str
    name: str
    staged: StagedSource
    entries: Entries
    odd: Oddities
    flaws: GroupedFlaws
    facts: list[ImageFacts | None] = field(default_factory=list)
    skips: SkipList | None = None

    @property
    def at(self) -> At:
        """All of it."""
        return At(self.split, self.name)

    def at_images(self, positions: ArrayLike) -> At:
        """Some of its images."""
        return At(self.split, self.name, images=positions)

    def at_boxes(self, places: NDArray[np.int64]) -> At:
        """Some of its boxes."""
        return At(self.split, self.name, images=self.entries.images[places], boxes=places)

    @cached_property
    def repeats(self) -> NDArray[np.bool_]:
        """Marks [n] the second and further of equal boxes with one category on one image."""
        entries = self.entries
        keys = np.column_stack([entries.images, entries.labels, entries.boxes])
        repeated = np.ones(len(keys), np.bool_)
        if len(keys):
            _, first = np.unique(keys, axis=0, return_index=True)
            repeated[first] = False
        return repeated & self.odd.usable

    @property
    def objects(self) -> NDArray[np.bool_]:
        """Marks [n] usable boxes, crowds left out."""
        return self.odd.usable & ~self.entries.crowd

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
class PreflightSplit:
    """Training or validation. complete: every source of it could be read, and has its images."""

    name: str
    sources: list[PreflightSource]
    complete: bool

    @cached_property
    def categories(self) -> dict[int, str]:
        """Names by id, of all sources; the first source's name where they differ."""
        known: dict[int, str] = {}
        for source in self.sources:
            for number, name in source.entries.categories.items():
                known.setdefault(number, name)
        return known

    @property
    def skips(self) -> list[SkipList]:
        """What is left out of each source; none where nobody looked."""
        return [one.skips for one in self.sources if one.skips]

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
        return sum(int(one.objects.sum()) for one in self.sources)


def read_split_for_check(
    name: str,
    sources: Sequence[DataSource],
    stage_one: StageOne,
    findings: Findings,
    skipping: Skipping | None = None,
) -> PreflightSplit:
    """Reads what can be read of a split; `findings` hears of the rest.

    skipping: how damaged images are left out; None: they are not.

    Raises TrainerError for what is no flaw of the data: no access, a full disk, a store away.
    """
    read: list[PreflightSource] = []
    for number, source in enumerate(sources):
        label = name if len(sources) == 1 else f"{name}[{number}]"
        one = _read(GroupedFlaws(name, label), source, stage_one, findings, skipping)
        read += [one] if one else []
    whole = all(one.staged.digest for one in read)
    return PreflightSplit(name, read, complete=whole and len(read) == len(sources))


def _read(
    flaws: GroupedFlaws,
    source: DataSource,
    stage_one: StageOne,
    findings: Findings,
    skipping: Skipping | None,
) -> PreflightSource | None:
    try:
        staged = stage_one(source)
        left_out = skipping.of(staged, flaws.at, findings) if skipping else Omissions()
        entries = read_entries(staged.annotations, flaws.note, staged.images, left_out.names)
    except TrainerError as error:
        rule = AS_FINDING.get(error.reason)
        if rule is None:
            raise
        rule = "annotations-unreadable" if isinstance(error, NotCoco) else rule
        own = error.remedy if error.remedy != error.rule.remedy else ""
        message = f"{flaws.label}: {error.message}"
        findings.add_sentences(rule, message, advice=Advice(own), at=flaws.at)
        return None
    facts = left_out.facts_of(len(entries.file_names))
    odd = odd_boxes(entries)
    read = PreflightSource(
        flaws.split, flaws.label, staged, entries, odd, flaws, facts, left_out.skips
    )
    positions = {id: place for place, id in enumerate(entries.image_ids)}
    flaws.add_to(findings, lambda name: read.nearby.hint(name), positions)
    return read
