"""A model and its criterion as one module: what a training step differentiates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dino_api.experiment import ExperimentSpec
from dino_trainer.data.loader import Batch, normalise
from dino_trainer.model import Criterion, Dino, Losses, Outputs
from dino_trainer.model.precision import autocast


@dataclass(frozen=True)
class Parts:
    """What the loss of one micro-batch is made of. values: float32[names], on the device."""

    names: tuple[str, ...]
    values: Tensor


class LossOf(nn.Module):
    """A model and its criterion as one module: what a step differentiates.

    Distributed training wraps it whole, since it then sees one tensor come out.

    parts: of the last forward pass; beside its result, which is the one tensor to differentiate.
    terms, shares: those worth telling, see `LossParts`.
    extra: what is trained beside the model and is no part of it: kept in the checkpoint to resume
    from, and nowhere else. Empty in a plain training.
    """

    terms: tuple[str, ...] = ("loss_ce", "loss_bbox", "loss_giou")
    shares: tuple[str, ...] = ()
    parts: Parts

    def __init__(self, model: Dino, criterion: Criterion, spec: ExperimentSpec) -> None:
        super().__init__()
        self.model, self.criterion, self.extra = model, criterion, nn.ModuleDict()
        self.precision = spec.train.precision
        self.augmentation = spec.dataset.augmentation

    def forward(self, batch: Batch, noise: torch.Generator, num_boxes: float) -> Tensor:
        """The loss float32[] of one micro-batch, summed over its boxes, divided by `num_boxes`."""
        outputs = self.predict(batch, noise)
        losses: Losses = self.criterion(outputs, batch.targets, num_boxes)
        self.parts = Parts(losses.names, losses.values)
        return losses.total

    def predict(self, batch: Batch, noise: torch.Generator) -> Outputs:
        """What the model makes of one micro-batch."""
        mean, std = self.augmentation.input_mean, self.augmentation.input_std
        pixels = normalise(batch.images, batch.mask, mean, std)
        with autocast(self.precision, pixels.device):
            outputs: Outputs = self.model(pixels, batch.mask, batch.targets, noise)
            return outputs
