"""Weights as INT8 codes with a scale for each output channel, as a checkpoint holds them.

Plain tensors in plain dictionaries: `torch.load(weights_only=True)` reads them, and no library is
needed but torch. `dino quantize` writes them; here they become weights in float32 again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import Tensor

from dino_api.formats import PACKED


@dataclass(frozen=True)
class Int8Weights:
    """The state of a model, by name.

    codes: int8, of the shape of the weights. scales: float32[o], of each output channel, for the
    same names. kept: every other tensor as it was.
    """

    codes: Mapping[str, Tensor]
    scales: Mapping[str, Tensor]
    kept: Mapping[str, Tensor]

    def plain(self) -> dict[str, object]:
        """The value of the key PACKED in a checkpoint's content."""
        return {"codes": {**self.codes}, "scales": {**self.scales}, "kept": {**self.kept}}

    def state(self) -> dict[str, Tensor]:
        """What the model computes with: codes times scales."""
        unpacked = {name: _weight(code, self.scales[name]) for name, code in self.codes.items()}
        return {**self.kept, **unpacked}


def read_int8_weights(content: Mapping[str, object]) -> Int8Weights:
    """Reads them from the content of a checkpoint that has the key PACKED.

    Raises:
        ValueError: where it is not what `plain` makes.
    """
    inner = content[PACKED]
    members = [inner.get(name) for name in ("codes", "scales", "kept")] if _is_map(inner) else []
    parts = [part for part in members if _are_tensors(part)]
    if len(parts) != 3:
        raise ValueError("its INT8 weights lack codes, scales or the other tensors")
    codes, scales, kept = parts
    for name, code in codes.items():
        scale = scales.get(name)
        fits = scale is not None and code.ndim > 0 and scale.shape == code.shape[:1]
        whole = scale is not None and _has_all(code) and _has_all(scale)
        if code.dtype != torch.int8 or not (fits and whole):
            raise ValueError(f"its INT8 weights are damaged: {name} has no codes with a scale each")
    return Int8Weights(codes, scales, kept)


def _is_map(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping)


def _are_tensors(part: object) -> TypeGuard[Mapping[str, Tensor]]:
    return _is_map(part) and all(isinstance(value, Tensor) for value in part.values())


def _has_all(tensor: Tensor) -> bool:
    """Whether each of its numbers is there: a tensor may say a few of them very many times over."""
    plain = tensor.layout == torch.strided and not (tensor.is_quantized or tensor.is_meta)
    return plain and tensor.nbytes <= tensor.untyped_storage().nbytes()


def _weight(code: Tensor, scale: Tensor) -> Tensor:
    return code.float() * scale.view(-1, *[1] * (code.ndim - 1))
