"""Assigns true boxes to predictions: one optimal pairing per set of predictions and image.

Shapes: g sets (decoder layers and proposals), b batch, q queries, m boxes of the fullest image,
c classes.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from dino_trainer.model.boxes import cxcywh_to_xyxy, generalized_iou
from dino_trainer.targets import PaddedTargets, Targets, from_host

# Stands for a cost that is not a number. The assignment then means nothing, but the loss is not
# a number either, and that is what the training loop reports.
NOT_A_NUMBER_COST = 1e6


@torch.no_grad()
def match(
    logits: Tensor,
    boxes: Tensor,
    targets: Targets,
    costs: tuple[float, float, float],
    alpha: float,
) -> Tensor:
    """Pair every true box with one prediction of its image, at the lowest total cost.

    Args:
        logits: float[g, b, q, c].
        boxes: float[g, b, q, 4], cxcywh in 0..1.
        targets: true boxes of the batch.
        costs: weights of the class, the L1 distance and the generalised IoU.
        alpha: the focal loss's weight of the positive side.

    Returns:
        int64[g, b, m], the query of each target of ``targets.padded``; q where there is no
        target or, if an image has more boxes than queries, where none was left.

    All costs reach the host in one copy: the only moment when a training step waits.
    """
    cost = pairing_cost(logits, boxes, targets.padded, costs, alpha).cpu().numpy()
    cost = np.nan_to_num(cost, nan=NOT_A_NUMBER_COST)
    g, b, q, m = cost.shape
    queries = np.full((g, b, m), q, dtype=np.int64)
    for image, count in enumerate(targets.counts):
        for layer in range(g):
            rows, columns = linear_sum_assignment(cost[layer, image, :, :count])
            queries[layer, image, columns] = rows
    return from_host(queries, logits.device)


def pairing_cost(
    logits: Tensor,
    boxes: Tensor,
    targets: PaddedTargets,
    costs: tuple[float, float, float],
    alpha: float,
) -> Tensor:
    """Return float32[g, b, q, m], the cost of pairing each query with each target.

    Class costs are computed for the targets' classes alone, not for all c.
    """
    m = targets.labels.shape[1]
    labels = targets.labels[None, :, None].expand(*logits.shape[:3], m)
    x = logits.float().gather(-1, labels)  # [g, b, q, m]
    p = x.sigmoid()
    # As published, with the probability instead of the logit and gamma = 2.
    positive = alpha * (1 - p) ** 2 * -(p + 1e-8).log()
    negative = (1 - alpha) * p**2 * -(1 - p + 1e-8).log()
    predicted, true = boxes.float()[:, :, :, None], targets.boxes[None, :, None]
    distance = (predicted - true).abs().sum(-1)
    giou = generalized_iou(cxcywh_to_xyxy(predicted), cxcywh_to_xyxy(true))
    of_class, of_distance, of_giou = costs
    return of_distance * distance + of_class * (positive - negative) - of_giou * giou
