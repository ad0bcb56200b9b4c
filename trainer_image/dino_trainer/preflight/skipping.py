"""Damaged images that are left out of a source before anything of it is counted."""

from __future__ import annotations

from dataclasses import dataclass, field

from dino_trainer.data.image_facts import ImageFacts
from dino_trainer.data.source_facts import Looking
from dino_trainer.data.stage import StagedSource
from dino_trainer.data.unreadable import SkipList, examine
from dino_trainer.preflight.findings import Findings
from dino_trainer.preflight.places import At


@dataclass(frozen=True)
class Omissions:
    """What a source goes without, and what is in the files of its other images.

    skips: None where nobody looked. facts: of the entries that are left, in their order.
    """

    skips: SkipList | None = None
    facts: list[ImageFacts | None] = field(default_factory=list)

    @property
    def names(self) -> frozenset[str]:
        """Of the images that are left out."""
        return self.skips.names if self.skips else frozenset()

    def facts_of(self, count: int) -> list[ImageFacts | None]:
        """Those of so many entries; none where entries came or went since."""
        return self.facts if len(self.facts) == count else []


@dataclass(frozen=True)
class Skipping:
    """How damaged images are left out. share: `dataset.skip_unreadable`."""

    share: float
    looking: Looking

    def of(self, staged: StagedSource, at: At, findings: Findings) -> Omissions:
        """What the action will leave out of a source, by the same look at it; nothing of one that
        has more of them, which the files' own check then tells. Raises as `examine`."""
        if not self.share:
            return Omissions()
        examined = examine(staged, self.looking)
        if why := examined.exceeding(self.share):
            findings.add("skip-exceeded", f"{at.source}: {why}", at=at)
            return Omissions(SkipList(examined.listed), list(examined.facts))
        skips = examined.skips
        examples = [f"{at.source} {image.in_words}" for image in examined.damaged]
        findings.add_places("image-skipped", examples, str, at)
        return Omissions(skips, examined.other_facts)
