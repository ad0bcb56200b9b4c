"""Backbones: torchvision's ResNets and timm's networks, convolutional, hierarchical or plain ViT.

Shapes: b batch, C2..C5 the feature maps of strides 4, 8, 16, 32 with c_i channels.

BatchNorm is frozen everywhere: detectors train with few images per device, and batch statistics
of so few are noise. LayerNorm has no such statistics and trains.
"""

from __future__ import annotations

import difflib
from functools import lru_cache
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from dino_trainer.model.backbone_names import RESNETS, TAO, TIMM, TimmBackbone, recipe_of
from dino_trainer.model.config import DetectorConfig
from dino_trainer.model.layers import faster_convolutions
from dino_trainer.model.pyramid import VIT_PATCH, FeaturePyramid, LevelNorms, VitBody
from dino_trainer.model.windows import GcVitBody, SwinBody

STRIDES = (4, 8, 16, 32)  # of C2..C5
# Convolutions of torchvision's ResNets, each with the BatchNorm that follows it.
_NORMED = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"), ("0", "1"))


class FrozenBatchNorm2d(torchvision.ops.FrozenBatchNorm2d):  # type: ignore[misc]  # has no types
    """BatchNorm that uses, and keeps, the statistics it was loaded with; all four are buffers.

    ``after`` is what timm's layers do behind the norm, such as an activation.
    """

    def __init__(self, channels: int, eps: float = 1e-5, after: nn.Module | None = None) -> None:
        super().__init__(channels, eps)
        self.after = after or nn.Identity()

    @property
    def statistics(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mean, variance, weight and bias, float[c] each."""
        return self.running_mean, self.running_var, self.weight, self.bias

    def forward(self, x: Tensor) -> Tensor:
        """Return float[b, c, h, w]. One operation; torchvision's own takes eleven."""
        if x.requires_grad:
            return self.after(_Scaled.apply(x, *self.statistics, self.eps))
        return self.after(F.batch_norm(x, *self.statistics, training=False, eps=self.eps))


class _Scaled(torch.autograd.Function):
    """BatchNorm by given statistics. torch's own keeps its input for gradients of weight and bias,
    a third of what a ResNet keeps; these two never train, and that of the input needs none of it.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(mean, var, weight)
        ctx.eps = eps
        return F.batch_norm(x, mean, var, weight, bias, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        mean, var, weight = ctx.saved_tensors
        # In the place of the input stands what has its shape: it is not read for this gradient.
        to_input, _, _ = torch.ops.aten.native_batch_norm_backward(
            grad, grad, weight, mean, var, None, None, False, ctx.eps, [True, False, False]
        )
        return to_input, None, None, None, None, None


class Backbone(nn.Module):
    """A network that returns some of C2..C5; ``channels`` are those of the returned maps.

    ``body`` is what pretrained weights are for. ``neck`` (or None) is new in every detector: it
    trains at the full rate, and also where the body is frozen.
    """

    def __init__(
        self,
        body: nn.Module,
        channels: tuple[int, ...],
        neck: FeaturePyramid | LevelNorms | None = None,
    ) -> None:
        super().__init__()
        self.body = body
        self.neck = neck
        self.channels = channels if neck is None else neck.channels

    def forward(self, images: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        """Return the maps float[b, c_i, h_i, w_i], finest first, of images [b, 3, h, w].

        ``mask`` bool[b, h, w] is True on padding. Only plain ViTs read it: in the other networks
        a pixel sees no further than its surroundings.
        """
        # Maps take their memory layout from the images; this one is a tenth faster on CPUs. Weights
        # stay as they are, so that checkpoints do.
        x = images.contiguous(memory_format=torch.channels_last)
        maps = self.body(x, mask) if isinstance(self.body, VitBody) else self.body(x)
        return maps if self.neck is None else self.neck(maps, (x.shape[2], x.shape[3]))

    def fold_batch_norms(self) -> None:
        """Make each BatchNorm part of the convolution before it: a pass less over each map.

        For detection alone: the weights are no longer a checkpoint's, and outputs differ by
        rounding. Networks other than torchvision's ResNets stay as they are.
        """
        if isinstance(self.body, ResNetBody):
            self.body.fold_batch_norms()

    def distances(self) -> dict[str, int]:
        """Of a plain ViT, parameter name -> layers between it and the output. Else empty.

        The learning rate of a layer is the full one times ``layer_decay_rate`` to this power.
        """
        if not isinstance(self.body, VitBody):
            return {}
        return {f"body.{name}": distance for name, distance in self.body.distances().items()}


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

    @torch.no_grad()
    def fold_batch_norms(self) -> None:
        """See `Backbone`."""
        for module in self.modules():
            for conv_name, norm_name in _NORMED:
                conv, norm = getattr(module, conv_name, None), getattr(module, norm_name, None)
                if isinstance(conv, nn.Conv2d) and isinstance(norm, FrozenBatchNorm2d):
                    mean, var, scale, shift = norm.statistics
                    conv.weight, conv.bias = fuse_conv_bn_weights(
                        conv.weight, conv.bias, mean, var, norm.eps, scale, shift
                    )
                    setattr(module, norm_name, norm.after)


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
    return [*RESNETS, *TAO, *(TIMM + name for name in _timm_names())]


def check_backbone(name: str) -> None:
    """Accept a backbone's name, or say what is wrong with it.

    Raises:
        ValueError: if the name is unknown (with the nearest names), or if the network has no
            feature maps of strides 4, 8, 16, 32.
    """
    if name in RESNETS or name in TAO:
        return
    if name.removeprefix(TIMM) not in _timm_names() or not name.startswith(TIMM):
        known = list_backbones()
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        near = near or difflib.get_close_matches(TIMM + name, known, n=3)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise ValueError(
            f"model.backbone is {name!r}, which does not exist.{hint} "
            f"Use one of {', '.join((*RESNETS, *TAO))}, or timm/<name> for a network of timm."
        )
    if _family(name) not in _BUILDERS:
        _timm_stages(name)


def build_backbone(cfg: DetectorConfig) -> Backbone:
    """Build ``cfg.backbone`` with random weights, returning the stages ``cfg.stages``.

    Raises:
        ValueError: see ``check_backbone``; or if a stage is asked for that does not exist.
    """
    check_backbone(cfg.backbone)
    if cfg.backbone in RESNETS:
        backbone = _build_resnet(cfg)
    elif cfg.dilation:
        raise ValueError(f"model.dilation is for ResNets; {cfg.backbone} has no such switch.")
    else:
        build = _BUILDERS.get(_family(cfg.backbone), _build_features)
        backbone = build(recipe_of(cfg.backbone), cfg.stages)
        _freeze_batch_norm(backbone.body)
    if not cfg.train_backbone:
        backbone.body.requires_grad_(False)
    return backbone


def _build_resnet(cfg: DetectorConfig) -> Backbone:
    net = torchvision.models.get_model(
        cfg.backbone.replace("_", ""),
        weights=None,
        norm_layer=FrozenBatchNorm2d,
        **({"replace_stride_with_dilation": [False, False, True]} if cfg.dilation else {}),
    )
    widths = (64, 128, 256, 512)
    expansion = 4 if cfg.backbone in RESNETS[2:] else 1
    body = ResNetBody(net, cfg.stages)
    faster_convolutions(body)
    for name, parameter in body.named_parameters():
        if name.startswith(("conv1.", "layer1.")):  # as published: edges need no fine-tuning
            parameter.requires_grad_(False)
    return Backbone(body, tuple(widths[stage] * expansion for stage in cfg.stages))


def _build_features(recipe: TimmBackbone, stages: tuple[int, ...]) -> Backbone:
    """Any network that timm can take feature maps of."""
    indices = tuple(_timm_stages(recipe.timm)[stage] for stage in stages)
    net: Any = timm.create_model(
        recipe.timm, pretrained=False, features_only=True, out_indices=indices, **recipe.options
    )
    return Backbone(TimmBody(net), tuple(net.feature_info.channels()))


def _build_swin(recipe: TimmBackbone, stages: tuple[int, ...]) -> Backbone:
    net: Any = timm.create_model(
        recipe.timm, pretrained=False, strict_img_size=False, **recipe.options
    )
    channels = tuple(net.feature_info[stage]["num_chs"] for stage in stages)
    return Backbone(SwinBody(net, stages), channels, LevelNorms(channels))


def _build_gc_vit(recipe: TimmBackbone, stages: tuple[int, ...]) -> Backbone:
    net: Any = timm.create_model(recipe.timm, pretrained=False, **recipe.options)
    channels = tuple(net.feature_info[stage]["num_chs"] for stage in stages)
    return Backbone(GcVitBody(net, stages), channels, LevelNorms(channels))


def _build_vit(recipe: TimmBackbone, stages: tuple[int, ...]) -> Backbone:
    with torch.device("meta"):
        pretrained: Any = timm.create_model(recipe.timm, pretrained=False)
    net: Any = timm.create_model(
        recipe.timm,
        pretrained=False,
        num_classes=0,
        global_pool="",
        patch_size=VIT_PATCH,
        img_size=tuple(VIT_PATCH * cells for cells in pretrained.patch_embed.grid_size),
        dynamic_img_size=True,
        dynamic_img_pad=True,
        **recipe.options,
    )
    return Backbone(VitBody(net), (), FeaturePyramid(net.embed_dim, stages))


# By timm's modules: networks that need more than timm's own extraction of feature maps.
_BUILDERS = {
    "swin_transformer": _build_swin,
    "gcvit": _build_gc_vit,
    "vision_transformer": _build_vit,
}


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


def _family(name: str) -> str:
    """The module of timm that builds it, of those with a builder here; else empty."""
    network = recipe_of(name).timm
    return next((m for m in _BUILDERS if timm.models.is_model_in_modules(network, [m])), "")


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
