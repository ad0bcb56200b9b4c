"""Contrastive denoising: true boxes, noised, as extra queries of a training step.

Shapes: b batch, m boxes of the fullest image, g groups, r = g * 2 * m denoising queries,
n = r + matching queries, d hidden size.

A group holds m slightly noised boxes to be restored and m strongly noised ones to be rejected.
Images with fewer boxes leave slots empty; as published, empty slots take part in attention and
count as background in the loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dino_trainer.model.attention import Sight
from dino_trainer.model.boxes import cxcywh_to_xyxy, inverse_sigmoid, xyxy_to_cxcywh
from dino_trainer.model.config import DetectorConfig
from dino_trainer.targets import PaddedTargets, Targets


@dataclass(frozen=True)
class Denoising:
    """The denoising queries of one batch."""

    content: Tensor  # float[b, r, d]
    boxes: Tensor  # float[b, r, 4], logits of cxcywh
    groups: int
    targets: PaddedTargets  # the true boxes in the slots, [b, m]

    @property
    def queries(self) -> int:
        """Denoising queries per image (r)."""
        return self.content.shape[1]


def count_groups(dn_number: int, most: int, limit: int | None) -> int:
    """Return how many groups a batch gets whose fullest image has ``most`` boxes.

    As published: from ``dn_number`` 50 on, it is about the number of noised boxes in all, so
    groups = 2 * dn_number // (2 * most); below 50 there are always 2 * dn_number groups. Never
    less than one. ``limit`` bounds the queries (groups * 2 * most), which the published code
    lets grow without end: attention costs their square.
    """
    doubled = 2 * dn_number
    groups = doubled // (2 * most) if doubled >= 100 else doubled
    if limit is not None:
        groups = min(groups, limit // (2 * most))
    return max(groups, 1)


def make_denoising(
    targets: Targets,
    label_embed: nn.Embedding,
    num_classes: int,
    cfg: DetectorConfig,
    generator: torch.Generator | None,
) -> Denoising | None:
    """Noise the true boxes into queries; None if the batch has no box.

    An image with more boxes than half of ``cfg.dn_query_limit`` shows that many of them, chosen
    anew in each step. Nothing here asks the device for a number.
    """
    if targets.most == 0:
        return None
    kept = _limit(targets.padded, targets, cfg.dn_query_limit, generator)
    b, m = kept.labels.shape
    groups = count_groups(cfg.dn_number, m, cfg.dn_query_limit)
    labels = kept.labels[:, None].expand(b, 2 * groups, m)
    boxes = kept.boxes[:, None].expand(b, 2 * groups, m, 4)
    labels = _noise_labels(labels, num_classes, cfg.dn_label_noise_ratio, generator)
    boxes = _noise_boxes(boxes, cfg.dn_box_noise_scale, generator)
    filled = kept.valid[:, None, :, None]
    return Denoising(
        content=(label_embed(labels) * filled).flatten(1, 2),
        boxes=(inverse_sigmoid(boxes) * filled).flatten(1, 2),
        groups=groups,
        targets=kept,
    )


def allow_attention(groups: int, denoising: int, matching: int, device: torch.device) -> Sight:
    """Return who may look at whom among ``denoising`` + ``matching`` queries.

    Matching queries see each other only; a denoising query sees its own group and the matching
    queries.
    """
    group = torch.arange(denoising + matching, device=device) // (denoising // groups)
    group = group.clamp(max=groups)  # matching queries form the last group
    allowed = group[:, None] == group[None]
    return Sight(allowed | ((group < groups)[:, None] & (group == groups)[None]), rows=denoising)


def _limit(
    padded: PaddedTargets, targets: Targets, limit: int | None, generator: torch.Generator | None
) -> PaddedTargets:
    """Keep limit // 2 boxes of every row: consecutive ones from a random start, wrapping."""
    b, m = padded.labels.shape
    if limit is None or 2 * m <= limit:
        return padded
    keep = max(limit // 2, 1)
    device = padded.labels.device
    counts = padded.valid.sum(1, keepdim=True)
    starts = (torch.rand((b, 1), generator=generator, device=device) * counts).long()
    slots = torch.arange(keep, device=device)[None]
    index = torch.where(counts > keep, (starts + slots) % counts.clamp(min=1), slots)
    return PaddedTargets(
        labels=padded.labels.gather(1, index),
        boxes=padded.boxes.gather(1, index[..., None].expand(-1, -1, 4)),
        valid=padded.valid.gather(1, index),
    )


def _noise_labels(
    labels: Tensor, num_classes: int, ratio: float, generator: torch.Generator | None
) -> Tensor:
    """Replace half of ``ratio`` of the labels by any class (the drawn one may be the same)."""
    if ratio <= 0:
        return labels
    device = labels.device
    chosen = torch.rand(labels.shape, generator=generator, device=device) < ratio * 0.5
    others = torch.randint(num_classes, labels.shape, generator=generator, device=device)
    return torch.where(chosen, others, labels)


def _noise_boxes(boxes: Tensor, scale: float, generator: torch.Generator | None) -> Tensor:
    """Move the corners of boxes float[b, 2 * g, m, 4] by parts of half the box's size.

    Even rows move by less than ``scale`` halves, odd rows by one to two times as much.
    """
    if scale <= 0:
        return boxes
    device = boxes.device
    part = torch.rand(boxes.shape, generator=generator, device=device)
    part = part + (torch.arange(boxes.shape[1], device=device) % 2)[:, None, None]
    sign = torch.randint(2, boxes.shape, generator=generator, device=device) * 2 - 1
    half = boxes[..., 2:].repeat(1, 1, 1, 2) / 2
    return xyxy_to_cxcywh((cxcywh_to_xyxy(boxes) + part * sign * half * scale).clamp(0, 1))
