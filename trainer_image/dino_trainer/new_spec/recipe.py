"""The settings that suit some data and a machine: a function of both, and of nothing else.

They are a start that trains, not an optimum: a search finds that. What a GPU's memory takes is
estimated from what one step keeps for its backward pass on a CPU (`docs/benchmarks.md`), with a
margin, since nothing was measured on a GPU.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from dino_api.experiment.model import SHIPPED_BACKBONE
from dino_api.tokens import count
from dino_trainer.machine.inventory import Machine
from dino_trainer.new_spec.coco_folder import TRAIN, FolderFacts

_GIB = 1 << 30
_MULTIPLE = 32
# Pixels of an image: what two cores train on in minutes, and what the published detector sees.
_CPU_PIXELS, _SMALL_GPU_PIXELS, _GPU_PIXELS = 240 * 320, 640 * 640, 800 * 1066
_SMALL_GPU = 11 * _GIB
# Boxes smaller than this are lost to most detectors; larger images may be taken for their sake.
_LEAST_SIDE, _FOR_SMALL = 10.0, 4
# Smaller than this in the image that the detector sees, boxes need the map of stride 8.
_FINE_SIDE = 24.0
# Of a GPU's memory: what weights and optimiser take, and what each pixel of a batch does.
_FIXED, _PER_PIXEL, _SHARE, _MOST_AT_ONCE = 2 * _GIB, 5_000, 0.6, 16
# Optimiser steps that a first training takes, and the fewest and most epochs for them.
_CPU_STEPS, _CPU_EPOCHS = 600, (3, 100)
_GPU_STEPS, _GPU_EPOCHS = 5_000, (12, 200)
_BASE_BATCH = 4
_DIGITS = "zero|one|two|three|four|five|six|seven|eight|nine"
_HAS_A_SIDE = re.compile(rf"^([0-9A-Za-z]|{_DIGITS})$|\b(left|right)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Recipe:
    """The values of a spec. size: height and width that every image is resized to."""

    backbone: str
    levels: tuple[int, ...]
    num_queries: int
    num_select: int
    layers: int
    feedforward: int
    dn_number: int
    size: tuple[int, int]
    batch_size: int
    workers: int
    flip: float
    num_epochs: int
    steps: int
    lr: float
    lr_backbone: float
    warmup_steps: int
    ema_decay: float
    precision: str
    num_gpus: int


def recipe_for(facts: FolderFacts, machine: Machine) -> Recipe:
    """The settings for these facts on that machine."""
    images, size = facts.splits[TRAIN].count, _size(facts, machine)
    levels = _levels(facts, machine, size)
    queries = _queries(facts, levels, size)
    batch = min(_batch(machine, size), images)
    epochs = _epochs(machine, images // batch)
    steps = epochs * (images // batch)
    lr = _rate(machine, batch)
    large = bool(machine.gpus)
    return Recipe(
        backbone=SHIPPED_BACKBONE,
        levels=levels,
        num_queries=queries,
        num_select=min(300, queries, queries * facts.num_classes - 1) or 1,
        layers=6 if large else 2,
        feedforward=2048 if large else 512,
        dn_number=100 if large else 50,
        size=size,
        batch_size=batch,
        workers=_workers(machine),
        flip=0.0 if _sided(facts) else 0.5,
        num_epochs=epochs,
        steps=steps,
        lr=lr,
        lr_backbone=float(f"{lr / 10:.1e}"),
        warmup_steps=min(500, steps // 20),
        ema_decay=round(min(0.9997, max(0.9, 1 - 10 / steps)), 4),
        precision="bf16" if machine.bf16 else "fp32",
        num_gpus=1 if large else 0,
    )


def _size(facts: FolderFacts, machine: Machine) -> tuple[int, int]:
    """Height and width, in steps of 32: no more pixels than the images have or the machine takes,
    but up to four times as many where boxes would be too small to be seen."""
    width, height = facts.size
    scale = min(1.0, math.sqrt(_pixels(machine) / (width * height)))
    if 0 < facts.small_side * scale < _LEAST_SIDE:
        most = scale * math.sqrt(_FOR_SMALL)
        scale = min(1.0, most, _LEAST_SIDE / facts.small_side)
    if not facts.alike:
        width = height = round(math.sqrt(width * height))
    return _stepped(height * scale), _stepped(width * scale)


def _pixels(machine: Machine) -> int:
    if not machine.gpus:
        return _CPU_PIXELS
    return _SMALL_GPU_PIXELS if machine.gpus[0].memory < _SMALL_GPU else _GPU_PIXELS


def _stepped(side: float) -> int:
    return max(2 * _MULTIPLE, round(side / _MULTIPLE) * _MULTIPLE)


def shrunk(facts: FolderFacts, size: tuple[int, int]) -> float:
    """By how much images become smaller: 0.5 for half of each side."""
    return math.sqrt(size[0] * size[1] / (facts.size[0] * facts.size[1]))


def _levels(facts: FolderFacts, machine: Machine, size: tuple[int, int]) -> tuple[int, ...]:
    fine = 0 < facts.small_side * shrunk(facts, size) < _FINE_SIDE
    return (1, 2, 3, 4) if machine.gpus or fine else (2, 3, 4)


def _queries(facts: FolderFacts, levels: tuple[int, ...], size: tuple[int, int]) -> int:
    """Three for each object of the fullest image, as far as the image has places for them."""
    wanted = min(900, max(100, math.ceil(3 * facts.most_boxes / 100) * 100))
    return min(wanted, int(count(SHIPPED_BACKBONE, levels, *size)))


def _batch(machine: Machine, size: tuple[int, int]) -> int:
    if not machine.gpus:
        return _BASE_BATCH if machine.memory >= 4 * _GIB else 2
    room = _SHARE * machine.gpus[0].memory - _FIXED
    fitting = max(1.0, room / (_PER_PIXEL * size[0] * size[1]))
    return min(_MOST_AT_ONCE, 1 << int(math.log2(fitting)))


def _epochs(machine: Machine, steps: int) -> int:
    """As many as make up the steps of a first training."""
    wanted = _GPU_STEPS if machine.gpus else _CPU_STEPS
    fewest, most = _GPU_EPOCHS if machine.gpus else _CPU_EPOCHS
    return min(most, max(fewest, math.ceil(wanted / steps)))


def _rate(machine: Machine, batch: int) -> float:
    """By the square root of the batch; a small model takes larger steps."""
    base = 0.0002 if machine.gpus else 0.0004
    return float(f"{base * math.sqrt(batch / _BASE_BATCH):.1e}")


def _workers(machine: Machine) -> int:
    """A GPU waits for them; on a CPU they take its cores."""
    return min(8, max(1, machine.cores - 1)) if machine.gpus else 1


def _sided(facts: FolderFacts) -> bool:
    """Whether names of classes say that a mirrored one is another: digits, letters, sides."""
    return any(_HAS_A_SIDE.search(name.replace("_", " ")) for name in facts.classes.values())
