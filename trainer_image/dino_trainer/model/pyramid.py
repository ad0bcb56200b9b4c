"""Plain vision transformers as backbones, and the layers between a backbone and the detector.

A plain ViT has one map, of stride 16. The pyramid of Li et al. 2022 (Exploring Plain Vision
Transformer Backbones for Object Detection) makes strides 4, 8 and 32 of it.

Shapes: b batch, h x w the map of stride 16, d its channels, n = prefix tokens + h * w.
"""

from __future__ import annotations

import re
from typing import cast

import torch.nn.functional as F
from timm.layers import LayerNorm2d
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

VIT_PATCH = 16  # whatever the pretraining had; see pretrained.py for the weights
EMBEDDING = re.compile(r"(?:^|\.)net\.(?:\w+_embed|\w+_token|norm_pre)\b")
BLOCK = re.compile(r"(?:^|\.)net\.blocks\.(\d+)\.")


class VitBody(nn.Module):
    """A plain vision transformer on images of any size, with patches of 16 x 16 pixels.

    Its position embedding keeps the grid of the pretraining and is resampled to each batch's.
    """

    def __init__(self, net: VisionTransformer) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        """Return [float[b, d, h, w]], h and w rounded up.

        Attention spans the whole image, hence tokens that are nothing but padding (``mask``
        bool[b, height, width]) are hidden from all others.
        """
        seen = None if mask is None else self._seen(mask)
        maps = self.net.forward_intermediates(
            images, indices=1, norm=True, intermediates_only=True, attn_mask=seen
        )
        return cast("list[Tensor]", maps)  # so it is with intermediates_only

    def _seen(self, mask: Tensor) -> Tensor:
        """Return bool[b, 1, 1, n]."""
        # Padding lies right and below: a patch has a pixel of the image if its first is one.
        tokens = ~mask[:, ::VIT_PATCH, ::VIT_PATCH].flatten(1)
        return F.pad(tokens, (self.net.num_prefix_tokens, 0), value=True)[:, None, None]

    def distances(self) -> dict[str, int]:
        """The number of layers, by parameter's name, that lie between it and the output.

        0: the last norm, 1: the last block, …, depth + 1: the embeddings.
        """
        depth = len(self.net.blocks)
        return {name: _distance(name, depth) for name, _ in self.named_parameters()}


def _distance(name: str, depth: int) -> int:
    block = BLOCK.search(name)
    if block:
        return depth - int(block[1])
    return depth + 1 if EMBEDDING.search(name) else 0


class FeaturePyramid(nn.Module):
    """Maps of strides 4, 8, 16, 32 (stages 0..3) from the one of stride 16."""

    def __init__(self, d: int, stages: tuple[int, ...]) -> None:
        super().__init__()
        self.strides = tuple(VIT_PATCH // 4 * 2**stage for stage in stages)
        makers = (_four, _eight, _sixteen, _thirty_two)
        self.scales = nn.ModuleList(makers[stage](d) for stage in stages)
        self.channels = tuple((d // 4, d // 2, d, d)[stage] for stage in stages)

    def forward(self, maps: list[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """Return float[b, channels_i, height / stride, width / stride], rounded up.

        Args:
            maps: [float[b, d, h, w]].
            size: height and width of the images. What the last patches have beyond them is cut
                off the finer maps, so that a cell stands for the same pixels in every backbone.
        """
        scaled = [scale(maps[0]) for scale in self.scales]
        cells = [[-(-side // stride) for side in size] for stride in self.strides]
        return [x[:, :, :rows, :columns] for x, (rows, columns) in zip(scaled, cells, strict=True)]


def _four(d: int) -> nn.Module:
    return nn.Sequential(
        nn.ConvTranspose2d(d, d // 2, 2, 2),
        LayerNorm2d(d // 2),
        nn.GELU(),
        nn.ConvTranspose2d(d // 2, d // 4, 2, 2),
        LayerNorm2d(d // 4),
    )


def _eight(d: int) -> nn.Module:
    return nn.Sequential(nn.ConvTranspose2d(d, d // 2, 2, 2), LayerNorm2d(d // 2))


def _sixteen(d: int) -> nn.Module:
    return nn.Identity()


def _thirty_two(d: int) -> nn.Module:
    return nn.MaxPool2d(2, ceil_mode=True)


class LevelNorms(nn.Module):
    """A norm for each map of a transformer whose stages do not end with one."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.norms = nn.ModuleList(LayerNorm2d(c) for c in channels)
        self.channels = channels

    def forward(self, maps: list[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """Return maps of the same shapes, whatever the ``size`` of the images."""
        return [norm(x) for norm, x in zip(self.norms, maps, strict=True)]
