"""Deformable DETR as a detector: as large as ours, and asked as ours is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from dino_api.experiment import ExperimentSpec
from tests.bench.inference_sides import our_detector, pictures, seen
from tests.bench.inference_transformers import DeformableDetr
from tests.unit.test_bench_inference import QUERIES, SIDE, spec  # noqa: F401 - a fixture


class FakeDetr(nn.Module):
    """Says of every image that its first query is class 5, and fills the image."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.zeros(7))

    def forward(self, pixel_values: torch.Tensor, pixel_mask: torch.Tensor | None) -> Any:
        assert pixel_values.dtype == torch.float32
        assert pixel_mask is None  # no image is padded
        logits = torch.full((len(pixel_values), QUERIES, self.config["num_labels"]), -5.0)
        logits[:, 0, 5] = 5.0
        boxes = torch.tensor([0.5, 0.5, 1.0, 1.0]).expand(len(pixel_values), QUERIES, 4)
        return SimpleNamespace(logits=logits, pred_boxes=boxes)


def test_the_peer_is_as_large_and_gives_detections_as_ours_does(
    tmp_path: Path,
    spec: ExperimentSpec,  # noqa: F811 - the fixture
) -> None:
    fake = SimpleNamespace(
        ResNetConfig=lambda **keys: keys,
        DeformableDetrConfig=lambda **keys: keys,
        DeformableDetrForObjectDetection=FakeDetr,
    )
    peer = DeformableDetr(fake, our_detector(tmp_path, spec).info)
    assert isinstance(peer.model, FakeDetr)
    assert peer.model.config["backbone_config"] == {"out_features": ["stage3", "stage4"]}
    sizes = ("num_queries", "two_stage_num_proposals", "num_feature_levels", "decoder_layers")
    assert [peer.model.config[name] for name in sizes] == [QUERIES, QUERIES, 3, 2]
    found = seen(peer, pictures(tmp_path), 2)
    assert found.images.tolist() == [0] * QUERIES + [1] * QUERIES
    assert found.labels[[0, QUERIES]].tolist() == [5, 5]
    assert found.boxes[0].tolist() == [0, 0, SIDE, SIDE]
