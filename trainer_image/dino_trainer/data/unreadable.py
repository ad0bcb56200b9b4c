"""Images that are damaged, and left out where somebody has asked for that by a share.

Whether a file can be read is known only once it was decoded, so that all are, before the action
begins: which images there are must not change while it runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from dino_api.rules.data import data_rule
from dino_trainer.data.decode import UnreadableImage, open_image
from dino_trainer.data.image_store import ImageFile
from dino_trainer.errors import invalid_dataset

_SHOWN = 5
_THREADS = 4


class Wanted(NamedTuple):
    """A file that annotations list, under which name, and the size that they say."""

    name: str
    file: ImageFile
    width: int
    height: int


def may_skip(damaged: int, count: int, share: float) -> bool:
    """Whether so many of `count` images may be left out."""
    return damaged <= share * count


def damaged_images(images: Sequence[Wanted], share: float, where: str) -> dict[int, str]:
    """The positions of images that are left out, and why; none are looked at where share is 0.

    where: the annotation file, for messages. Raises InvalidDataset for more than the share.
    """
    if not share:
        return {}
    with ThreadPoolExecutor(_THREADS) as pool:  # decoding frees the interpreter's lock
        damaged = {place: why for place, why in enumerate(pool.map(_damage, images)) if why}
    if not may_skip(len(damaged), len(images), share):
        raise invalid_dataset(
            f"{len(damaged)} of {len(images)} images that {where} lists are damaged, more than "
            f"dataset.skip_unreadable = {share:g} allows: {', '.join(_named(images, damaged))}.",
            data_rule("image-unreadable").remedy,
        )
    return damaged


def skipped(images: Sequence[Wanted], damaged: dict[int, str], where: str) -> list[str]:
    """The warning that names each of them; none where all can be read."""
    if not damaged:
        return []
    named = ", ".join(f"{images[place].name} ({why})" for place, why in damaged.items())
    what = "image is" if len(damaged) == 1 else "images are"
    return [f"{where}: {len(damaged)} {what} damaged and left out (skip_unreadable): {named}"]


def _named(images: Sequence[Wanted], damaged: dict[int, str]) -> Iterator[str]:
    for place, why in list(damaged.items())[:_SHOWN]:
        yield f"{images[place].name} ({why})"
    if len(damaged) > _SHOWN:
        yield f"and {len(damaged) - _SHOWN} more"


def _damage(one: Wanted) -> str:
    """Why a file cannot be read, as the preflight finds it; "" where it can."""
    try:
        open_image(one.file).rgb((one.width, one.height), shrink=8)
    except UnreadableImage as error:
        return error.why
    return ""
