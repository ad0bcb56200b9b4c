"""The training loss: all sets of predictions in one pass.

Shapes: k decoder layers, g sets (the layers, then the proposals; or the layers of denoising
queries), b batch, q queries of a set, m boxes of the fullest image, c classes, n denoising groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from dino_trainer.model.boxes import cxcywh_to_xyxy, generalized_iou
from dino_trainer.model.config import DetectorConfig
from dino_trainer.model.dino import DenoisingOutputs, Outputs, Predictions
from dino_trainer.model.layers import full_precision
from dino_trainer.model.matching import match
from dino_trainer.targets import PaddedTargets, Targets, from_host

if TYPE_CHECKING:
    from dino_api.experiment.model import ModelConfig as ModelSection

TERMS = ("loss_ce", "loss_bbox", "loss_giou")
# Logits whose focal loss is computed at once: what lies between takes five times as much memory.
LOGITS_AT_ONCE = 2**25


@dataclass(frozen=True)
class Losses:
    """The weighted total and its parts.

    The parts are one detached tensor, so that a report costs one copy from the device.
    """

    total: Tensor  # float32[], what to differentiate
    names: tuple[str, ...]  # published names: loss_ce, loss_bbox_0, loss_giou_dn, …
    values: Tensor  # float32[len(names)], unweighted
    queries: Tensor  # int64[g, b, m], what ``matching.match_boxes`` returned

    @property
    def terms(self) -> dict[str, Tensor]:
        """Each part float32[] under its published name."""
        return dict(zip(self.names, self.values.unbind(), strict=True))


class Criterion(nn.Module):
    """Focal, L1 and generalised IoU losses over all decoder layers, proposals and denoising."""

    def __init__(self, model: ModelSection | DetectorConfig) -> None:
        super().__init__()
        self.cfg = DetectorConfig.from_spec(model)

    def forward(
        self, outputs: Outputs, targets: Targets, num_boxes: float | Tensor | None = None
    ) -> Losses:
        """Compare predictions with the true boxes.

        Args:
            outputs: of a forward pass over the same batch.
            targets: true boxes, on the outputs' device.
            num_boxes: what the sums are divided by, at least 1; default: boxes of this batch.
                With several processes or accumulated batches: boxes of the whole step, divided
                by the number of processes.
        """
        with full_precision(outputs.logits.device):
            return self._compare(outputs, targets, num_boxes)

    def _compare(
        self, outputs: Outputs, targets: Targets, num_boxes: float | Tensor | None
    ) -> Losses:
        boxes = targets.total if num_boxes is None else num_boxes
        boxes = boxes.clamp(min=1) if isinstance(boxes, Tensor) else max(float(boxes), 1.0)
        matched = self._sets_to_match(outputs)
        padded = targets.padded
        queries = match(
            matched.logits, matched.boxes, targets, self.cfg.costs, self.cfg.focal_alpha
        )
        parts = [_matched_sums(matched, padded, queries, self.cfg.focal_alpha) / boxes]
        noised = outputs.denoising
        if noised is not None:
            sums = _denoised_sums(self._supervised(noised.layers), noised, self.cfg.focal_alpha)
            parts.append(sums / (boxes * noised.groups))
        values = torch.cat(parts, dim=1)  # [3, all sets]
        suffixes, factors = self._sets(outputs)
        weights = from_host(self._weights(factors), values.device)
        return Losses(
            total=(values * weights).sum(),
            names=tuple(term + suffix for term in TERMS for suffix in suffixes),
            values=values.detach().flatten(),
            queries=queries,
        )

    def _supervised(self, layers: Predictions) -> Predictions:
        """Return the decoder layers that get a loss, [k or 1, b, …]."""
        first = 0 if self.cfg.aux_loss else -1
        return Predictions(layers.logits[first:], layers.boxes[first:])

    def _sets_to_match(self, outputs: Outputs) -> Predictions:
        """Return the supervised layers and then the proposals as one stack [g, b, q, …]."""
        layers, proposals = self._supervised(outputs.layers), outputs.proposals
        if proposals is None:
            return layers
        return Predictions(
            torch.cat((layers.logits, proposals.logits[None])),
            torch.cat((layers.boxes, proposals.boxes[None])),
        )

    def _sets(self, outputs: Outputs) -> tuple[list[str], list[str]]:
        """Return the published suffix of every set, in order, and which weights it takes."""
        count = self.cfg.dec_layers - 1 if self.cfg.aux_loss else 0
        layers = [*(f"_{i}" for i in range(count)), ""]
        suffixes, kinds = list(layers), ["layer"] * len(layers)
        if outputs.proposals is not None:
            suffixes.append("_interm")
            kinds.append("proposals")
        if outputs.denoising is not None:
            suffixes += [f"_dn{suffix}" for suffix in layers]
            kinds += ["layer"] * len(layers)
        return suffixes, kinds

    def _weights(self, kinds: list[str]) -> np.ndarray:
        """Return float32[3, all sets], the weight of each term of each set."""
        cfg = self.cfg
        classes, boxes = ("labels" in cfg.loss_types), ("boxes" in cfg.loss_types)
        of_term = (
            cfg.cls_loss_coef * classes,
            cfg.bbox_loss_coef * boxes,
            cfg.giou_loss_coef * boxes,
        )
        with_boxes = not cfg.no_interm_box_loss
        factors = {
            "layer": (1.0, 1.0, 1.0),
            "proposals": tuple(cfg.interm_loss_coef * on for on in (1, with_boxes, with_boxes)),
        }
        columns = [np.multiply(of_term, factors[kind]) for kind in kinds]
        return np.stack(columns, axis=1).astype(np.float32)


def _matched_sums(
    predictions: Predictions, targets: PaddedTargets, queries: Tensor, alpha: float
) -> Tensor:
    """Return float32[3, g], the summed terms of predictions [g, b, q, …] given their match."""
    g, b, q, c = predictions.logits.shape
    labels = targets.labels.expand(g, -1, -1)
    classes = labels.new_full((g, b, q + 1), c)  # c stands for background; slot q for "unmatched"
    classes = classes.scatter(2, queries, labels)[:, :, :q]
    positive = classes[..., None] == torch.arange(c, device=labels.device)
    index = queries.clamp(max=q - 1)[..., None].expand(-1, -1, -1, 4)
    boxes = predictions.boxes.gather(2, index)  # [g, b, m, 4]
    matched = queries < q
    distance, giou = _box_sums(boxes, targets.boxes, matched)
    return torch.stack((_focal_sums(predictions.logits, positive, alpha), distance, giou))


def _denoised_sums(layers: Predictions, noised: DenoisingOutputs, alpha: float) -> Tensor:
    """Return float32[3, g], the summed terms of the denoising queries [g, b, n * 2 * m, …].

    The first half of each group should restore its boxes; everything else is background.
    """
    targets, groups = noised.targets, noised.groups
    c, m = layers.logits.shape[-1], targets.labels.shape[1]
    restored = targets.labels[..., None] == torch.arange(c, device=targets.labels.device)
    restored = restored & targets.valid[..., None]  # [b, m, c]
    group = torch.stack((restored, torch.zeros_like(restored)), dim=1)  # [b, 2, m, c]
    positive = group[:, None].expand(-1, groups, -1, -1, -1).flatten(1, 3)  # [b, n*2*m, c]
    boxes = layers.boxes.unflatten(2, (groups, 2, m))[:, :, :, 0]  # [g, b, n, m, 4]
    distance, giou = _box_sums(boxes, targets.boxes[:, None], targets.valid[:, None])
    return torch.stack((_focal_sums(layers.logits, positive, alpha), distance, giou))


def _focal_sums(logits: Tensor, positive: Tensor, alpha: float) -> Tensor:
    """Return float32[g], the sigmoid focal loss (gamma 2) summed over each set.

    ``positive`` bool[…, b, q, c] says which logits should be high. Lin et al. 2017. With the sign
    turned where a logit should be high, both sides have one formula: p^2 * softplus.
    """
    sums: Tensor = _FocalSums.apply(logits.float(), positive, alpha)
    return sums


class _FocalSums(torch.autograd.Function):
    """See ``_focal_sums``. The gradient is written out and computed beside the loss: of all that is
    as large as the logits one tensor is kept for it, where five were."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, positive: Tensor, alpha: float) -> Tensor:
        sets = max(1, LOGITS_AT_ONCE // max(1, x[0].numel()))
        logits = x.split(sets)
        # A validation needs the sums alone.
        slopes = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        into = (None,) * len(logits) if slopes is None else slopes.split(sets)
        parts = zip(logits, positive.expand_as(x).split(sets), into, strict=True)
        sums = torch.cat([_focal(each, high, alpha, to) for each, high, to in parts])
        if slopes is not None:
            ctx.save_for_backward(slopes)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (slopes,) = ctx.saved_tensors
        return grad[:, None, None, None] * slopes, None, None


def _focal(x: Tensor, positive: Tensor, alpha: float, slopes: Tensor | None) -> Tensor:
    """Return float32[g], the sums of ``x`` [g, b, q, c], and write their gradient to ``slopes``,
    where somebody asks for it.

    With p = sigmoid and s = softplus of a logit: (p^2 s)' = p^2 (2 (1 - p) s + p).
    """
    wrong = torch.where(positive, -x, x)
    cost = F.softplus(wrong)
    p = wrong.sigmoid_()
    scale = torch.where(positive, alpha, 1 - alpha).mul_(p.square())
    sums = (scale * cost).sum((1, 2, 3))
    if slopes is None:
        return sums
    slope = (1 - p).mul_(cost).mul_(2).add_(p).mul_(scale)
    torch.where(positive, -slope, slope, out=slopes)
    return sums


def _box_sums(predicted: Tensor, true: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Return float32[g] twice: summed L1 distance and summed 1 - generalised IoU.

    ``predicted`` [g, b, …, 4] and ``true`` [b, …, 4] are cxcywh pairs; those outside ``counted``
    [b, …] or [g, b, …] are left out.
    """
    predicted = predicted.float()
    distance = (predicted - true).abs().sum(-1)
    loss = 1 - generalized_iou(cxcywh_to_xyxy(predicted), cxcywh_to_xyxy(true))
    return (distance * counted).flatten(1).sum(1), (loss * counted).flatten(1).sum(1)
