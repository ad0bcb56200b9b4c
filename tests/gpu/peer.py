"""transformers' Deformable DETR of like size beside our step, in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from dino_trainer.model.precision import autocast, grad_scaler
from tests.bench.train_step_batch import CLASSES, Size, make_batch, padded
from tests.bench.train_step_ours import CLIP, OPTIM
from tests.gpu.machine import Machine
from tests.gpu.rows import Row, seen, skipped, wanted
from tests.gpu.step import SIZES, precisions, step_on
from tests.gpu.step import SMALL as SMALL_SIZES
from tests.model.small import published, small

NAME = "peer"
LEAST = 1.5
SMALL = {
    "d_model": 64,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "num_queries": 20,
    "two_stage_num_proposals": 20,
}


class PeerStep:
    """Its model and loss with our optimiser; ResNet-50, two stages, boxes refined by layer."""

    def __init__(self, machine: Machine, precision: str) -> None:
        from transformers import (
            DeformableDetrConfig,
            DeformableDetrForObjectDetection,
            ResNetConfig,
        )

        torch.manual_seed(0)
        backbone = ResNetConfig(out_features=["stage2", "stage3", "stage4"])
        sizes: dict[str, Any] = (
            SMALL if machine.rehearsal else {"num_queries": 900, "two_stage_num_proposals": 900}
        )
        config = DeformableDetrConfig(
            use_timm_backbone=False,
            use_pretrained_backbone=False,
            backbone=None,
            backbone_config=backbone,
            num_labels=CLASSES,
            two_stage=True,
            with_box_refine=True,
            auxiliary_loss=True,
            encoder_ffn_dim=64 if machine.rehearsal else 2048,
            decoder_ffn_dim=64 if machine.rehearsal else 2048,
            **sizes,
        )
        self.machine, self.precision = machine, precision
        self.model = DeformableDetrForObjectDetection(config).to(machine.device).train()
        self.trainable = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.trainable, lr=OPTIM.lr, weight_decay=OPTIM.weight_decay, fused=True
        )
        self.scaler = grad_scaler(precision, machine.device)

    def prepare(self, size: Size) -> None:
        """Put the batch on the device."""
        device = self.machine.device
        images, targets = make_batch(size)
        pixels, padding = padded(images, size)
        # Its mask is 1 where there is an image.
        self.pixels, self.mask = pixels.to(device), (~padding).long().to(device)
        self.labels = [
            {"class_labels": labels.to(device) % CLASSES, "boxes": boxes.to(device)}
            for labels, boxes in targets
        ]

    def run(self) -> None:
        """One optimiser step."""
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.precision, self.machine.device):
            loss = self.model(self.pixels, self.mask, labels=self.labels).loss
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.trainable, CLIP)
        self.scaler.step(self.optimizer)
        self.scaler.update()


def beside(machine: Machine) -> Iterator[Row]:
    """Steps of both in turns, by size and precision."""
    try:
        import transformers
    except ImportError:
        yield skipped(NAME, "Deformable DETR", "transformers is not installed")
        return
    yield Row(NAME, "Deformable DETR", "seen", note=f"transformers {transformers.__version__}")
    for size in SMALL_SIZES if machine.rehearsal else SIZES[1:]:
        for precision in precisions(machine):
            if precision != "tf32":
                yield from _beside(machine, size, precision)


def _beside(machine: Machine, size: Size, precision: str) -> Iterator[Row]:
    what = f"{precision} {size}"
    ours = step_on(machine, small() if machine.rehearsal else published(), precision)
    theirs = PeerStep(machine, precision)
    times = []
    for step in (ours, theirs):
        step.prepare(size)
        try:
            times.append(machine.milliseconds(step.run, rounds=8))
        except torch.OutOfMemoryError:
            yield skipped(NAME, what, f"the device's memory does not suffice for {step}")
            return
    yield seen(NAME, f"{what}: transformers", times[1], "ms")
    ratio = times[1] / times[0]
    if machine.rehearsal:
        yield seen(NAME, f"{what}: ours is faster by", ratio, "x")
    else:
        yield wanted(NAME, f"{what}: ours is faster by", ratio, LEAST, "x")


CHECKS: tuple[Callable[[Machine], Iterator[Row]], ...] = (beside,)
