"""Which query of the student answers which detection of the teacher.

Queries of two detectors have no common order: the n-th query of one finds something else than the
n-th of the other, in every image anew. So they are paired as the training pairs queries with true
boxes (Carion et al. 2020, section 3.1; for distillation Chang et al. 2023, DETRDistill, section
3.2): at the lowest total cost in class and box.

Shapes: g sets of predictions (decoder layers and proposals), b batch, q queries of the student,
p of the teacher, k detections of the teacher, c classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from dino_trainer.model.matching import NOT_A_NUMBER_COST, pairing_cost
from dino_trainer.targets import PaddedTargets, from_host

# A query of the teacher whose best score is lower has found nothing: what it says of classes and
# box is the noise of a query without an object, and the annotations already teach background.
LEAST_SCORE = 0.1
# Far more than detections of one image that matter; bounds the cost of pairing.
MOST_TAUGHT = 100


@dataclass(frozen=True)
class TeacherDetections:
    """What the teacher has found in a batch, best first.

    weights: the best score of each detection, so that what the teacher is sure of counts more; 0
    in the places that an image with fewer detections leaves empty.
    """

    logits: Tensor  # float32[b, k, c]
    boxes: Tensor  # float32[b, k, 4], cxcywh, 0..1
    weights: Tensor  # float32[b, k]


def sure_detections(logits: Tensor, boxes: Tensor, most: int) -> TeacherDetections:
    """The queries of the teacher that count: those with a score of `LEAST_SCORE` or more.

    Args:
        logits, boxes: float[b, p, c] and float[b, p, 4] of its last decoder layer.
        most: queries of the student; where the teacher has found more, its best count.
    """
    logits, boxes = logits.float(), boxes.float()
    scores = logits.sigmoid().amax(-1)
    best = scores.topk(min(most, MOST_TAUGHT, scores.shape[1]), dim=1)
    rows = best.indices[..., None]
    return TeacherDetections(
        logits=logits.gather(1, rows.expand(-1, -1, logits.shape[-1])),
        boxes=boxes.gather(1, rows.expand(-1, -1, 4)),
        weights=best.values * (best.values >= LEAST_SCORE),
    )


@torch.no_grad()
def assign(
    logits: Tensor,
    boxes: Tensor,
    detections: TeacherDetections,
    costs: tuple[float, float, float],
    alpha: float,
) -> Tensor:
    """Pair every detection of the teacher with one query, at the lowest total cost.

    The cost is that of pairing with true boxes, with the teacher's best class as the true one: a
    detection that agrees with the annotations then goes to the query that learns them, too. It is
    weighted like the loss of the pair, so that a doubtful detection never takes a query away from a
    sure one.

    Args:
        logits, boxes: the student's, float[g, b, q, c] and float[g, b, q, 4].
        detections: of the teacher.
        costs, alpha: see `dino_trainer.model.matching.match`.

    Returns:
        int64[g, b, k], the query of each detection; 0 where there is no detection, whose weight
        is 0.
    """
    classes = PaddedTargets(detections.logits.argmax(-1), detections.boxes, detections.weights > 0)
    each = pairing_cost(logits, boxes, classes, costs, alpha) * detections.weights[None, :, None]
    cost = np.nan_to_num(each.cpu().numpy(), nan=NOT_A_NUMBER_COST)
    counts = (detections.weights > 0).sum(1).tolist()
    g, b, _, k = cost.shape
    queries = np.zeros((g, b, k), dtype=np.int64)
    for image, count in enumerate(counts):
        for layer in range(g):
            rows, columns = linear_sum_assignment(cost[layer, image, :, :count])
            queries[layer, image, columns] = rows
    return from_host(queries, logits.device)
