"""TAO's names of backbones, and what they are in timm.

The names that can be built, and the refusal of the others, are the API's: see
``dino_api/rules/experiment/model.py``. docs/backbones.md is the table for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from timm.layers import SwiGLUPacked
from torch import nn

RESNETS = ("resnet_18", "resnet_34", "resnet_50", "resnet_101", "resnet_152")
TIMM = "timm/"


@dataclass(frozen=True)
class TimmBackbone:
    """A network of timm and the options it is built with."""

    timm: str
    options: Mapping[str, Any] = field(default_factory=dict)


# Share of residual branches dropped in training: as published for DINO on Swin, and as Li et al.
# 2022 (and TAO) for ViT-L.
_SWIN = {"drop_path_rate": 0.2}
_VIT_LARGE = {"drop_path_rate": 0.4}
# NV-DINOv2's feed-forward part is gated; of 5472 channels one half gates the other.
_GATED = {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU, "mlp_ratio": 5472 / 1024}

TAO: Mapping[str, TimmBackbone] = {
    **{f"efficientvit_b{i}": TimmBackbone(f"efficientvit_b{i}") for i in range(4)},
    **{
        f"gc_vit_{size}": TimmBackbone(f"gcvit_{size}")
        for size in ("xxtiny", "xtiny", "tiny", "small", "base")
    },
    "swin_tiny_224_1k": TimmBackbone("swin_tiny_patch4_window7_224", _SWIN),
    "swin_base_224_22k": TimmBackbone("swin_base_patch4_window7_224", _SWIN),
    "swin_base_384_22k": TimmBackbone("swin_base_patch4_window12_384", _SWIN),
    "swin_large_224_22k": TimmBackbone("swin_large_patch4_window7_224", _SWIN),
    "swin_large_384_22k": TimmBackbone("swin_large_patch4_window12_384", _SWIN),
    "vit_large_dinov2": TimmBackbone("vit_large_patch14_dinov2", _VIT_LARGE),
    "vit_large_nvdinov2": TimmBackbone("vit_large_patch14_dinov2", _VIT_LARGE | _GATED),
}


def recipe_of(name: str) -> TimmBackbone:
    """The recipe of a TAO name or of timm/<name>."""
    return TAO.get(name) or TimmBackbone(name.removeprefix(TIMM))
