"""The published code's diagnostics, which it reports among its losses. Training needs none.

Shapes: b batch, q queries, m boxes of the fullest image, c classes.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dino_trainer.model import Predictions, Targets
from tests.model.golden_case import Result


@torch.no_grad()
def diagnostics(result: Result, targets: Targets) -> dict[str, float]:
    """Return class_error, and loss_xy, loss_hw and cardinality_error of every set."""
    boxes = max(targets.total, 1)
    values = {}
    for suffix, predictions, queries, weight in _sets(result, targets):
        values |= _of_set(suffix, predictions, queries, targets, boxes * weight)
    values["class_error"] = _class_error(result, targets)
    return values


def _sets(result: Result, targets: Targets) -> Iterator[tuple[str, Predictions, list[Tensor], int]]:
    """Yield suffix, predictions [b, q, …], matched queries per target, and the divisor."""
    trained, queries = result.trained, result.all_losses.queries
    layers = trained.layers
    k = len(layers.logits)
    suffixes = [*(f"_{index}" for index in range(k - 1)), ""]
    for index, suffix in enumerate(suffixes):
        one = Predictions(layers.logits[index], layers.boxes[index])
        yield suffix, one, [queries[index]], 1
    if trained.proposals is not None:
        yield "_interm", trained.proposals, [queries[k]], 1
    noised = trained.denoising
    if noised is not None:
        b, m = noised.targets.labels.shape
        slots = torch.arange(m).expand(b, -1)
        groups = [slots + 2 * m * group for group in range(noised.groups)]
        for index, suffix in enumerate(suffixes):
            one = Predictions(noised.layers.logits[index], noised.layers.boxes[index])
            yield f"_dn{suffix}", one, groups, noised.groups


def _of_set(
    suffix: str, predictions: Predictions, groups: list[Tensor], targets: Targets, divisor: int
) -> dict[str, float]:
    q, c = predictions.logits.shape[1:]
    padded = targets.padded
    distance = torch.zeros(4)
    for queries in groups:
        index = queries.clamp(max=q - 1)[..., None].expand(-1, -1, 4)
        error = (predictions.boxes.gather(1, index) - padded.boxes).abs()
        distance += (error * ((queries < q) & padded.valid)[..., None]).sum((0, 1))
    # "Not the last class" stands for "an object" here, a leftover of softmax detectors.
    found = (predictions.logits.argmax(-1) != c - 1).sum(1)
    missed = (found - torch.tensor(targets.counts)).abs().float().mean()
    return {
        f"loss_xy{suffix}": float(distance[:2].sum() / divisor),
        f"loss_hw{suffix}": float(distance[2:].sum() / divisor),
        f"cardinality_error{suffix}": float(missed),
    }


def _class_error(result: Result, targets: Targets) -> float:
    """Return 100 minus the percentage of matched queries whose best class is right."""
    layers = result.trained.layers
    queries = result.all_losses.queries[len(layers.logits) - 1]
    best = layers.logits[-1].argmax(-1)  # [b, q]
    matched = queries < best.shape[1]
    right = best.gather(1, queries.clamp(max=best.shape[1] - 1)) == targets.padded.labels
    return 100 - 100 * float((right & matched).sum()) / max(int(matched.sum()), 1)
