"""Weight-only quantization of a checkpoint: INT8 in the file, floating point when it computes.

torchao quantizes each output channel by itself, symmetric around zero. Its own way to run such
weights is not taken: their tensor type lacks operators that this detector calls, names classes in
the file that only torchao brings, takes linear layers alone, and is no faster on a CPU. What is
stored are its codes and scales; see `model_files/int8_weights.py`.

Large linear layers and convolutions are quantized. Small ones (the first convolution, depthwise
ones, the last layers of the heads) are a thirtieth of the weights and cost most of the accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dino_api.formats import PACKED
from dino_api.result import ModelComparison
from dino_trainer.detectors.torch_detector import TorchDetector
from dino_trainer.errors import invalid_spec
from dino_trainer.model_files import checkpoint
from dino_trainer.model_files.int8_weights import Int8Weights
from dino_trainer.quantize.library_warnings import quiet
from dino_trainer.quantize.page import quantization_page
from dino_trainer.quantize.skipping import skipped_by

# On BCCD all layers lose 0.0048 of mAP, those of so many weights none, and the file is 8.0 MB in
# place of 7.4 (of 27.4).
FEWEST_WEIGHTS = 4096


@dataclass(frozen=True)
class QuantizedWeights:
    """What was done. layers: that are INT8. skipped: that a pattern of the user keeps."""

    layers: tuple[str, ...]
    skipped: tuple[str, ...]


def quantize_weights(
    detector: TorchDetector, out_path: Path, skip_names: Sequence[str] = ()
) -> QuantizedWeights:
    """Writes a checkpoint with the weights of large layers as INT8.

    Args:
        detector: of a checkpoint, any that can be opened. The file says of itself what that does.
        out_path: appears only when it is whole.
        skip_names: patterns (* and ?) over names of layers that stay as they are, too.

    Raises:
        TrainerError: InvalidSpec for skip_names that fit nothing, or where no layer is left.
    """
    info = detector.info
    done = choose_weights(detector.model, skip_names, info.file.uri)
    packed, tool = _packed(detector.model, done.layers)
    content = {
        "spec": info.spec.model_dump(mode="json"),
        "class_names": list(info.class_names),
        "quantization": {"tool": tool, "layers": len(done.layers), "skipped": list(done.skipped)},
        "source_sha256": info.file.sha256,
        PACKED: packed.plain(),
    }
    checkpoint.write(content, out_path)
    return done


def choose_weights(model: nn.Module, skip_names: Sequence[str], where: str) -> QuantizedWeights:
    """Which layers become INT8. where: what messages call the file. Raises InvalidSpec."""
    able = [name for name, module in model.named_modules() if _is_large(module)]
    skipped = skipped_by(skip_names, able, where)
    layers = tuple(name for name in able if name not in skipped)
    if not layers:
        raise invalid_spec(
            f"{where} has no layer of {FEWEST_WEIGHTS} weights or more left to quantize.",
            "Name fewer quantize.skip_names; without any, the model is too small to gain.",
        )
    return QuantizedWeights(layers, tuple(sorted(skipped)))


def _is_large(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d) and module.groups > 1:
        return False
    if not isinstance(module, nn.Linear | nn.Conv2d):
        return False
    return module.weight.numel() >= FEWEST_WEIGHTS


def _packed(model: nn.Module, layers: Sequence[str]) -> tuple[Int8Weights, str]:
    """The model's state, and the name of what quantized it."""
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    weights = [f"{layer}.weight" for layer in layers]
    with quiet():
        import torchao  # seconds, which other actions need not wait
        from torchao.quantization import Int8Tensor, PerRow
    codes, scales = {}, {}
    for name in weights:
        rows: Any = Int8Tensor.from_hp(_rows(state.pop(name)), granularity=PerRow())
        shape = model.get_parameter(name).shape
        codes[name], scales[name] = rows.qdata.view(shape), rows.scale.flatten()
    return Int8Weights(codes, scales, state), f"torchao {torchao.__version__}"


def _rows(weight: Tensor) -> Tensor:
    """float32[o, n]: all weights of an output channel in a row."""
    return weight.to(torch.float32).flatten(1).contiguous()


def weights_page(
    verdict: str, passed: bool, comparison: ModelComparison, done: QuantizedWeights, on: str
) -> str:
    """report.html. on: what both were compared on."""
    method = (
        f"Both ran on {on}. Weights of the layers below are stored as INT8 with a scale "
        "for each output channel; they are floating point again when the file is opened, so the "
        "model computes as before."
    )
    lists = (
        (f"{len(done.layers)} layers are stored as INT8", done.layers),
        ("Kept in floating point by quantize.skip_names", done.skipped),
    )
    return quantization_page(verdict, passed, comparison, method, lists)
