"""One training step of ours: what ``dino_trainer.train.loop`` does for a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dino_trainer.model import Criterion, ModelConfig, Targets, build_dino
from tests.bench.train_step_batch import CLASSES, Size, make_batch, padded
from tests.model.small import published

LEARNING_RATE, BACKBONE_RATE, WEIGHT_DECAY, CLIP = 1e-4, 1e-5, 1e-4, 0.1


class OurStep:
    """Our model, loss and optimiser over one batch."""

    def __init__(self, queries: int = 900, cfg: ModelConfig | None = None) -> None:
        """cfg: another detector than the published one with that many queries."""
        cfg = cfg or published(num_queries=queries)
        torch.manual_seed(0)
        self.model = build_dino(cfg, CLASSES).train()
        self.criterion = Criterion(cfg)
        named = [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]
        self.trainable = [p for _, p in named]
        groups = [
            {"params": [p for n, p in named if n.startswith("backbone.") == backbone], "lr": lr}
            for backbone, lr in ((False, LEARNING_RATE), (True, BACKBONE_RATE))
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY, fused=True)

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
        """Make the batch that the following steps train on."""
        images, targets = make_batch(size)
        self.pixels, self.mask = padded(images, size)
        self.targets = Targets.collate(targets)

    def forward(self, bf16: bool = False) -> Tensor:
        """Return the loss of the prepared batch."""
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            outputs = self.model(self.pixels, self.mask, self.targets)
        return self.criterion(outputs, self.targets).total

    def run(self, bf16: bool = False) -> None:
        """One optimiser step."""
        total = self.forward(bf16)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.trainable, CLIP)
        self.optimizer.step()
        torch.stack((total.detach(), norm)).tolist()
