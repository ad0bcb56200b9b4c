"""Matching and losses against plain loops over sets and images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import generalized_box_iou, sigmoid_focal_loss

from dino_trainer.model import Criterion, Outputs, Predictions, Targets, losses
from dino_trainer.model.boxes import cxcywh_to_xyxy, generalized_iou, xyxy_to_cxcywh
from dino_trainer.model.dino import DenoisingOutputs
from dino_trainer.model.matching import match
from tests.model.small import a_detector, images, small, targets

COSTS = (2.0, 5.0, 2.0)


def predictions(*shape: int, classes: int = 5) -> Predictions:
    """Random predictions of the given leading shape."""
    boxes = torch.cat((0.2 + 0.6 * torch.rand(*shape, 2), 0.05 + 0.3 * torch.rand(*shape, 2)), -1)
    return Predictions(torch.randn(*shape, classes), boxes)


def naive_cost(logits: Tensor, boxes: Tensor, labels: Tensor, true: Tensor) -> Tensor:
    """Cost [q, n] of one image, over all classes and then picked, as published."""
    p = logits.sigmoid()
    positive = 0.25 * (1 - p) ** 2 * -(p + 1e-8).log()
    negative = 0.75 * p**2 * -(1 - p + 1e-8).log()
    giou = generalized_box_iou(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(true))
    return 2 * (positive - negative)[:, labels] + 5 * torch.cdist(boxes, true, p=1) - 2 * giou


@pytest.mark.parametrize("counts", [(3, 1), (0, 4), (0, 0), (7, 7, 2), (30, 2)])
def test_matching_equals_one_image_at_a_time(counts: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    batch, made = targets(*counts), predictions(3, len(counts), 20)
    queries = match(made.logits, made.boxes, batch, COSTS, 0.25)
    assert queries.shape == (3, len(counts), max(counts))
    starts = [sum(counts[:i]) for i in range(len(counts))]
    for layer in range(3):
        for image, (start, count) in enumerate(zip(starts, counts, strict=True)):
            labels, true = (t[start : start + count] for t in (batch.labels, batch.boxes))
            cost = naive_cost(made.logits[layer, image], made.boxes[layer, image], labels, true)
            rows, columns = linear_sum_assignment(cost)
            found = queries[layer, image]
            assert found[columns].tolist() == rows.tolist()
            assert (found < 20).sum() == min(count, 20)


def test_matching_survives_what_is_not_a_number() -> None:
    """The loss is then not a number either, which is for the training loop to report."""
    made, batch = predictions(1, 2, 10), targets(2, 3)
    made.logits[0, 0] = float("nan")
    queries = match(made.logits, made.boxes, batch, COSTS, 0.25)
    assert (queries[0, 1] < 10).all()


def outputs(counts: tuple[int, ...], groups: int = 2, queries: int = 12) -> tuple[Outputs, Targets]:
    """Random outputs of two decoder layers with denoising, and their targets."""
    torch.manual_seed(1)
    batch = targets(*counts)
    b, m = len(counts), max(counts)
    noised = None
    if m:
        layers = predictions(2, b, groups * 2 * m)
        noised = DenoisingOutputs(layers, batch.padded, groups)
    return Outputs(predictions(2, b, queries), predictions(b, queries), noised), batch


def naive_terms(
    one: Predictions, pairs: list[tuple[int, int, int]], batch: Targets
) -> list[Tensor]:
    """Focal, L1 and GIoU sums of one set [b, q, …], from (image, query, flat target) pairs."""
    classes = torch.zeros_like(one.logits)
    distance = giou = torch.zeros(())
    for image, query, target in pairs:
        classes[image, query, batch.labels[target]] = 1
        box, true = one.boxes[image, query], batch.boxes[target]
        distance = distance + F.l1_loss(box, true, reduction="sum")
        corners = (cxcywh_to_xyxy(x)[None] for x in (box, true))
        giou = giou + 1 - generalized_box_iou(*corners)[0, 0]
    return [sigmoid_focal_loss(one.logits, classes, 0.25, 2, "sum"), distance, giou]


@pytest.mark.parametrize("counts", [(3, 1), (4, 0), (15, 2)])
def test_losses_equal_one_set_at_a_time(counts: tuple[int, ...]) -> None:
    made, batch = outputs(counts)
    losses = Criterion(small(dec_layers=2))(made, batch)
    starts = [sum(counts[:i]) for i in range(len(counts))]
    total = torch.zeros(())
    for index, suffix in enumerate(("_0", "", "_interm")):
        layers = made.layers
        one = (
            made.proposals
            if suffix == "_interm"
            else Predictions(layers.logits[index], layers.boxes[index])
        )
        pairs = [
            (image, int(query), starts[image] + slot)
            for image, count in enumerate(counts)
            for slot, query in enumerate(losses.queries[index, image, :count])
            if query < 12
        ]
        total = total + _agree(losses.terms, suffix, naive_terms(one, pairs, batch), sum(counts))
    m = max(counts)
    for index, suffix in enumerate(("_dn_0", "_dn")):
        layers = made.denoising.layers
        one = Predictions(layers.logits[index], layers.boxes[index])
        pairs = [
            (image, group * 2 * m + slot, starts[image] + slot)
            for image, count in enumerate(counts)
            for slot in range(count)
            for group in range(2)
        ]
        total = total + _agree(
            losses.terms, suffix, naive_terms(one, pairs, batch), sum(counts) * 2
        )
    assert losses.total.isclose(total, rtol=1e-5)


def _agree(terms: dict[str, Tensor], suffix: str, sums: list[Tensor], boxes: int) -> Tensor:
    """Compare the three terms of a set; return their weighted sum."""
    for name, value in zip(("loss_ce", "loss_bbox", "loss_giou"), sums, strict=True):
        assert terms[name + suffix].isclose(value / boxes, rtol=1e-4), name + suffix
    return sum(w * value / boxes for w, value in zip((1, 5, 2), sums, strict=True))


def test_the_divisor_can_be_the_whole_steps() -> None:
    made, batch = outputs((3, 1))
    criterion = Criterion(small(dec_layers=2))
    alone = criterion(made, batch).total
    assert criterion(made, batch, 8.0).total.isclose(alone / 2)
    assert criterion(made, batch, torch.tensor(8.0)).total.isclose(alone / 2)


def test_no_boxes_divide_by_one() -> None:
    made, batch = outputs((0, 0))
    losses = Criterion(small(dec_layers=2))(made, batch)
    zero = torch.zeros_like(made.logits)
    expected = sigmoid_focal_loss(made.logits, zero, 0.25, 2, "sum")
    assert losses.terms["loss_ce"].isclose(expected)
    assert losses.terms["loss_bbox"] == 0
    assert "loss_ce_dn" not in losses.terms


WEIGHTS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "no auxiliary losses": (
        {"aux_loss": False},
        {f"{t}{s}" for t in ("loss_ce", "loss_bbox", "loss_giou") for s in ("", "_interm", "_dn")},
    ),
    "labels alone": (
        {"loss_types": ("labels",)},
        {f"loss_ce{s}" for s in ("", "_0", "_interm", "_dn", "_dn_0")},
    ),
    "no boxes of proposals": (
        {"no_interm_box_loss": True, "aux_loss": False, "loss_types": ("labels", "boxes")},
        {"loss_ce", "loss_bbox", "loss_giou", "loss_ce_interm"}
        | {f"{t}_dn" for t in ("loss_ce", "loss_bbox", "loss_giou")},
    ),
}


@pytest.mark.parametrize("changes, counted", WEIGHTS.values(), ids=WEIGHTS.keys())
def test_which_terms_count(changes: dict[str, Any], counted: set[str]) -> None:
    made, batch = outputs((3, 1))
    losses = Criterion(small(dec_layers=2, **changes))(made, batch)
    weights = {"loss_ce": 1.0, "loss_bbox": 5.0, "loss_giou": 2.0}
    expected = sum(
        weights["_".join(name.split("_")[:2])] * value
        for name, value in losses.terms.items()
        if name in counted
    )
    assert losses.total.isclose(expected, rtol=1e-5)


def test_generalized_iou_is_torchvisions() -> None:
    a, b = (cxcywh_to_xyxy(predictions(8).boxes) for _ in range(2))
    assert generalized_iou(a[:, None], b[None]).allclose(generalized_box_iou(a, b), atol=1e-4)
    assert generalized_iou(a, b).allclose(generalized_box_iou(a, b).diag(), atol=1e-4)
    assert xyxy_to_cxcywh(a).allclose(xyxy_to_cxcywh(cxcywh_to_xyxy(xyxy_to_cxcywh(a))))


def test_one_step_of_training_lowers_the_loss() -> None:
    model = a_detector().train()
    batch, mask = images((96, 128), (64, 100))
    batch_targets, criterion = targets(2, 1), Criterion(model.cfg)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    values = []
    for _ in range(8):
        noise = torch.Generator().manual_seed(0)
        loss = criterion(model(batch, mask, batch_targets, noise), batch_targets).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    assert values[-1] < 0.8 * values[0], values


@pytest.mark.parametrize("at_once", [2**25, 40], ids=["whole", "a set at a time"])
@pytest.mark.parametrize("sets_of_their_own", [True, False])
def test_the_gradient_of_the_focal_loss_is_that_of_its_formula(
    sets_of_their_own: bool, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchvision's, of logits far into both sides, too; each set with a factor of its own."""
    monkeypatch.setattr(losses, "LOGITS_AT_ONCE", at_once)
    torch.manual_seed(0)
    logits = torch.cat((torch.randn(3, 2, 4, 5), 30 * torch.randn(3, 2, 4, 5)), dim=2)
    positive = torch.rand(3 if sets_of_their_own else 1, 2, 8, 5) < 0.3
    given = positive if sets_of_their_own else positive[0]
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    sums = losses._focal_sums(ours, given, 0.25)
    high = positive.expand(3, 2, 8, 5).float()
    expected = sigmoid_focal_loss(theirs, high, 0.25, 2, "none").sum((1, 2, 3))
    torch.testing.assert_close(sums, expected)
    factors = torch.tensor([1.0, 0.5, 3.0])
    (sums * factors).sum().backward()
    (expected * factors).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_the_focal_loss_keeps_one_number_for_each_logit() -> None:
    """Of 10,000 classes they are most of what a step keeps."""
    logits = torch.randn(3, 2, 40, 300, requires_grad=True)
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.untyped_storage().nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses._focal_sums(logits, logits > 0.5, 0.25)
    assert sum(kept) == 4 * logits.numel()
