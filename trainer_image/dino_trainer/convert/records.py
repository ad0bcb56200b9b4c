"""What every reader returns, and what it is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

Step = Callable[[], None]
_SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Box:
    """One object: its class, and its upright box in pixels from the image's upper left corner."""

    name: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image and all of its objects.

    path: the file. name: what it is called in the COCO file, relative, with `/` between parts.
    width, height: in pixels, as the boxes count them. split: "" where the export has none for it.
    """

    path: Path
    name: str
    width: int
    height: int
    boxes: tuple[Box, ...] = ()
    split: str = ""


@dataclass(frozen=True)
class Export:
    """Everything that a tool wrote.

    names: classes in the order of their ids. reading: how numbers were understood, where there is
    more than one way. warnings: what became something else, or was left out, each with its count.
    """

    images: tuple[LabelledImage, ...]
    names: tuple[str, ...]
    reading: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExportSource:
    """What is to be read.

    path: the folder or file of the export. images: the folder of the images, where it was named.
    voc_zero_based: Pascal VOC's corners are edges counted from 0. step: called for each image.
    """

    path: Path
    images: Path | None = None
    voc_zero_based: bool = False
    step: Step = field(default=lambda: None, repr=False, compare=False)


class FormatReader(Protocol):
    """A format. Raises TrainerError with file, field and remedy for what cannot be read."""

    def __call__(self, source: ExportSource) -> Export: ...


class Oddity(StrEnum):
    """What is done about things that a box of COCO cannot say; the value ends with its count."""

    TURNED = "Turned boxes became the upright boxes around them"
    OUTLINED = "Polygons, ellipses and masks became the boxes around them"
    WITHOUT_CLASS = "Boxes without a class were left out"
    WITHOUT_LABELS = "Images without a label file count as images without an object"
    WITHOUT_IMAGE = "Label files without an image were left out"
    NOT_ANNOTATED = "Images without an annotation file were left out: nobody has looked at them"
    NOT_SUBMITTED = "Tasks without an annotation were left out: nobody has looked at them"
    UNLABELLED = "Samples without labels (null) were left out: nobody has looked at them"
    SEVERAL = "Tasks with several annotations: the ground truth was taken, else the newest one"
    DIFFICULT = "Boxes marked as difficult are ordinary boxes"
    DONT_CARE = "DontCare regions were left out: what lies in them counts as background"
    CORNER_ZERO = (
        "Boxes with a corner at 0, which no pixel counted from 1 has (the tool counted from 0: "
        "give --voc-zero-based)"
    )


@dataclass
class Notes:
    """Counts what a reader has to tell."""

    odd: Counter[Oddity] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, oddity: Oddity, count: int = 1) -> None:
        self.odd[oddity] += count

    def leave_out(self, kind: str) -> None:
        """A shape without a box. kind: as the format calls it."""
        self.left_out[kind] += 1

    def lines(self) -> tuple[str, ...]:
        """One sentence for each oddity that was met."""
        lines = [f"{odd}: {count}." for odd, count in sorted(self.odd.items()) if count]
        if self.left_out:
            kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.left_out.items()))
            lines.append(f"Shapes without a box were left out: {kinds}.")
        return tuple(lines)


def split_called(name: str) -> str:
    """`train`, `val` or `test` for a word that means one of them; "" for any other."""
    return _SPLITS.get(name.lower(), "")


def listed_names(listed: Iterable[str], images: Collection[LabelledImage]) -> tuple[str, ...]:
    """The classes as a format lists them, then those that boxes alone have, sorted."""
    return tuple(dict.fromkeys((*listed, *sorted_names(images))))


def sorted_names(images: Collection[LabelledImage]) -> tuple[str, ...]:
    """The classes of a format that lists none: all names that boxes have, sorted."""
    return tuple(sorted({box.name for image in images for box in image.boxes}))
