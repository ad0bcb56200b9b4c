"""Swin and GC-ViT on images of any size, from timm's own layers.

timm runs both on the size of their pretraining. Here maps are padded to whole windows, and shifted
windows are cut as Liu et al. 2021 describe (Swin Transformer, section 3.2): a token looks at those
of its window that are its neighbours in the image. At the size of the pretraining the numbers are
timm's. Hatamizadeh et al. 2023 is GC-ViT.

Shapes: b batch, h x w a map, c channels, s the side of a window, n = s * s, k windows.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.models.gcvit import GlobalContextVit, GlobalContextVitBlock
from timm.models.swin_transformer import (
    SwinTransformer,
    SwinTransformerBlock,
    window_partition,
    window_reverse,
)
from torch import Tensor, nn

SWIN_PATCH = 4


class SwinBody(nn.Module):
    """A Swin transformer; returns the chosen stages' maps, not normalised."""

    net: Any  # to types, parts of a network are Tensor | Module

    def __init__(self, net: SwinTransformer, stages: tuple[int, ...]) -> None:
        super().__init__()
        self.stages = stages
        net.layers = net.layers[: max(stages) + 1]  # what lies behind is not needed
        net.norm = nn.Identity()
        net.head = nn.Identity()  # type: ignore[assignment]  # nothing runs it
        self.net = net

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return float[b, c_i, h_i, w_i], finest first; sizes are rounded up."""
        x = self.net.patch_embed(_pad(images, SWIN_PATCH, (2, 3)))  # [b, h, w, c]
        maps = []
        for index, stage in enumerate(self.net.layers):
            x = stage.downsample(x)
            masks: dict[tuple[int, int], Tensor | None] = {}  # the same for half of the blocks
            for place, block in enumerate(stage.blocks):
                shift = _shift(block, place, x)
                if shift not in masks:
                    masks[shift] = neighbours(x, block.window_size[0], shift)
                x = _swin_block(block, x, shift, masks[shift])
            if index in self.stages:
                maps.append(x.permute(0, 3, 1, 2))
        return maps


def _swin_block(
    block: SwinTransformerBlock, x: Tensor, shift: tuple[int, int], mask: Tensor | None
) -> Tensor:
    """Return float[b, h, w, c] from a map of that shape."""
    x = x + block.drop_path1(_attend(block, block.norm1(x), shift, mask))
    return x + block.drop_path2(block.mlp(block.norm2(x)))


def _attend(
    block: SwinTransformerBlock, x: Tensor, shift: tuple[int, int], mask: Tensor | None
) -> Tensor:
    h, w = x.shape[1:3]
    up, left = shift
    x = _pad(x, block.window_size[0], (1, 2)).roll((-up, -left), (1, 2))
    windows = block.attn(window_partition(x, block.window_size).flatten(1, 2), mask=mask)
    windows = windows.unflatten(1, block.window_size)
    x = window_reverse(windows, block.window_size, x.shape[1], x.shape[2])
    return x.roll((up, left), (1, 2))[:, :h, :w]


def _shift(block: SwinTransformerBlock, place: int, x: Tensor) -> tuple[int, int]:
    """Every other block's windows are moved by half of one, where there is more than one."""
    side = block.window_size[0]
    by = side // 2 if place % 2 else 0
    return (by if x.shape[1] > side else 0, by if x.shape[2] > side else 0)


def neighbours(x: Tensor, side: int, shift: tuple[int, int]) -> Tensor | None:
    """Return float[k, n, n]: 0 where two tokens of a window are neighbours in the image, else -inf.

    Padding, and what a shift brings in from the opposite edge, are no neighbours. None if all are.

    Args:
        x: float[b, h, w, c], the map before padding.
        side: of a window. shift: by how many rows and columns the windows are moved.
    """
    h, w = x.shape[1:3]
    if not (any(shift) or h % side or w % side):
        return None
    rows = _regions(h, side, shift[0], x.device)
    columns = _regions(w, side, shift[1], x.device)
    regions = rows[:, None] * 3 + columns
    windows = window_partition(regions[None, ..., None], (side, side)).flatten(1)  # [k, n]
    apart = windows[:, :, None] != windows[:, None, :]
    return torch.zeros(apart.shape, dtype=x.dtype, device=x.device).masked_fill(
        apart, float("-inf")
    )


def _regions(length: int, side: int, shift: int, device: torch.device) -> Tensor:
    """Return int64[padded length]: 0 inside the image, 1 from its other edge, 2 padding."""
    padded = length + -length % side
    place = torch.arange(padded, device=device)
    padding = (place + shift) % padded >= length
    return (place >= padded - shift) + 2 * padding


class GcVitBody(nn.Module):
    """A global-context vision transformer; returns the chosen stages' maps."""

    net: Any  # to types, parts of a network are Tensor | Module

    def __init__(self, net: GlobalContextVit, stages: tuple[int, ...]) -> None:
        super().__init__()
        self.stages = stages
        net.stages = net.stages[: max(stages) + 1]
        net.head = nn.Identity()  # type: ignore[assignment]  # nothing runs it
        self.net = net

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return float[b, c_i, h_i, w_i], finest first; sizes are rounded up."""
        x = self.net.stem(images)
        maps = []
        for index, stage in enumerate(self.net.stages):
            x = stage.downsample(x)
            # Every window is asked by the same query, a copy of the whole map in its size.
            query = F.adaptive_avg_pool2d(stage.global_block(x), stage.blocks[0].window_size)
            query = stage.global_norm(query.permute(0, 2, 3, 1))
            x = x.permute(0, 2, 3, 1)
            for block in stage.blocks:
                x = _gc_vit_block(block, x, query)
            x = stage.norm(x).permute(0, 3, 1, 2)
            if index in self.stages:
                maps.append(x)
        return maps


def _gc_vit_block(block: GlobalContextVitBlock, x: Tensor, query: Tensor) -> Tensor:
    """Return float[b, h, w, c] from a map of that shape and the query float[b, s, s, c]."""
    h, w = x.shape[1:3]
    side: tuple[int, int] = block.window_size  # type: ignore[assignment]  # timm passes both
    padded = _pad(block.norm1(x), side[0], (1, 2))
    windows = window_partition(padded, side).flatten(1, 2)
    windows = block.attn(windows, query).unflatten(1, side)
    seen = window_reverse(windows, side, padded.shape[1], padded.shape[2])
    x = x + block.drop_path1(block.ls1(seen[:, :h, :w]))
    return x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))


def _pad(x: Tensor, multiple: int, dims: tuple[int, int]) -> Tensor:
    """Zeros after the rows and columns (``dims``) up to a multiple."""
    down, right = (-x.shape[dim] % multiple for dim in dims)
    if not (down or right):
        return x
    behind = (0, 0) if dims == (1, 2) else ()
    return F.pad(x, (*behind, 0, right, 0, down))
