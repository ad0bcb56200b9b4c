"""Backbones: torchvision's ResNets, and timm's convolutional and hierarchical networks.

Shapes: b batch, C2..C5 the feature maps of strides 4, 8, 16, 32 with c_i channels.

BatchNorm is frozen everywhere: detectors train with few images per device, and batch statistics
of so few are noise.
"""

from __future__ import annotations

import difflib
from functools import lru_cache
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from dino_trainer.model.config import ModelConfig

RESNETS = ("resnet_18", "resnet_34", "resnet_50", "resnet_101", "resnet_152")
TIMM = "timm/"
STRIDES = (4, 8, 16, 32)  # of C2..C5


class FrozenBatchNorm2d(torchvision.ops.FrozenBatchNorm2d):
    """BatchNorm that uses, and keeps, the statistics it was loaded with; all four are buffers.

    ``after`` is what timm's layers do behind the norm, such as an activation.
    """

    def __init__(self, channels: int, eps: float = 1e-5, after: nn.Module | None = None) -> None:
        super().__init__(channels, eps)
        self.after = after or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return float[b, c, h, w]. One operation; torchvision's own takes eleven."""
        statistics = (self.running_mean, self.running_var, self.weight, self.bias)
        return self.after(F.batch_norm(x, *statistics, training=False, eps=self.eps))


class Backbone(nn.Module):
    """A network that returns some of C2..C5; ``channels`` are those of the returned maps."""

    def __init__(self, body: nn.Module, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.body = body
        self.channels = channels

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps float[b, c_i, h_i, w_i], finest first, of images [b, 3, h, w]."""
        # Maps take their memory layout from the images; this one is a tenth faster on CPUs. Weights
        # stay as they are, so that checkpoints do.
        return self.body(images.contiguous(memory_format=torch.channels_last))


class ResNetBody(nn.Module):
    """A torchvision ResNet without its classifier, under torchvision's own names."""

    def __init__(self, net: torchvision.models.ResNet, stages: tuple[int, ...]) -> None:
        super().__init__()
        self.stages = stages
        self.conv1, self.bn1 = net.conv1, net.bn1
        self.relu, self.maxpool = net.relu, net.maxpool
        for index in range(max(stages) + 1):  # what lies behind the last stage is not needed
            name = f"layer{index + 1}"
            self.add_module(name, getattr(net, name))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the chosen stages' maps, finest first."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps = []
        for index in range(max(self.stages) + 1):
            x = self.get_submodule(f"layer{index + 1}")(x)
            if index in self.stages:
                maps.append(x)
        return maps


class TimmBody(nn.Module):
    """A timm feature extractor, with channels first."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.channels_last = str(getattr(net, "output_fmt", "NCHW")).endswith("NHWC")

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the chosen stages' maps, finest first."""
        maps = self.net(images)
        return [x.permute(0, 3, 1, 2) for x in maps] if self.channels_last else list(maps)


def list_backbones() -> list[str]:
    """Return every name that ``check_backbone`` may accept."""
    return [*RESNETS, *(TIMM + name for name in _timm_names())]


def check_backbone(name: str) -> None:
    """Accept a backbone's name, or say what is wrong with it.

    Raises:
        ValueError: if the name is unknown (with the nearest names), or if the network has no
            feature maps of strides 4, 8, 16, 32 (plain vision transformers have not).
    """
    if name in RESNETS:
        return
    if name.removeprefix(TIMM) not in _timm_names() or not name.startswith(TIMM):
        known = list_backbones()
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        near = near or difflib.get_close_matches(TIMM + name, known, n=3)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise ValueError(
            f"model.backbone is {name!r}, which does not exist.{hint} "
            f"Use one of {', '.join(RESNETS)}, or timm/<name> for a network of timm."
        )
    _timm_stages(name)


def build_backbone(cfg: ModelConfig) -> Backbone:
    """Build ``cfg.backbone`` with random weights, returning the stages ``cfg.stages``.

    Raises:
        ValueError: see ``check_backbone``; or if a stage is asked for that does not exist.
    """
    check_backbone(cfg.backbone)
    build = _build_resnet if cfg.backbone in RESNETS else _build_timm
    backbone = build(cfg)
    if not cfg.train_backbone:
        backbone.requires_grad_(False)
    return backbone


def _build_resnet(cfg: ModelConfig) -> Backbone:
    net = torchvision.models.get_model(
        cfg.backbone.replace("_", ""),
        weights=None,
        norm_layer=FrozenBatchNorm2d,
        **({"replace_stride_with_dilation": [False, False, True]} if cfg.dilation else {}),
    )
    widths = (64, 128, 256, 512)
    expansion = 4 if cfg.backbone in RESNETS[2:] else 1
    body = ResNetBody(net, cfg.stages)
    for name, parameter in body.named_parameters():
        if name.startswith(("conv1.", "layer1.")):  # as published: edges need no fine-tuning
            parameter.requires_grad_(False)
    return Backbone(body, tuple(widths[stage] * expansion for stage in cfg.stages))


def _build_timm(cfg: ModelConfig) -> Backbone:
    if cfg.dilation:
        raise ValueError(f"model.dilation is for ResNets; {cfg.backbone} has no such switch.")
    indices = tuple(_timm_stages(cfg.backbone)[stage] for stage in cfg.stages)
    net = timm.create_model(
        cfg.backbone.removeprefix(TIMM), pretrained=False, features_only=True, out_indices=indices
    )
    _freeze_batch_norm(net)
    return Backbone(TimmBody(net), tuple(net.feature_info.channels()))


def _freeze_batch_norm(module: nn.Module) -> None:
    """Replace every BatchNorm inside ``module``, keeping what timm's own do behind it."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            after = [getattr(child, part) for part in ("drop", "act") if hasattr(child, part)]
            setattr(
                module,
                name,
                FrozenBatchNorm2d(child.num_features, child.eps, nn.Sequential(*after)),
            )
        else:
            _freeze_batch_norm(child)


@lru_cache(maxsize=1)
def _timm_names() -> frozenset[str]:
    return frozenset(timm.list_models())


@lru_cache(maxsize=32)
def _timm_stages(name: str) -> tuple[int, ...]:
    """Return timm's feature indices of C2..C5: the last map of each stride."""
    remedy = "Choose a convolutional or hierarchical network, such as resnet_50."
    try:
        with torch.device("meta"):
            net: Any = timm.create_model(
                name.removeprefix(TIMM), pretrained=False, features_only=True
            )
    except (RuntimeError, AssertionError, AttributeError, NotImplementedError) as error:
        raise ValueError(
            f"model.backbone {name!r} cannot be used for detection: timm offers no feature maps "
            f"of it ({error}). {remedy}"
        ) from error
    strides = list(net.feature_info.reduction())
    if not set(STRIDES) <= set(strides):
        raise ValueError(
            f"model.backbone {name!r} has feature maps of strides {strides}, but 4, 8, 16 and 32 "
            f"are needed. {remedy}"
        )
    last = {stride: index for index, stride in enumerate(strides)}
    indices = net.feature_info.out_indices
    return tuple(indices[last[stride]] for stride in STRIDES)
