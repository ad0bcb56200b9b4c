"""One training step of ours: what ``dino_trainer.train.loop`` does for a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dino_api.experiment import OptimConfig
from dino_trainer.model import Criterion, DetectorConfig, Targets, build_dino
from dino_trainer.model.precision import autocast, grad_scaler
from dino_trainer.train.optim import build_optimizer
from tests.bench.train_step_batch import CLASSES, Size, make_batch, padded
from tests.model.small import published

OPTIM = OptimConfig(lr=1e-4, lr_backbone=1e-5, weight_decay=1e-4)
CLIP = 0.1
CPU = torch.device("cpu")


class OurStep:
    """Our model, loss and optimiser over one batch, on a device."""

    def __init__(
        self,
        cfg: DetectorConfig | None = None,
        precision: str = "fp32",
        device: torch.device = CPU,
    ) -> None:
        """cfg: another detector than the published one."""
        cfg = cfg or published()
        self.precision, self.device = precision, device
        torch.manual_seed(0)
        self.model = build_dino(cfg, CLASSES).to(device).train()
        self.criterion = Criterion(cfg)
        self.trainable = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = build_optimizer(self.model, OPTIM)
        self.scaler = grad_scaler(precision, device)

    def regions(self) -> list[tuple[Callable[..., Any], tuple[Any, ...]]]:
        """The parts that can be compiled, each with the arguments it gets in a step."""
        model = self.model
        maps = model._project(self.pixels, self.mask)
        tokens = model._locate(maps, self.mask)
        memory = model._encode(maps, tokens)
        noised = model._denoise(self.targets, None)
        return [
            (model._project, (self.pixels, self.mask)),
            (model._locate, (maps, self.mask)),
            (model._encode, (maps, tokens)),
            (model._decode, (memory, tokens, noised)),
        ]

    @property
    def modules(self) -> nn.Module:
        """What holds the parameters."""
        return self.model

    def prepare(self, size: Size) -> None:
        """Put the batch on the device that the following steps train on."""
        images, targets = make_batch(size)
        pixels, mask = padded(images, size)
        self.pixels, self.mask = pixels.to(self.device), mask.to(self.device)
        self.targets = Targets.collate(targets).to(self.device)

    def forward(self, bf16: bool = False) -> Tensor:
        """Return the loss of the prepared batch. bf16: in place of the step's own precision."""
        with autocast("bf16" if bf16 else self.precision, self.device):
            outputs = self.model(self.pixels, self.mask, self.targets)
        return self.criterion(outputs, self.targets).total

    def backward(self, bf16: bool = False) -> Tensor:
        """Return the loss; its gradients lie in the parameters."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.forward(bf16)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        return loss.detach()

    def run(self, bf16: bool = False) -> None:
        """One optimiser step, after which the host knows the loss and the gradients' norm."""
        loss = self.backward(bf16)
        norm = nn.utils.clip_grad_norm_(self.trainable, CLIP)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        torch.stack((loss, norm)).tolist()
