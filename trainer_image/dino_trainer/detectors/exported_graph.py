"""What exported graphs have in common, whatever runs them: from bytes in, to detections out.

Shapes: b batch, h x w the one size that the graph takes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dino_trainer.data.loader import Batch, normalise
from dino_trainer.errors import invalid_spec
from dino_trainer.model import Detections, postprocess
from dino_trainer.model.dino import Outputs, Predictions
from dino_trainer.model_files.graph_metadata import Variant
from dino_trainer.model_files.info import ModelInfo


def inputs_of(batch: Batch, info: ModelInfo, variant: Variant) -> Tensor:
    """What the graph is given [b, 3, h, w]: uint8 end to end, else normalised float32.

    Raises:
        TrainerError: InvalidSpec for images of another size, or with padding.
    """
    _check_size(batch, info)
    if variant == "end_to_end":
        return batch.images
    config = info.spec.dataset.augmentation
    return normalise(batch.images, None, config.input_mean, config.input_std)


def detections_of(
    outputs: Mapping[str, Tensor], info: ModelInfo, variant: Variant, sizes: Tensor
) -> list[Detections]:
    """Detections from the graph's outputs by name; ``sizes`` int64[b, 2] as of a `Detector`."""
    if variant == "end_to_end":
        return _selected(outputs, info, sizes)
    layers = Predictions(outputs["pred_logits"][None], outputs["pred_boxes"][None])
    return postprocess(Outputs(layers, None, None), sizes, info.num_select)


def _selected(outputs: Mapping[str, Tensor], info: ModelInfo, sizes: Tensor) -> list[Detections]:
    """What the graph selected, its boxes in pixels of the original images."""
    assert info.input_size is not None
    height, width = info.input_size
    boxes = outputs["boxes"].float()
    own = torch.tensor([width, height, width, height], device=boxes.device)
    scale = sizes.to(boxes.device)[:, [1, 0, 1, 0]] / own  # [b, 4]
    parts = (outputs["scores"].float(), outputs["labels"].long(), boxes * scale[:, None])
    return [Detections(*image) for image in zip(*parts, strict=True)]


def _check_size(batch: Batch, info: ModelInfo) -> None:
    size = (batch.images.shape[2], batch.images.shape[3])
    if size == info.input_size and batch.sizes is None:
        return
    assert info.input_size is not None
    height, width = info.input_size
    padded = " with padding" if batch.sizes is not None else ""
    raise invalid_spec(
        f"{info.file.uri} takes images of {width}x{height} pixels, and these are of "
        f"{size[1]}x{size[0]}{padded}.",
        "Leave input_width and input_height out.",
    )
