"""Which findings follow from which, as one table: what follows is not told beside its cause.

A cause counts where it is told itself. The two have a place in common, `within` which the one
follows from the other: a box of a source, an image of it, a class, the source, the split, or
nothing but the data as a whole. What does not follow is told beside, so that one run says all that
one run can know. To add a rule: think of what it brings about, and of what brings it about.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from graphlib import TopologicalSorter

# Of images that are left out since nothing says how large they are: no rule, and never told.
LEFT_OUT = "left-out"

UNREAD_SOURCES = frozenset({"source-missing", "source-unusable", "annotations-unreadable"})
IMAGES = frozenset(
    {"image-entry", "image-size-absent", "image-name-unsafe", "image-id-repeats", LEFT_OUT}
)
CATEGORIES = frozenset({"category-entry", "category-id-repeats"})
BOXES = frozenset({"box-entry", "box-image-unknown", "box-category-unknown", "crowd-unreadable"})
CLASSES = frozenset({"class-untrained", "class-unvalidated", "class-imbalance"})
SCORED = frozenset({"eval-class-unknown", "eval-class-boxless"})
PLACED = frozenset({"box-outside", "box-over-edge"})
# What makes training refuse a whole file on reading it. Each of its entries is to be written anew:
# the images wait for that.
WHOLE_FILE = ("category-id-large", "boxes-normalised", "boxes-percents", "boxes-corners")


class Within(StrEnum):
    """What cause and consequence have in common."""

    DATA = "data"
    SPLIT = "split"
    SOURCE = "source"
    IMAGE = "image"
    BOX = "box"
    CLASS = "class"


@dataclass(frozen=True)
class Row:
    """Each of `follow` follows from each of `causes`, where they share a place."""

    causes: frozenset[str]
    follow: frozenset[str]
    within: Within


def _row(causes: frozenset[str] | str, follow: frozenset[str] | str, within: Within) -> Row:
    """A single rule may stand for a set of one."""
    return Row(_set(causes), _set(follow), within)


def _set(rules: frozenset[str] | str) -> frozenset[str]:
    return frozenset({rules}) if isinstance(rules, str) else rules


FOLLOWS = (
    # Of what is left out nothing is counted, and what it lists is not known.
    _row(
        UNREAD_SOURCES | IMAGES | CATEGORIES | BOXES,
        CLASSES | {"no-boxes", "eval-class-boxless"},
        Within.SPLIT,
    ),
    _row(UNREAD_SOURCES | CATEGORIES, "eval-class-unknown", Within.SPLIT),
    _row(UNREAD_SOURCES, frozenset({"too-few-images", "calibration-few"}), Within.SPLIT),
    _row(UNREAD_SOURCES | CATEGORIES, "category-gaps", Within.DATA),
    _row(CATEGORIES, "category-lists-differ", Within.DATA),
    _row(CATEGORIES, "category-conflict", Within.CLASS),
    _row(BOXES, "image-empty", Within.SOURCE),
    # An unknown id may be that of an entry whose own id could not be read.
    _row("image-entry", "box-image-unknown", Within.SOURCE),
    _row("category-entry", frozenset({"box-category-unknown", "image-empty"}), Within.SOURCE),
    # The boxes of the second image are taken for the first one's.
    _row(
        "image-id-repeats",
        PLACED
        | {"box-repeats", "boxes-over-queries", "boxes-over-detections", "boxes-over-select"},
        Within.IMAGE,
    ),
    # It says what there is instead of boxes.
    _row("no-boxes", frozenset({"box-crowd", "box-flat", "box-outside"}), Within.SPLIT),
    _row("no-boxes", CLASSES | {"image-empty", "eval-class-boxless"}, Within.SPLIT),
    # Ids that are given anew: what is said of the present ones says nothing of those.
    _row(
        "category-id-large",
        CLASSES
        | SCORED
        | {"category-zero", "category-gaps", "class-count", "class-unknown", "class-names-differ"},
        Within.DATA,
    ),
    _row(
        "category-conflict",
        CLASSES | {"category-lists-differ", "category-zero", "category-gaps", "eval-class-boxless"},
        Within.DATA,
    ),
    _row("category-conflict", "eval-class-unknown", Within.CLASS),
    # A class that is not listed has no box, and one that is never learned needs none.
    _row("eval-class-unknown", "category-lists-differ", Within.CLASS),
    _row(
        SCORED | {"category-lists-differ", "class-untrained"},
        "class-unvalidated",
        Within.CLASS,
    ),
    # Nearly every box names a wrong class.
    _row("category-ids-shifted", "box-category-unknown", Within.SOURCE),
    _row(
        "category-ids-shifted",
        CLASSES
        | SCORED
        | {"category-conflict", "category-lists-differ", "category-zero", "category-gaps"}
        | {"class-count", "class-unknown", "class-names-differ"},
        Within.DATA,
    ),
    # Numbers of another form are no pixels; shares are often rounded.
    _row("boxes-normalised", frozenset({"box-flat", "box-repeats", "image-empty"}), Within.SOURCE),
    _row("boxes-percents", PLACED | {"image-empty"}, Within.SOURCE),
    _row("boxes-thousandths", PLACED | {"image-empty"}, Within.SOURCE),
    _row("boxes-corners", PLACED | {"image-empty"}, Within.SOURCE),
    _row("image-size-differs", PLACED | {"image-empty", "queries-over-tokens"}, Within.IMAGE),
    # It has boxes, which are dropped.
    _row(frozenset({"box-flat", "box-outside"}), "image-empty", Within.IMAGE),
    _row("box-rotated", PLACED, Within.BOX),
    _row("box-rotated", "image-empty", Within.IMAGE),
    # Whose remedies are that of the other, too.
    _row(
        frozenset({"boxes-over-queries", "boxes-over-detections"}),
        "boxes-over-select",
        Within.IMAGE,
    ),
    # A crowd is left out, whatever else its box is.
    _row("box-crowd", frozenset({"box-ignored", "box-over-edge", "box-repeats"}), Within.BOX),
    # Its boxes stand with the other entry.
    _row("file-name-repeats", "image-empty", Within.IMAGE),
    # The sources overlap.
    _row("image-repeats", "image-id-shared", Within.IMAGE),
)


def pairs() -> Iterator[tuple[str, str, Within]]:
    """All pairs of a cause and what follows from it."""
    for row in FOLLOWS:
        for cause in sorted(row.causes):
            yield from ((cause, one, row.within) for one in sorted(row.follow))


def causes_of(rule: str) -> list[tuple[str, Within]]:
    """What a rule may follow from."""
    return _CAUSES.get(rule, [])


def rules_in_order() -> tuple[str, ...]:
    """The rules of the table, causes first. Raises CycleError where two follow from each other."""
    graph = {rule: {cause for cause, _ in causes} for rule, causes in _CAUSES.items()}
    return tuple(TopologicalSorter(graph).static_order())


_CAUSES: dict[str, list[tuple[str, Within]]] = {}
for _cause, _follows, _within in pairs():
    _CAUSES.setdefault(_follows, []).append((_cause, _within))
