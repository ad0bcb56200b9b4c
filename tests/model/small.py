"""Small detectors and batches: a test names only what it is about."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dino_trainer.model import DetectorConfig, Dino, Targets, build_dino

# The published 4-scale configuration, in the experiment spec's words.
PUBLISHED: dict[str, Any] = {
    "backbone": "resnet_50",
    "return_interm_indices": (1, 2, 3, 4),
    "num_feature_levels": 4,
    "train_backbone": True,
    "hidden_dim": 256,
    "nheads": 8,
    "enc_layers": 6,
    "dec_layers": 6,
    "dim_feedforward": 2048,
    "dropout_ratio": 0.0,
    "enc_n_points": 4,
    "dec_n_points": 4,
    "num_queries": 900,
    "num_select": 300,
    "pe_temperatureH": 20,
    "pe_temperatureW": 20,
    "pre_norm": False,
    "two_stage_type": "standard",
    "embed_init_tgt": True,
    "decoder_sa_type": "sa",
    "use_dn": True,
    "dn_number": 100,
    "dn_box_noise_scale": 1.0,
    "dn_label_noise_ratio": 0.5,
    "aux_loss": True,
    "focal_alpha": 0.25,
    "cls_loss_coef": 1.0,
    "bbox_loss_coef": 5.0,
    "giou_loss_coef": 2.0,
    "interm_loss_coef": 1.0,
    "no_interm_box_loss": False,
    "loss_types": ("labels", "boxes"),
    "set_cost_class": 2.0,
}
SMALL: dict[str, Any] = {
    "backbone": "resnet_18",
    "hidden_dim": 64,
    "nheads": 4,
    "enc_layers": 1,
    "dec_layers": 2,
    "dim_feedforward": 64,
    "num_queries": 20,
    "num_select": 10,
    "dn_number": 8,
}


def published(**changes: Any) -> DetectorConfig:
    """The published R50 4-scale configuration."""
    return DetectorConfig(**(PUBLISHED | changes))


def small(**changes: Any) -> DetectorConfig:
    """A detector that runs in a moment."""
    return published(**(SMALL | changes))


def a_detector(seed: int = 0, classes: int = 5, **changes: Any) -> Dino:
    """A small detector with the same random weights for the same seed."""
    torch.manual_seed(seed)
    model = build_dino(small(**changes), classes)
    for parameter in model.parameters():  # nothing may hide behind a zero start
        if parameter.detach().abs().max() == 0:
            torch.nn.init.normal_(parameter.data, std=0.05)
    return model


def images(*sizes: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Random images of the given sizes as a padded batch [b, 3, h, w], and its mask [b, h, w]."""
    height, width = (max(side) for side in zip(*sizes, strict=True))
    batch = torch.zeros(len(sizes), 3, height, width)
    mask = torch.ones(len(sizes), height, width, dtype=torch.bool)
    for index, (h, w) in enumerate(sizes):
        batch[index, :, :h, :w] = torch.randn(3, h, w)
        mask[index, :h, :w] = False
    return batch, mask


def targets(*counts: int, classes: int = 5) -> Targets:
    """Random boxes inside the images, the given number for each image."""
    total = sum(counts)
    boxes = torch.cat((0.3 + 0.4 * torch.rand(total, 2), 0.1 + 0.3 * torch.rand(total, 2)), dim=1)
    return Targets(torch.randint(1, classes, (total,)), boxes, counts)
