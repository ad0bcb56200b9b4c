"""Padding: the share of a batch's pixels that no picture fills.

Ours are planned sizes, padded to multiples of 32; the peer's are the same pictures in the same
shuffle, batched as they come and padded to the largest, as the published code does.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from dino_api.experiment import AugmentationConfig
from dino_trainer.data.plan import TrainPlan
from dino_trainer.data.sizes import PaddingCost, PlannedSizes, padding
from tests.bench.coco_sizes import coco_like_sizes
from tests.bench.harness import Bench, machine

POOL, WHOLE = 4096, 118287  # images: what the published figure was measured on, and COCO
BATCHES = (2, 8, 16)


def a_plan(images: int, batch: int, world: int = 1) -> TrainPlan:
    """One epoch of the published augmentation, in planned sizes."""
    sizes = PlannedSizes(coco_like_sizes(images), AugmentationConfig(), 0)
    return TrainPlan(images, batch, epochs=1, seed=0, world=world, sizes=sizes)


def both(images: int, batch: int, world: int = 1) -> tuple[PaddingCost, PaddingCost]:
    """Padding with planned sizes and without."""
    plan = a_plan(images, batch, world)
    ours, sizes = plan.padding(), plan.sizes
    assert ours is not None
    assert sizes is not None
    unplanned = replace(plan, sizes=None).order(0)
    return ours, padding(sizes.of(0)[unplanned], batch, multiple=1)


def seconds_to_plan(images: int, batch: int) -> float:
    """What one epoch's plan takes: to draw all sizes, and to order them."""
    plan = a_plan(images, batch)
    start = time.perf_counter()
    plan.order(0)
    return time.perf_counter() - start


def measure() -> Bench:
    """Percent at batch 8; the other batches, and what planning costs, as parts."""
    found = {batch: both(POOL, batch) for batch in BATCHES}
    parts: dict[str, Any] = {}
    for batch, (ours, peer) in found.items():
        parts[f"b{batch}"] = [percent(ours), percent(peer)]
        parts[f"b{batch} shapes"] = [ours.shapes, peer.shapes]
    parts["b8 on 8 processes"] = [percent(side) for side in both(POOL, 8, world=8)]
    parts[f"b8 of {WHOLE} images"] = [percent(side) for side in both(WHOLE, 8)]
    parts[f"seconds to plan {WHOLE} images"] = round(seconds_to_plan(WHOLE, 8), 2)
    ours, peer = found[8]
    return Bench(
        "padding_batch8",
        percent(ours),
        percent(peer),
        "%",
        machine(),
        target="<= 7 %",
        note=f"{POOL} images of a COCO-like size mix, published augmentation: planned sizes "
        "padded to multiples of 32, against the same images as they are shuffled. Parts are "
        "[ours, peer].",
        parts=parts,
    )


def percent(side: PaddingCost) -> float:
    return round(100 * side.share, 2)


if __name__ == "__main__":
    measure().emit()
