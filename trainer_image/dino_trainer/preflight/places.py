"""Where something was found, and what of it is left when another finding explains a part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dino_trainer.preflight.causes import Within

T = TypeVar("T")


@dataclass(frozen=True)
class At:
    """The place of what was found: all of `source`, or images, boxes, classes of it, one for each.

    split, source: by the names that examples have, "" where it is of none in particular. boxes:
    places in the source. images: positions in it. classes: ids. reach: those that it touches as a
    cause, where they are more.
    """

    split: str = ""
    source: str = ""
    images: ArrayLike | None = None
    boxes: ArrayLike | None = None
    classes: ArrayLike | None = None
    reach: ArrayLike | None = None


NOWHERE = At()


@dataclass(frozen=True, eq=False)
class Places:
    """The `at` of n findings, and which of them are left. left: None for all."""

    at: At
    count: int = 1
    left: NDArray[np.bool_] | None = None

    def any(self) -> bool:
        """Whether any is left."""
        return self.left is None or bool(self.left.any())

    def of(self, items: Sequence[T]) -> Sequence[T]:
        """The items that are left, of one for each place."""
        if self.left is None:
            return items
        return [items[place] for place in np.flatnonzero(self.left).tolist()]

    def without(self, causes: Iterable[tuple[Places, Within]]) -> Places:
        """What is left beside causes that are told."""
        left = np.ones(self.count, np.bool_)
        for cause, within in causes:
            left &= ~self._explained(cause, within)
        return self if left.all() else Places(self.at, self.count, left)

    def _explained(self, cause: Places, within: Within) -> NDArray[np.bool_]:
        own, other = self.at, cause.at
        if within == Within.DATA:
            return np.ones(self.count, np.bool_)
        if within == Within.CLASS:
            return self._among(own.classes, cause.touched)
        if within == Within.SPLIT:
            return np.full(self.count, bool(own.split) and own.split == other.split)
        same = bool(own.source) and own.source == other.source
        if within == Within.SOURCE or not same:
            return np.full(self.count, same)
        if within == Within.IMAGE:
            return self._among(own.images, cause.those(other.images))
        return self._among(own.boxes, cause.those(other.boxes))

    def those(self, values: ArrayLike | None) -> NDArray[Any] | None:
        """The values of what is left; all of them where there is not one for each."""
        if values is None:
            return None
        given = np.atleast_1d(np.asarray(values))
        return given if self.left is None or len(given) != self.count else given[self.left]

    @property
    def touched(self) -> NDArray[Any] | None:
        """The classes that what is left touches as a cause; all of its reach, where it has one."""
        reach = self.at.reach
        return self.those(self.at.classes) if reach is None else np.atleast_1d(np.asarray(reach))

    def _among(self, own: ArrayLike | None, others: NDArray[Any] | None) -> NDArray[np.bool_]:
        if own is None or others is None:
            return np.zeros(self.count, np.bool_)
        known = _is_in(np.atleast_1d(np.asarray(own)), others)
        return known if len(known) == self.count else np.full(self.count, bool(known.all()))


def _is_in(own: NDArray[Any], others: NDArray[Any]) -> NDArray[np.bool_]:
    """Marks those of `own` that are among the others; ids beyond 64 bits are objects to NumPy,
    which would compare each with each."""
    if object not in (own.dtype, others.dtype):
        return np.isin(own, others)
    known = set(others.tolist())
    return np.array([one in known for one in own.tolist()], np.bool_)
