"""The benches of inference: equal work on both sides, and the batch that counts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dino_api.experiment import ExperimentSpec
from dino_api.loading import load
from tests.bench import inference_sides
from tests.bench.harness import Pair, Times
from tests.bench.inference_eager import beside_grid_sample
from tests.bench.inference_sides import bench_of, our_detector, pictures, seen

SIDE, QUERIES = 128, 10


@pytest.fixture
def spec(monkeypatch: pytest.MonkeyPatch) -> ExperimentSpec:
    """A very small model on small images, of which a round has one or two."""
    monkeypatch.setattr(inference_sides, "SIDE", SIDE)
    monkeypatch.setattr(inference_sides, "IMAGES", {1: 1, 2: 2})
    monkeypatch.setattr(inference_sides, "ROUNDS", 1)
    keys = {
        "backbone": "timm/test_efficientnet", "return_interm_indices": [2, 3, 4],
        "num_feature_levels": 3, "hidden_dim": 32, "nheads": 2, "enc_layers": 1, "dec_layers": 2,
        "dim_feedforward": 48, "num_queries": QUERIES, "num_select": QUERIES,
    }  # fmt: skip
    augmentation = {"fixed_size": [SIDE, SIDE]}
    dataset = {"workers": 0, "augmentation": augmentation}
    return load({"results_dir": "unused", "model": keys, "dataset": dataset})[0]


def test_our_side_finds_as_evaluate_does(tmp_path: Path, spec: ExperimentSpec) -> None:
    ours, images = our_detector(tmp_path, spec), pictures(tmp_path)
    assert not any(part.requires_grad for part in ours.model.parameters())
    found = seen(ours, images, 2)
    assert found.images.tolist() == [0] * QUERIES + [1] * QUERIES
    assert set(seen(ours, images, 1).images) == {0}


def test_both_sides_of_the_eager_bench_find_the_same(tmp_path: Path, spec: ExperimentSpec) -> None:
    bench = beside_grid_sample(tmp_path, spec)
    assert (bench.name, bench.unit, bench.better) == ("inference_eager", "images/s", "more")
    assert bench.parts["% of detections in common"] >= 99
    assert {f"ratio at batch {batch}" for batch in (1, 2)} <= bench.parts.keys()
    assert os.environ.get("DINO_SAMPLING") is None


def test_the_entry_is_that_of_the_batch_where_ours_is_least_ahead() -> None:
    pairs = {1: Pair(Times((2.0,)), Times((6.0,))), 8: Pair(Times((4.0,)), Times((8.0,)))}
    bench = bench_of("a_name", pairs, "Ours; peer: theirs.", {"more": 1})
    assert (bench.ours, bench.peer, bench.ratio) == (2.0, 1.0, 2.0)  # 8 images in 4 and 8 seconds
    assert bench.parts["ratio at batch 1"] == 3.0
    assert bench.parts["images/s at batch 1"] == 2.0  # 4 images in 2 seconds
    assert bench.parts["peer's images/s at batch 8"] == 1.0
    assert bench.parts["more"] == 1
    assert "median at batch 8" in bench.note
