"""Pictures on a page, and what each is about: filters and links to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

# As many classes can be chosen from; those with most pictures.
MOST_FILTERS = 80
# As many pictures are linked to from what they are about.
MOST_LINKS = 3


@dataclass(frozen=True)
class GalleryPicture:
    """A picture. caption: (kind of swatch or "", text). classes: whose filters show it.

    about: what else links to it.
    """

    name: str
    jpeg: bytes
    caption: Sequence[tuple[str, str]] = ()
    classes: Set[str] = frozenset()
    about: Set[Hashable] = frozenset()

    @property
    def seen(self) -> str:
        """What is seen on it, in words."""
        return ", ".join(text for _, text in self.caption) or "with its boxes"


@dataclass(frozen=True)
class Gallery:
    """The pictures of a page, in their order."""

    pictures: Sequence[GalleryPicture] = ()

    @cached_property
    def filters(self) -> list[tuple[str, int]]:
        """Classes that can be chosen, and how many pictures have each."""
        counts = Counter(name for one in self.pictures for name in sorted(one.classes))
        return counts.most_common(MOST_FILTERS)

    def kinds(self, picture: GalleryPicture) -> str:
        """The CSS classes that the filters of `style.css` go by."""
        names = enumerate((name for name, _ in self.filters), 1)
        return " ".join(f"c{place}" for place, name in names if name in picture.classes)

    def about(self, what: Hashable) -> list[int]:
        """The numbers, from 1, of the first pictures of a class, or of something else."""
        shown = enumerate(self.pictures, 1)
        numbers = (number for number, one in shown if what in one.about or what in one.classes)
        return list(islice(numbers, MOST_LINKS))
