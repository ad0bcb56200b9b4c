"""From logits and boxes to detections in pixels.

Shapes: b batch, q queries, c classes, n detections per image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dino_trainer.model.boxes import cxcywh_to_xyxy
from dino_trainer.model.dino import Outputs


@dataclass(frozen=True)
class Detections:
    """Detections of one image, best first."""

    scores: Tensor  # float32[n], 0..1
    labels: Tensor  # int64[n], class ids
    boxes: Tensor  # float32[n, 4], xyxy in pixels of the original image


@torch.no_grad()
def postprocess(outputs: Outputs, sizes: Tensor, num_select: int) -> list[Detections]:
    """Return the ``num_select`` best (query, class) pairs of every image.

    Args:
        outputs: of a forward pass in evaluation mode.
        sizes: int64[b, 2], (height, width) of the original images.
        num_select: detections per image (n), at most q * c. A query may appear with several
            classes; there is no suppression of overlapping boxes.
    """
    logits = outputs.logits.float()
    classes = logits.shape[-1]
    scores, index = logits.sigmoid().flatten(1).topk(num_select, dim=1)  # [b, n]
    query = (index // classes)[..., None].expand(-1, -1, 4)
    height, width = sizes.to(logits.device, non_blocking=True).unbind(1)
    scale = torch.stack((width, height, width, height), dim=1)[:, None]  # [b, 1, 4]
    boxes = cxcywh_to_xyxy(outputs.boxes.float()).gather(1, query) * scale
    return [Detections(*image) for image in zip(scores, index % classes, boxes, strict=True)]
