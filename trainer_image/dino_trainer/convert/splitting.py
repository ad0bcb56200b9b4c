"""Which images belong to which split.

A split is drawn from a digest of the image's own name: the same name always falls into the same
one, whatever else is there, so that images that come later move none that was there before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from dino_trainer.convert.records import LabelledImage
from dino_trainer.data.name_forms import composed
from dino_trainer.errors import invalid_spec

NAMES = ("train", "val", "test")
_FORM = "Give the shares of train, val and test, which make 1: --split 0.8,0.1,0.1"


def shares_of(text: str) -> tuple[float, ...]:
    """The shares in `0.8,0.1,0.1` or `0.9,0.1`. Raises InvalidSpec."""
    try:
        shares = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise invalid_spec(f"--split is {text!r}, which are no numbers.", _FORM) from error
    if not 2 <= len(shares) <= len(NAMES):
        raise invalid_spec(f"--split has {len(shares)} shares, not 2 or 3.", _FORM)
    # A comparison with a number that is none is false.
    if not all(0 <= share <= 1 for share in shares) or not abs(sum(shares) - 1) < 1e-6:
        raise invalid_spec(f"The shares of --split, {text}, do not make 1.", _FORM)
    return shares


def drawn(name: str, shares: Sequence[float]) -> str:
    """The split of a name: `train`, `val` or `test`."""
    digest = hashlib.sha256(composed(name).encode(errors="surrogateescape")).digest()
    place = int.from_bytes(digest[:6], "big") / (1 << 48)
    edge = 0.0
    for split, share in zip(NAMES, shares, strict=False):
        edge += share
        if place < edge:
            return split
    # The sum of shares may be a hair below 1.
    return NAMES[max(at for at, share in enumerate(shares) if share)]


def by_split(
    images: Sequence[LabelledImage], shares: Sequence[float] | None
) -> dict[str, list[LabelledImage]]:
    """The images of each split that has some, in the order train, val, test.

    Without shares as the export has them; "" holds those that it puts into none.
    """
    splits: dict[str, list[LabelledImage]] = {name: [] for name in (*NAMES, "")}
    for image in images:
        splits[drawn(image.name, shares) if shares else image.split].append(image)
    return {name: some for name, some in splits.items() if some}
