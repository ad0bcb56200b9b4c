"""Images that are damaged and left out, as far as `dataset.skip_unreadable` allows it.

They are looked for once, before the work begins, and become the list of a source: whoever reads it
leaves out those and no others. An image that cannot be read later is an error, as any is elsewhere.

Damage is what the content of a file shows. Where the system does not hand the content out, a disk,
a mount or a right is to be mended, and the image may be whole: that is an error of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dino_api.names import SKIPPED_FILE
from dino_api.rules.data import data_rule
from dino_trainer.data.coco_entries import Entries, read_entries
from dino_trainer.data.flaws import Flaw
from dino_trainer.data.image_entries import plain_name
from dino_trainer.data.image_facts import ImageFacts, ImageToCheck, look
from dino_trainer.data.image_store import FileInMemory
from dino_trainer.data.source_facts import Looking
from dino_trainer.data.stage import StagedSource
from dino_trainer.errors import TrainerError, from_os_error, invalid_dataset

KEY = "dataset.skip_unreadable"
_RULE = "image-unreadable"
_NO_DAMAGE = f"It is no damage of the image, so that {KEY} does not leave it out."
# As many are named in a sentence, and in a part of one.
_NAMED, _FEW = 10, 5
# Shares such as 0.29 are a little less than they seem.
_ROUNDING = 1e-9


class SkippedImage(NamedTuple):
    """An image that is left out. name: as the annotations have it. why: in a few words."""

    name: str
    why: str

    @property
    def in_words(self) -> str:
        """`5.png (it is a text)`."""
        return f"{self.name} ({self.why})"


@dataclass(frozen=True)
class SkipList:
    """The images of one source that are left out.

    listed: how many entries its annotations have in all. entries: how many of these are left out,
    which is more than there are images where two entries name one file.
    """

    listed: int
    images: tuple[SkippedImage, ...] = ()
    entries: int = 0

    @property
    def names(self) -> frozenset[str]:
        """Of the images, as the annotations have them."""
        return frozenset(image.name for image in self.images)


@dataclass(frozen=True)
class SourceExamination:
    """What the image files of a source show.

    listed: entries of images, as far as they can be used. damaged: each of these whose file is
    damaged. names, facts: of those whose size is known; None where there is no such file.
    """

    listed: int
    damaged: tuple[SkippedImage, ...]
    names: Sequence[str]
    facts: Sequence[ImageFacts | None]

    def exceeding(self, share: float) -> str:
        """Why so many cannot be left out, as a clause; "" where they can."""
        most = math.floor(share * self.listed + _ROUNDING)
        if len(self.damaged) <= most:
            return ""
        return (
            f"{_counted(len(self.damaged), self.listed)} damaged, and {KEY} = {share:g} leaves out "
            f"{most} at most"
        )

    @property
    def skips(self) -> SkipList:
        """The list of them, each name once."""
        images = tuple(dict.fromkeys(self.damaged))
        return SkipList(self.listed, images, len(self.damaged))

    @property
    def other_facts(self) -> list[ImageFacts | None]:
        """Those of the images that are left."""
        names = self.skips.names
        pairs = zip(self.names, self.facts, strict=True)
        return [facts for name, facts in pairs if name not in names]


def examine(staged: StagedSource, looking: Looking) -> SourceExamination:
    """Looks into every image file of a source.

    Raises:
        TrainerError: StorageUnavailable, AccessDenied or InputNotFound for a file whose content
            does not come, also at a second try; Preempted at a stop; what `read_entries` raises.
    """
    flaws: list[Flaw] = []
    entries = read_entries(staged.annotations, flaws.append, staged.images)
    facts = _facts(staged, entries, looking)
    unsized = [plain_name(flaw.name) for flaw in flaws if flaw.rule == _RULE]
    images: list[tuple[str, ImageFacts | None]] = [
        *zip(entries.file_names, facts, strict=True),
        *((name, look_again(staged, name, 1, 1)) for name in unsized),
    ]
    damaged = [
        SkippedImage(name, why) for name, one in images if one and (why := _damage(one)) is not None
    ]
    return SourceExamination(len(images), tuple(damaged), entries.file_names, facts)


def skip_list(staged: StagedSource, share: float, looking: Looking) -> SkipList:
    """The images of a source that are left out.

    share: of its images that may be. Raises what `examine` does, and InvalidDataset for more.
    """
    examined = examine(staged, looking)
    if why := examined.exceeding(share):
        raise invalid_dataset(
            f"{staged.annotations}: {why}: {_named(examined.skips.images, _NAMED)}.",
            data_rule("skip-exceeded").remedy,
        )
    return examined.skips


def skipped_file(key: str) -> str:
    """The file with the list. key: of the data in the spec's `dataset`."""
    return f"{SKIPPED_FILE}{key}.json"


def skipped(skips: Sequence[SkipList]) -> list[SkippedImage]:
    """Those of all sources of a split."""
    return [image for one in skips for image in one.images]


def skipped_in_words(skips: Sequence[SkipList], key: str, most: int = _NAMED) -> list[str]:
    """A sentence with their number and names; none where nothing is left out.

    key: of the data in the spec's `dataset`. most: as many are named.
    """
    images = skipped(skips)
    if not images:
        return []
    counted = _counted(_entries(skips), sum(one.listed for one in skips))
    return [
        f"dataset.{key}: {counted} damaged and left out ({KEY}): {_named(images, most)}. "
        f"{skipped_file(key)} has each."
    ]


def without(skips: Sequence[SkipList]) -> str:
    """`, without 2 that are damaged (5.png, 6.png)`, to follow a number of images; or ""."""
    images = skipped(skips)
    if not images:
        return ""
    names = ", ".join(image.name for image in images[:_FEW])
    entries = _entries(skips)
    count = "one that is" if entries == 1 else f"{entries} that are"
    return f", without {count} damaged ({names}{_more(images, _FEW)})"


def _facts(staged: StagedSource, entries: Entries, looking: Looking) -> list[ImageFacts | None]:
    """Of each entry; a file whose content did not come is tried once more."""
    rows = zip(
        entries.file_names,
        entries.sizes.tolist(),
        looking.facts_of(staged, entries),
        strict=True,
    )
    return [
        one if one is None or one.digest else look_again(staged, name, *size)
        for name, size, one in rows
    ]


def look_again(staged: StagedSource, name: str, width: int, height: int) -> ImageFacts:
    """What is in a file whose content did not come at first.

    Raises:
        TrainerError: StorageUnavailable, AccessDenied, InputNotFound where it does not come again.
    """
    file = staged.images.find(name)
    try:
        if file is None:
            raise FileNotFoundError
        content = file.read_bytes()
    except OSError as error:
        failure = from_os_error(error, f"{name} of {staged.images}")
        remedy = f"{failure.remedy} {_NO_DAMAGE}"
        raise TrainerError(failure.reason, failure.message, remedy) from error
    return look(ImageToCheck(FileInMemory(file.name, content), width, height))


def _damage(facts: ImageFacts) -> str | None:
    """Why the file cannot be read; None where it can."""
    return dict(facts.flaws).get(_RULE)


def _entries(skips: Sequence[SkipList]) -> int:
    """How many images they are, counted as the annotations list them."""
    return sum(one.entries for one in skips)


def _counted(entries: int, listed: int) -> str:
    """`2 of 8 images are`, to go on with what they are."""
    return f"{entries} of {listed} images {'is' if entries == 1 else 'are'}"


def _named(images: Sequence[SkippedImage], most: int) -> str:
    return ", ".join(image.in_words for image in images[:most]) + _more(images, most)


def _more(images: Sequence[SkippedImage], most: int) -> str:
    return f" and {len(images) - most} more" if len(images) > most else ""
