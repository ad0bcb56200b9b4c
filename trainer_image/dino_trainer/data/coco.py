"""COCO annotations, checked once and kept as flat arrays.

What would break or mislead training is refused (InvalidDataset, naming file, place and remedy) or
dropped and counted in `CocoDataset.warnings`. Decisions:

- The label of a box is its COCO category id, unchanged, and `num_classes` is the largest id + 1.
- Only images that the annotations list exist for us; other files in the folder are ignored.
- Boxes without area, or wholly outside their image, are dropped and counted. Boxes that reach over
  the edge stay as they are: the scorer needs them so, the transforms clip.
- Crowd boxes stay and are flagged: the scorer ignores matches with them, training drops them.
- Several sources become one. An image id that is in more than one of them makes all ids be numbered
  anew from 1 (counted as a warning), since two files that each count from 1 are the usual case and
  no mistake. Within one file a repeated id is a mistake and refused. The same category id under two
  names is refused: it would train one class on two meanings.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dino_api.rules.data import data_rule
from dino_trainer.data.coco_file import CocoFile, read_coco
from dino_trainer.data.image_store import ImageFile
from dino_trainer.data.nearby import Nearby
from dino_trainer.data.stage import StagedSource
from dino_trainer.data.unreadable import SkipList
from dino_trainer.errors import invalid_dataset

_SHOWN = 5


@dataclass(frozen=True, eq=False, slots=True)
class CocoImage:
    """One image and its n boxes; the arrays are views into arrays that the whole source shares.

    boxes: [n, 4] x, y, width, height in pixels. labels: [n] category ids. areas: [n] the
    annotations' areas in square pixels. crowd: [n] True where the box stands for many objects.
    """

    id: int
    file: ImageFile
    width: int
    height: int
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    areas: NDArray[np.float64]
    crowd: NDArray[np.bool_]


@dataclass(frozen=True)
class CocoDataset:
    """All sources of one split, in the order of the files.

    categories: name by id. digest: changes with the images and annotations, not with their place.
    warnings: what is odd and was not an error, one sentence each. skips: the images that are left
    out, for each source; empty where none were looked for.
    """

    images: tuple[CocoImage, ...]
    categories: dict[int, str]
    sources: tuple[StagedSource, ...]
    warnings: tuple[str, ...] = ()
    skips: tuple[SkipList, ...] = ()

    @property
    def num_classes(self) -> int:
        """The largest category id plus one, as TAO counts."""
        return max(self.categories) + 1

    @property
    def class_names(self) -> list[str]:
        """Name by id, "" for ids that are not in use; `num_classes` long."""
        return class_names(self.categories, self.num_classes)

    @property
    def annotations(self) -> int:
        """Number of boxes, crowd included."""
        return sum(len(image.labels) for image in self.images)

    @property
    def left_out(self) -> list[list[str]]:
        """The names of the images that are left out, by source; empty where none were looked for.

        Plain, as a checkpoint keeps them."""
        return [[image.name for image in one.images] for one in self.skips]

    @property
    def digest(self) -> str:
        """SHA-256 over the sources' digests, in hex, and over what is left out."""
        return digest_of(self.sources, self.skips)


def class_names(categories: Mapping[int, str], count: int) -> list[str]:
    """Name by label for labels below `count`, "" for those that are not in use."""
    return [categories.get(label, "") for label in range(count)]


def digest_of(sources: Iterable[StagedSource], skips: Iterable[SkipList] = ()) -> str:
    """SHA-256 over the digests of all sources of a split, in hex, and over what is left out."""
    return digest_without(sources, [[image.name for image in one.images] for one in skips])


def digest_without(sources: Iterable[StagedSource], left_out: Sequence[Sequence[str]]) -> str:
    """The same of the names of the images that are left out, by source."""
    joined = "\n".join(source.digest for source in sources)
    if any(left_out):
        joined = f"{joined}\nwithout {json.dumps(left_out)}"
    return hashlib.sha256(joined.encode()).hexdigest()


def load_coco(staged: Sequence[StagedSource], skips: Sequence[SkipList] = ()) -> CocoDataset:
    """Reads and checks all sources of one split. Raises InvalidDataset; see the module.

    skips: for each source the images that are left out; none where it is empty.
    """
    images: list[CocoImage] = []
    categories: dict[int, str] = {}
    warnings: list[str] = []
    left_out = [one.names for one in skips] or [frozenset[str]()] * len(staged)
    for source, skipped in zip(staged, left_out, strict=True):
        parsed = read_coco(source.annotations, source.images, skipped)
        _merge_categories(categories, parsed, source)
        warnings += [f"{source.annotations.name}: {warning}" for warning in parsed.warnings]
        images += _images(parsed, source)
    if all(image.crowd.all() for image in images):
        names = ", ".join(str(source.annotations) for source in staged) or "the sources"
        crowds = any(len(image.labels) for image in images)
        what = "all boxes are crowds (iscrowd 1)" if crowds else "there is not one usable box"
        raise invalid_dataset(f"{names}: {what}.", data_rule("no-boxes").remedy)
    if max(Counter(image.id for image in images).values()) > 1:
        warnings.append("image ids repeat across the sources; all were numbered anew")
        images = [replace(image, id=number) for number, image in enumerate(images, start=1)]
    return CocoDataset(tuple(images), categories, tuple(staged), tuple(warnings), tuple(skips))


def _merge_categories(known: dict[int, str], parsed: CocoFile, source: StagedSource) -> None:
    for number, name in parsed.categories.items():
        if known.setdefault(number, name) != name:
            raise invalid_dataset(
                f"{source.annotations}: category {number} is {name!r} here and "
                f"{known[number]!r} in another source.",
                "Give the sources one common list of categories.",
            )


def _images(parsed: CocoFile, source: StagedSource) -> list[CocoImage]:
    by_name = {name: source.images.find(name) for name in parsed.file_names}
    files = [file for name in parsed.file_names if (file := by_name[name])]
    if len(files) < len(parsed.file_names):
        missing = [name for name in parsed.file_names if not by_name[name]]
        raise _missing_images(missing, len(parsed.file_names), source)
    ends = np.searchsorted(parsed.image_index, np.arange(len(files) + 1))
    images = []
    for i, file in enumerate(files):
        own = slice(ends[i], ends[i + 1])
        width, height = parsed.sizes[i].tolist()
        images.append(
            CocoImage(
                id=parsed.image_ids[i],
                file=file,
                width=width,
                height=height,
                boxes=parsed.boxes[own],
                labels=parsed.labels[own],
                areas=parsed.areas[own],
                crowd=parsed.crowd[own],
            )
        )
    return images


def _missing_images(missing: list[str], total: int, source: StagedSource) -> Exception:
    first = ", ".join(missing[:_SHOWN])
    more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    hint = Nearby(source.images.names()).hint(missing[0])
    return invalid_dataset(
        f"{len(missing)} of {total} images that {source.annotations} lists are not in "
        f"{source.images}: {first}{more}{f' ({hint.cause})' if hint else ''}.",
        hint.remedy if hint else data_rule("image-missing").remedy,
    )
