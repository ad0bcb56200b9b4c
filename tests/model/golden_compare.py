"""Compares what our model gives with what a golden folder expects.

Scores that are equal but for rounding can swap places in a top-k, so rows are compared as sets
wherever scores tie.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dino_trainer.model import Detections, Outputs, Predictions
from dino_trainer.model.matching import pairing_cost
from dino_trainer.model.position import image_positions
from dino_trainer.model.weights import our_name
from tests.model.golden_case import GoldenFolder, Result
from tests.model.golden_diagnostics import diagnostics

OUTPUT, LOSS, GRADIENT = 1e-4, 1e-5, 5e-3
# Relative errors of values below these are taken relative to these: there, rounding decides.
SMALL_LOSS = 1e-3
SMALL_GRADIENT = 1e-6  # of the largest norm
# Costs of two assignments that differ by less are the same assignment.
TIED_COST = 1e-4


@dataclass(frozen=True)
class Check:
    """The worst error of one quantity against its tolerance."""

    quantity: str
    error: float
    tolerance: float
    unit: str  # absolute, relative or count
    where: str = ""

    @property
    def passed(self) -> bool:
        """Also false for an error that is not a number."""
        return self.error <= self.tolerance


def compare(case: GoldenFolder, result: Result) -> list[Check]:
    """Return one check per quantity that the folder speaks of."""
    return [
        *_features(case, result),
        *_outputs(case, result),
        *_detections(case, result.detections),
        *_assignments(case, result),
        *_losses(case, result),
        *_gradients(case, result),
    ]


def _features(case: GoldenFolder, result: Result) -> Iterator[Check]:
    tensors, cfg = case.tensors, case.config
    for level, feature in enumerate(result.features):
        expected = tensors.get(f"backbone_feature_{level}_mean_abs")
        if expected is not None:
            yield _absolute(f"backbone feature {level}", feature.abs().mean(), expected)
        mask = torch.nn.functional.interpolate(
            case.batch[1][None].float(), size=feature.shape[-2:]
        )[0].bool()
        if f"backbone_mask_{level}" in tensors:
            wrong = (mask.numpy() != tensors[f"backbone_mask_{level}"]).sum()
            yield Check(f"backbone mask {level}", float(wrong), 0, "count")
        expected = tensors.get(f"position_encoding_{level}_slice")
        if expected is not None:
            positions = image_positions(
                mask, cfg.hidden_dim, cfg.pe_temperatureH, cfg.pe_temperatureW
            )
            ours = positions.transpose(1, 2).unflatten(-1, feature.shape[-2:])[:, ::8, ::4, ::4]
            yield _absolute(f"position encoding {level}", ours, expected)
    yield _absolute("encoder memory", result.memory[:, ::16, ::4], tensors["encoder_memory_slice"])


def _outputs(case: GoldenFolder, result: Result) -> Iterator[Check]:
    for name, ours in _named_predictions(result.evaluated, "eval"):
        yield from _predictions(case, name, ours)
    train = Predictions(result.trained.logits, result.trained.boxes)
    yield from _predictions(case, "train_pred", train)


def _named_predictions(outputs: Outputs, lead: str) -> Iterator[tuple[str, Predictions]]:
    yield f"{lead}_pred", Predictions(outputs.logits, outputs.boxes)
    for index in range(len(outputs.layers.logits) - 1):
        layers = outputs.layers
        yield f"{lead}_aux{index}", Predictions(layers.logits[index], layers.boxes[index])
    if outputs.proposals is not None:
        yield f"{lead}_interm", outputs.proposals


def _predictions(case: GoldenFolder, name: str, ours: Predictions) -> Iterator[Check]:
    for part, tensor in (("logits", ours.logits), ("boxes", ours.boxes)):
        if f"{name}_{part}" in case.tensors:
            yield _absolute(f"{name}_{part}", tensor, case.tensors[f"{name}_{part}"])


def _detections(case: GoldenFolder, detections: list[Detections]) -> Iterator[Check]:
    for image, ours in enumerate(detections):
        if f"post{image}_scores" not in case.tensors:
            continue
        scores, labels, boxes = (
            torch.from_numpy(case.tensors[f"post{image}_{part}"])
            for part in ("scores", "labels", "boxes")
        )
        yield _absolute(f"detections of image {image}: scores", ours.scores, scores.numpy())
        order = _same_order(ours, scores, labels, boxes)
        wrong = (ours.labels[order] != labels).sum()
        yield Check(f"detections of image {image}: labels", float(wrong), 0, "count")
        # Relative to the image's side: a pixel value of a thousand carries an error of 6e-5.
        side = float(max(case.sizes[image]))
        yield _absolute(
            f"detections of image {image}: boxes / side", ours.boxes[order] / side, boxes / side
        )


def _same_order(ours: Detections, scores: Tensor, labels: Tensor, boxes: Tensor) -> list[int]:
    """Return, for each expected detection, our nearest one not yet taken among equal scores."""
    order: list[int] = []
    for score, label, box in zip(scores, labels, boxes, strict=True):
        distance = (ours.boxes - box).abs().amax(-1) + 1e6 * (ours.labels != label)
        distance[(ours.scores - score).abs() > OUTPUT] += 1e9
        distance[order] = float("inf")
        order.append(int(distance.argmin()))
    return order


def _assignments(case: GoldenFolder, result: Result) -> Iterator[Check]:
    """Compare the last layer's pairs; other pairs of the same total cost are a tie."""
    trained, padded = result.trained, case.targets.padded
    last = result.all_losses.queries[case.config.dec_layers - 1]  # [b, m]
    cfg, logits, boxes = case.config, trained.logits[None], trained.boxes[None]
    cost = pairing_cost(logits, boxes, padded, cfg.costs, cfg.focal_alpha)[0].detach()
    for image, count in enumerate(case.targets.counts):
        if f"match{image}_query" not in case.tensors:
            continue
        queries, targets = (case.tensors[f"match{image}_{side}"] for side in ("query", "target"))
        expected = set(zip(queries.tolist(), targets.tolist(), strict=True))
        found = last[image, :count].tolist()
        ours = {(query, t) for t, query in enumerate(found) if query < case.config.num_queries}
        wrong = len(expected ^ ours)
        if wrong and len(expected) == len(ours):
            sums = [sum(float(cost[image, q, t]) for q, t in pairs) for pairs in (expected, ours)]
            wrong = 0 if abs(sums[0] - sums[1]) < TIED_COST else wrong
        yield Check(f"assignment of image {image}", float(wrong), 0, "count")


def _losses(case: GoldenFolder, result: Result) -> Iterator[Check]:
    ours = {name: float(value) for name, value in result.all_losses.terms.items()}
    ours |= diagnostics(result, case.targets)
    errors = {
        # Without a box in the batch, the published code reports zeros for denoising.
        name: _relative(ours.get(name, 0.0 if "_dn" in name else float("nan")), value, SMALL_LOSS)
        for name, value in case.expected["losses"].items()
    }
    yield _worst("losses", errors, LOSS)
    total = float(result.losses.total.detach())
    error = _relative(total, case.expected["total_loss"], SMALL_LOSS)
    yield Check("total loss", error, LOSS, "relative")


def _gradients(case: GoldenFolder, result: Result) -> Iterator[Check]:
    norms = {our_name(name): norm for name, norm in case.expected["gradient_norms"].items()}
    small = SMALL_GRADIENT * max(norms.values())
    ours = {name: float(g.norm()) for name, g in result.gradients.items() if g is not None}
    errors = {
        name: _relative(ours.get(name, float("nan")), norm, small) for name, norm in norms.items()
    }
    yield _worst("gradient norms", errors, GRADIENT)
    without = {our_name(name) for name in case.expected["parameters_without_gradient"]}
    wrong = without & set(ours) | set(ours) - set(norms) | without - set(result.gradients)
    where = min(wrong, default="")
    yield Check("tensors without gradient", float(len(wrong)), 0, "count", where)


def _absolute(quantity: str, ours: Tensor, expected: np.ndarray | Tensor) -> Check:
    expected = torch.as_tensor(expected)
    if ours.shape != expected.shape:
        return Check(quantity, float("nan"), OUTPUT, "absolute", f"shape {list(ours.shape)}")
    error = (ours.detach() - expected).abs()
    return Check(quantity, float(error.max()) if error.numel() else 0.0, OUTPUT, "absolute")


def _relative(ours: float, expected: float, small: float) -> float:
    return abs(ours - expected) / max(abs(expected), small)


def _worst(quantity: str, errors: dict[str, float], tolerance: float) -> Check:
    # A value that is not a number is worse than any number.
    name = max(errors, key=lambda key: np.nan_to_num(errors[key], nan=np.inf))
    return Check(f"{quantity} ({len(errors)})", errors[name], tolerance, "relative", name)
