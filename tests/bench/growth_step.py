"""How a training step grows with the image's size, queries, boxes and classes: time and memory.

A small detector, so that one process holds all sizes, which take turns; what grows is the same in
a large one. Memory is the most that tensors hold at a time beside the weights, as torch counts it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import median
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from dino_trainer.model import Criterion, Targets, build_dino
from dino_trainer.model.postprocess import postprocess
from tests.bench.growth_curves import LINEAR, Point, grown
from tests.bench.harness import machine
from tests.model.small import small

ROUNDS = 3
# As much of an attention's square as stands in the way of being in proportion.
QUADRATIC = "<= 2"


class Step(NamedTuple):
    """One step: sides of its square image, queries, boxes of the image, classes."""

    side: int = 256
    queries: int = 100
    boxes: int = 10
    classes: int = 80


class Curve(NamedTuple):
    """Steps that differ in `of` alone. sizes: what is counted of each."""

    of: str
    steps: tuple[Step, ...]
    sizes: tuple[int, ...]
    target: str
    note: str


SIDES = (128, 256, 512, 1024)
QUERIES, BOXES, CLASSES = (100, 300, 900), (10, 30, 100, 300), (100, 1000, 10_000)
CURVES: Mapping[str, Curve] = {
    "growth_step_image": Curve(
        "pixels",
        tuple(Step(side) for side in SIDES),
        tuple(side * side for side in SIDES),
        LINEAR,
        "A training step by the image's pixels: every token looks at as many places, whatever the "
        "image has.",
    ),
    "growth_step_queries": Curve(
        "queries",
        tuple(Step(512, queries) for queries in QUERIES),
        QUERIES,
        QUADRATIC,
        "A training step by queries, which all look at one another, as the published model's do.",
    ),
    "growth_step_boxes": Curve(
        "boxes of an image",
        tuple(Step(512, 900, boxes) for boxes in BOXES),
        BOXES,
        LINEAR,
        "A training step with 900 queries by the boxes of its image, the matcher included; "
        "denoising queries are bounded.",
    ),
    "growth_step_classes": Curve(
        "classes",
        tuple(Step(512, classes=classes) for classes in CLASSES),
        CLASSES,
        LINEAR,
        "A training step by classes: logits of all queries and decoder layers, and their losses.",
    ),
}


class Trained:
    """A step's detector and batch."""

    def __init__(self, step: Step) -> None:
        torch.manual_seed(0)
        cfg = small(num_queries=step.queries, num_select=10, dn_number=100)
        self.model = build_dino(cfg, step.classes).train()
        self.criterion = Criterion(cfg)
        self.pixels = torch.randn(1, 3, step.side, step.side)
        centres = 0.3 + 0.4 * torch.rand(step.boxes, 2)
        sides = 0.05 + 0.3 * torch.rand(step.boxes, 2)
        labels = torch.randint(1, step.classes, (step.boxes,))
        self.targets = Targets.collate([(labels, torch.cat((centres, sides), dim=1))])

    def run(self) -> None:
        """Forward and backward."""
        self.model.zero_grad(set_to_none=True)
        outputs = self.model(self.pixels, None, self.targets)
        self.criterion(outputs, self.targets).total.backward()

    def megabytes(self) -> float:
        """The most that is held at a time while it runs, gradients included."""
        self.model.zero_grad(set_to_none=True)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
            self.run()
        return most_held(recorded) / 1e6


def most_held(recorded: Any) -> int:
    """The largest sum of what was allocated and not yet given back, in bytes."""
    events = [one for one in recorded.profiler.kineto_results.events() if one.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda one: one.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    assert most > 0
    return most


class Detected(Trained):
    """What follows an image in validation: the best of all queries and classes."""

    def run(self) -> None:
        """Forward, and the selection."""
        with torch.no_grad():
            outputs = self.model.eval()(self.pixels)
            postprocess(outputs, torch.tensor([[480, 640]]), 100)


DETECTING = Curve(
    "classes",
    tuple(Step(512, classes=classes) for classes in CLASSES),
    CLASSES,
    LINEAR,
    "An image of a validation by classes: the forward pass and the selection of detections.",
)


def points(curve: Curve, kind: type[Trained] = Trained) -> list[Point]:
    """The curve: all sizes in turns, after one run of each."""
    made = [kind(step) for step in curve.steps]
    seconds: list[list[float]] = [[] for _ in made]
    for one in made:
        one.run()
    for _ in range(ROUNDS):
        for one, times in zip(made, seconds, strict=True):
            start = time.process_time()
            one.run()
            times.append(time.process_time() - start)
    return [
        Point(size, median(times), one.megabytes())
        for size, times, one in zip(curve.sizes, seconds, made, strict=True)
    ]


def main() -> None:
    facts = machine()
    for name, curve in CURVES.items():
        grown(name, curve.of, points(curve), facts, curve.note, curve.target).emit()
    found = points(DETECTING, Detected)
    grown("growth_detect_classes", "classes", found, facts, DETECTING.note).emit()


if __name__ == "__main__":
    main()
