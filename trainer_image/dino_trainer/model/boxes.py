"""Box geometry, element by element.

Shapes: every box tensor is [..., 4]; the leading dimensions broadcast.
Formats: cxcywh = centre x, centre y, width, height; xyxy = left, top, right, bottom.
"""

from __future__ import annotations

import torch
from torch import Tensor

# The published code bounds reference points to [0.001, 0.999] with this value. Other
# implementations use 1e-5 and then compute different boxes near the image's border.
LOGIT_EPS = 1e-3
# In both denominators of the generalised IoU, as published.
GIOU_EPS = 1e-6


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Convert [..., 4] centre boxes to corner boxes."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    half = 0.5 * size
    return torch.cat((centre - half, centre + half), dim=-1)


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Convert [..., 4] corner boxes to centre boxes."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat(((low + high) / 2, high - low), dim=-1)


def inverse_sigmoid(x: Tensor) -> Tensor:
    """Return the logit of ``x`` [...], with ``x`` and ``1 - x`` kept at least 1e-3."""
    x = x.clamp(min=0, max=1)
    return torch.log(x.clamp(min=LOGIT_EPS) / (1 - x).clamp(min=LOGIT_EPS))


def generalized_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the generalised IoU [...] of xyxy boxes ``a`` [..., 4] and ``b`` [..., 4].

    Boxes are compared pair by pair; ``a[:, None]`` against ``b[None]`` gives the full matrix.
    Rezatofighi et al. 2019, with the small constants of the published DINO code.
    """
    overlap = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(
        min=0
    )
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).clamp(
        min=0
    )
    intersection = overlap[..., 0] * overlap[..., 1]
    union = _area(a) + _area(b) - intersection
    enclosing = hull[..., 0] * hull[..., 1]
    return intersection / (union + GIOU_EPS) - (enclosing - union) / (enclosing + GIOU_EPS)


def _area(boxes: Tensor) -> Tensor:
    size = boxes[..., 2:] - boxes[..., :2]
    return size[..., 0] * size[..., 1]
