"""Detection on a CPU, beside Deformable DETR as transformers has it, of the same size.

The same backbone, widths, layers, heads, levels, points and queries, in two stages with refined
boxes, and random weights. What it selects, it selects as its own image processor does.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dino_api.experiment import ExperimentSpec
from dino_trainer.data.loader import Batch, normalise
from dino_trainer.machine.devices import tune_cpu
from dino_trainer.model import Detections, Outputs, Predictions, postprocess
from dino_trainer.model_files.info import ModelInfo
from tests.bench.harness import Bench, cannot_run
from tests.bench.inference_sides import (
    CPU,
    bench_of,
    default_spec,
    in_turns,
    our_detector,
    pictures,
)

VERSION = "5.24.0"
STAGES = ["stem", "stage1", "stage2", "stage3", "stage4"]


class DeformableDetr:
    """transformers' detector as one of ours: from the same pixels to boxes."""

    device = CPU

    def __init__(self, transformers: Any, info: ModelInfo) -> None:
        """transformers: the package. info: of ours, whose size it takes."""
        self.info = info
        torch.manual_seed(0)
        config = transformers.DeformableDetrConfig(**self._keys(transformers))
        self.model: nn.Module = transformers.DeformableDetrForObjectDetection(config)
        self.model.eval().requires_grad_(False)

    @torch.inference_mode()
    def __call__(self, batch: Batch, sizes: torch.Tensor) -> list[Detections]:
        look = self.info.spec.dataset.augmentation
        pixels = normalise(batch.images, batch.mask, look.input_mean, look.input_std)
        seen = None if batch.mask is None else ~batch.mask
        outputs = self.model(pixel_values=pixels, pixel_mask=seen)
        last = Predictions(outputs.logits[None], outputs.pred_boxes[None])
        return postprocess(Outputs(last, None, None), sizes, self.info.num_select)

    def _keys(self, transformers: Any) -> dict[str, Any]:
        model = self.info.spec.model
        used = [STAGES[index + 1] for index in model.return_interm_indices if index <= 3]
        return {
            "backbone_config": transformers.ResNetConfig(out_features=used),
            "num_labels": self.info.num_classes,
            "num_queries": model.num_queries,
            "two_stage_num_proposals": model.num_queries,
            "two_stage": True,
            "with_box_refine": True,
            "num_feature_levels": model.num_feature_levels,
            "d_model": model.hidden_dim,
            "encoder_layers": model.enc_layers,
            "decoder_layers": model.dec_layers,
            "encoder_attention_heads": model.nheads,
            "decoder_attention_heads": model.nheads,
            "encoder_ffn_dim": model.dim_feedforward,
            "decoder_ffn_dim": model.dim_feedforward,
            "encoder_n_points": model.enc_n_points,
            "decoder_n_points": model.dec_n_points,
        }


def beside_transformers(transformers: Any, folder: Path, spec: ExperimentSpec) -> Bench:
    """The entry for the model of `spec`. transformers: the package. folder: an empty one."""
    ours = our_detector(folder, spec)
    peer = DeformableDetr(transformers, ours.info)
    return bench_of(
        "inference_transformers",
        in_turns(ours, peer, pictures(folder)),
        "The default detector as evaluate and inference run it; peer: Deformable DETR of "
        f"transformers {transformers.__version__} with the same backbone, widths, layers, levels "
        "and queries, in two stages with refined boxes.",
        {
            "million parameters": millions(ours.model),
            "peer's million parameters": millions(peer.model),
        },
    )


def millions(model: nn.Module) -> float:
    """Parameters of a model, in millions."""
    return round(sum(part.numel() for part in model.parameters()) / 1e6, 1)


def main() -> None:
    """Print the result."""
    try:
        import transformers
    except ImportError:
        cannot_run(
            "The peer is not installed: uv run --frozen --all-extras --with transformers=="
            f"{VERSION} python -m tests.bench inference_transformers"
        )
    tune_cpu()
    with tempfile.TemporaryDirectory() as folder:
        beside_transformers(transformers, Path(folder), default_spec()).emit()


if __name__ == "__main__":
    main()
