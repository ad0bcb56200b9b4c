"""Boxes in thousandths are warned of, and honest files are not."""

from __future__ import annotations

import numpy as np
import pytest

from dino_trainer.data.thousandths import are_thousandths

Boxes = tuple[np.ndarray, np.ndarray]
# Ranges of width and height.
KINDS = {
    "photographs": ((300, 2000), (300, 2000)),
    "small": ((40, 300), (40, 300)),
    "below 1000": ((400, 1000), (400, 1000)),
    "around 1000": ((900, 1100), (900, 1100)),
    "large": ((1200, 4000), (1200, 4000)),
}


def drawn(seed: int, kind: str, count: int) -> Boxes:
    """Honest boxes in pixels, three in an image, each its picture's in whole pixels."""
    rng = np.random.default_rng(seed)
    sizes = np.stack([rng.integers(*side, -(-count // 3)) for side in KINDS[kind]], 1)
    sizes = np.repeat(sizes, 3, axis=0)[:count]
    extent = np.maximum(1, sizes * rng.uniform(0.02, 0.9, (count, 2)))
    start = rng.uniform(0, 1, (count, 2)) * (sizes - extent)
    return np.concatenate([start, extent], 1).round(), sizes


def thousandths(file: Boxes) -> Boxes:
    boxes, sizes = file
    return (1000 * boxes / np.tile(sizes, 2)).round(), sizes


def made_smaller(file: Boxes, share: float) -> Boxes:
    """The pictures were, and the boxes were not."""
    boxes, sizes = file
    return boxes, np.maximum(1, (sizes * share).astype(np.int64))


def long_side_1000(file: Boxes) -> Boxes:
    boxes, sizes = file
    share = 1000 / sizes.max(axis=1, keepdims=True)
    return boxes * share, (sizes * share).astype(np.int64)


@pytest.mark.parametrize("kind", KINDS)
def test_honest_boxes_are_never_thousandths(kind: str) -> None:
    """None of 300 files of a kind, nor of pictures in proportion smaller, or on their side."""
    for seed in range(100):
        for count in (20, 40, 300):
            file = drawn(seed, kind, count)
            assert not are_thousandths(*file)
            in_1000 = long_side_1000(file)
            assert not are_thousandths(*in_1000)
            assert not are_thousandths(*made_smaller(in_1000, 0.64))
            assert not are_thousandths(in_1000[0], in_1000[1][:, ::-1])


@pytest.mark.parametrize("kind", ["photographs", "small", "below 1000"])
def test_thousandths_are_told_where_pictures_are_smaller(kind: str) -> None:
    told = [are_thousandths(*thousandths(drawn(seed, kind, 60))) for seed in range(50)]
    assert np.mean(told) > 0.9


def test_in_larger_pictures_they_are_not_told() -> None:
    """They lie within them, as honest boxes do: nothing is said rather than something untrue."""
    assert not any(are_thousandths(*thousandths(drawn(s, "large", 60))) for s in range(50))


def test_few_boxes_and_pictures_of_one_size_say_nothing() -> None:
    boxes, sizes = thousandths(drawn(0, "small", 60))
    assert are_thousandths(boxes, sizes)
    assert not are_thousandths(boxes[:19], sizes[:19])
    assert not are_thousandths(boxes, np.full_like(sizes, 300))
    assert not are_thousandths(np.empty((0, 4)), np.empty((0, 2), np.int64))
