"""What an exported model computes.

Shapes: b batch, h x w the input, q queries, c classes, n detections an image.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dino_trainer.data.loader import normalise
from dino_trainer.model import Dino, Outputs
from dino_trainer.model.boxes import cxcywh_to_xyxy


class OfOneSize(nn.Module):
    """A detector for inputs of one size.

    The geometry of the tokens depends on the size alone and becomes constants.
    """

    def __init__(self, model: Dino, size: tuple[int, int]) -> None:
        super().__init__()
        self.model = model
        self.tokens = model.locate(*size)

    def predict(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return float32[b, q, c] and float32[b, q, 4] (cxcywh, 0..1) for float32[b, 3, h, w]."""
        outputs: Outputs = self.model(inputs, tokens=self.tokens)
        return outputs.logits, outputs.boxes


class Raw(OfOneSize):
    """Normalised pixels to the last layer's logits and boxes: TAO's graph, input and outputs."""

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `predict` does."""
        return self.predict(inputs)


class EndToEnd(OfOneSize):
    """Bytes of images to detections: preprocessing and the choice of the best are inside."""

    pixels: Tensor

    def __init__(
        self,
        model: Dino,
        size: tuple[int, int],
        mean: Sequence[float],
        std: Sequence[float],
        num_select: int,
    ) -> None:
        super().__init__(model, size)
        self.mean, self.std, self.num_select = tuple(mean), tuple(std), num_select
        height, width = size
        sides = model.label_embed.weight.new_tensor([width, height, width, height])
        self.register_buffer("pixels", sides)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the best detections of uint8[b, 3, h, w] in RGB.

        Boxes float32[b, n, 4] (xyxy in pixels of the input), scores float32[b, n], highest first,
        and labels int64[b, n].
        """
        logits, boxes = self.predict(normalise(inputs, None, self.mean, self.std))
        classes = logits.shape[2]
        best, index = logits.flatten(1).topk(self.num_select, dim=1)  # sigmoid keeps the order
        query = (index // classes)[..., None].expand(-1, -1, 4)
        boxes = cxcywh_to_xyxy(boxes).gather(1, query) * self.pixels
        return boxes, best.sigmoid(), index % classes
