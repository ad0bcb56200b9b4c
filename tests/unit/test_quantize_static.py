"""INT8: which layers, with which numbers, from which images, and what the file says afterwards."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from dino_api.loading import load
from dino_api.result import ModelComparison, ScoredModel
from dino_trainer.errors import TrainerError
from dino_trainer.model import build_dino
from dino_trainer.quantize import QuantizationOptions
from dino_trainer.quantize.layers import choose_layers
from dino_trainer.quantize.page import layers_page
from dino_trainer.quantize.static import NOTE, quantize_onnx
from tests.unit.quantize_graphs import EARLY, LAST, NODES, QUANTIZED, a_graph, deep_backbone, source
from tests.unit.test_export_action import opened

MODEL = {
    "backbone": "timm/test_efficientnet", "return_interm_indices": [2, 3],
    "num_feature_levels": 2, "hidden_dim": 32, "nheads": 2, "enc_layers": 1, "dec_layers": 2,
    "dim_feedforward": 32, "num_queries": 10, "num_select": 10,
}  # fmt: skip
SENSITIVE = (
    "sampling_offsets", "attention_weights", "class_head", "box_head", "proposals.project",
    "proposals.class_head", "proposals.box_head", "ref_point_head", "self_attention",
)  # fmt: skip


__all__ = ["source"]


def images(count: int = 4, seed: int = 1, batch: int = 1) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield rng.normal(0, 1, (batch, 3, 64, 96)).astype(np.float32)


def test_of_a_real_detector_the_costly_layers_alone_are_chosen() -> None:
    """Every module of it with a matrix of weights, as a node of the name that export gives."""
    detector = build_dino(load({"results_dir": "x", "model": MODEL})[0].model, 4)
    kinds = {
        name: {2: "MatMul", 4: "Conv"}.get(module.weight.dim())
        for name, module in detector.named_modules()
        if getattr(module, "weight", None) is not None
    }
    nodes = [
        helper.make_node(kind, ["x", f"{name}.weight"], [name], f"{name}/{kind}")
        for name, kind in kinds.items()
        if kind
    ]
    weights = [numpy_helper.from_array(np.zeros(1, "f4"), node.input[1]) for node in nodes]
    graph = helper.make_graph(nodes, "detector", [], [], weights)
    chosen = {
        name.partition("/")[0] for name in choose_layers(helper.make_model(graph), (), "x").layers
    }
    assert {name for name in chosen if not name.startswith("backbone.")} == {
        "input_proj.0.0", "input_proj.1.0",
        *(f"encoder.layers.0.{part}" for part in (
            "attention.value_proj", "attention.output_proj",
            "feed_forward.linear1", "feed_forward.linear2")),
        *(f"decoder.layers.{layer}.{part}" for layer in (0, 1) for part in (
            "cross_attention.value_proj", "cross_attention.output_proj",
            "feed_forward.linear1", "feed_forward.linear2")),
    }  # fmt: skip
    floats = {node.output[0] for node in nodes} - chosen
    # Each is there and is left out, by a name that this project itself gives.
    for part in SENSITIVE:
        assert any(part in name for name in floats), part
        assert not any(part in name for name in chosen), part
    assert {name for name in floats if name.startswith("backbone.")} == set()


def test_sensitive_nodes_stay_in_float(source: Path, tmp_path: Path) -> None:
    made = tmp_path / "int8.onnx"
    done = quantize_onnx(source, made, images())
    assert {*done.chosen.layers, *done.chosen.activations} == {NODES[name] for name in QUANTIZED}
    model = onnx.load(made)
    makers = {out: node for node in model.graph.node for out in node.output}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        inputs = [makers[name].op_type if name in makers else "" for name in node.input[:2]]
        quantized = node.name in done.chosen.layers
        # A float layer may read what another one has rounded; its own weights never are.
        assert (inputs[1] == "DequantizeLinear") is quantized, node.name
    assert done.images == 4


@pytest.mark.parametrize("for_cpu", [False, True])
def test_scales_are_by_channel_and_symmetric_for_tensorrt(
    source: Path, tmp_path: Path, for_cpu: bool
) -> None:
    made = tmp_path / "int8.onnx"
    quantize_onnx(source, made, images(), QuantizationOptions(for_cpu=for_cpu))
    model = onnx.load(made)
    values = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    zeros = [values[n.input[2]] for n in model.graph.node if n.op_type == "QuantizeLinear"]
    assert {zero.dtype.name for zero in zeros} == {"uint8" if for_cpu else "int8"}
    assert any(zero for zero in zeros) is for_cpu
    weights = [n for n in model.graph.node if n.op_type == "DequantizeLinear"
               and values.get(n.input[0], np.zeros(0)).dtype == np.int8]  # fmt: skip
    assert len(weights) == 5
    assert {values[node.input[1]].shape for node in weights} == {(8,), (16,)}
    assert not any(values[node.input[2]].any() for node in weights)


@pytest.mark.parametrize("for_cpu", [False, True])
def test_the_file_computes_nearly_the_same_and_says_what_it_is(
    source: Path, tmp_path: Path, for_cpu: bool
) -> None:
    made = tmp_path / "int8.onnx"
    quantize_onnx(source, made, images(16), QuantizationOptions(for_cpu=for_cpu))
    before, after = opened(source), opened(made)
    assert after.info.file.precision == "int8"
    assert (after.info.class_names, after.info.spec) == (before.info.class_names, before.info.spec)
    (inputs,) = images(1, seed=9, batch=3)
    full, small = before.run(inputs), after.run(inputs)
    for name, value in full.items():
        difference = np.abs(small[name] - value)
        assert 0 < difference.max() < 0.1 * np.abs(value).max(), name
    assert onnx.load(made).producer_name == "dino-operator"


@pytest.mark.parametrize("for_cpu", [False, True])
def test_the_backbones_first_layers_stay_in_float(tmp_path: Path, for_cpu: bool) -> None:
    """All that comes before maps of a quarter of the picture, the picture itself included."""
    source, made = deep_backbone(tmp_path / "deep.onnx"), tmp_path / "int8.onnx"
    done = quantize_onnx(source, made, images(), QuantizationOptions(for_cpu=for_cpu))
    assert done.chosen.early == EARLY
    assert not {*EARLY} & {*done.chosen.layers}
    assert {LAST, NODES["map"], NODES["value"]} <= {*done.chosen.layers}
    model = onnx.load(made)
    rounded = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    inputs = {node.name: [*node.input] for node in model.graph.node}
    for name in EARLY:
        assert not {*inputs[name]} & rounded, name
    assert {*inputs[LAST][:2]} <= rounded
    note = json.loads(next(p.value for p in model.metadata_props if p.key == NOTE))
    assert note["early"] == list(EARLY)
    found = ModelComparison(
        reference=ScoredModel(format="onnx"), candidate=ScoredModel(format="onnx")
    )
    assert f"first layers</h2>\n<ul><li>{EARLY[0]}" in layers_page("", True, found, done, "x")


def test_an_early_layer_may_be_named_by_a_pattern(tmp_path: Path) -> None:
    source = deep_backbone(tmp_path / "deep.onnx")
    chosen = choose_layers(onnx.shape_inference.infer_shapes(onnx.load(source)), [EARLY[0]], "x")
    assert (chosen.skipped, chosen.early) == (EARLY[:1], EARLY[1:])


def test_images_are_read_one_at_a_time(source: Path, tmp_path: Path) -> None:
    alive: list[weakref.ref[np.ndarray]] = []

    def watched() -> Iterator[np.ndarray]:
        for image in images(12):
            assert sum(one() is not None for one in alive) <= 1
            alive.append(weakref.ref(image))
            yield image

    assert quantize_onnx(source, tmp_path / "int8.onnx", watched()).images == 12
    assert len(alive) == 12


def test_entropy_cuts_off_what_is_rare(source: Path, tmp_path: Path) -> None:
    """With the library's default number of bins it would take the extremes, as minmax does."""

    def rare() -> Iterator[np.ndarray]:
        for number, image in enumerate(images(4)):
            image[0, 0, 0, 0] = 50 if number == 0 else 0
            yield image

    scales = {}
    for algorithm in ("minmax", "entropy"):
        made = tmp_path / f"{algorithm}.onnx"
        quantize_onnx(
            source, made, rare(), QuantizationOptions(algorithm, ["encoder.*", "input_proj.*"])
        )
        model = onnx.load(made)
        values = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
        first = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
        assert first.input[0] == "inputs"
        scales[algorithm] = float(values[first.input[1]])
    assert scales["minmax"] == pytest.approx(50 / 127, rel=0.01)
    assert scales["entropy"] < 0.5 * scales["minmax"]


def test_a_file_of_a_fixed_batch_is_calibrated_image_by_image(tmp_path: Path) -> None:
    source = a_graph(tmp_path / "model.onnx", batch=2)
    assert quantize_onnx(source, tmp_path / "int8.onnx", images(3)).images == 3


def test_patterns_keep_layers_in_float(source: Path, tmp_path: Path) -> None:
    patterns = ["backbone.*", "*/Gemm"]
    done = quantize_onnx(
        source, tmp_path / "int8.onnx", images(), QuantizationOptions(skip_names=patterns)
    )
    assert done.chosen.skipped == tuple(sorted(NODES[name] for name in ("stem", "wide", "narrow")))
    assert set(done.chosen.layers) == {NODES["map"], NODES["value"]}
    assert done.chosen.activations == ()


@pytest.mark.parametrize(
    "patterns, message",
    [
        (["backbon"], r"quantize.skip_names: 'backbon' fits no layer that would be quantized"),
        (["*class_head*"], r"'\*class_head\*' fits no layer"),
        (["*"], "has no layer left to quantize"),
    ],
)
def test_patterns_that_mean_nothing(source: Path, patterns: list[str], message: str) -> None:
    with pytest.raises(TrainerError, match=message) as error:
        choose_layers(onnx.load(source), patterns, "model.onnx")
    assert error.value.reason == "InvalidSpec"


def test_what_cannot_be_quantized(source: Path, tmp_path: Path) -> None:
    made = tmp_path / "int8.onnx"
    quantize_onnx(source, made, images())
    with pytest.raises(TrainerError, match="is quantized already"):
        quantize_onnx(made, tmp_path / "twice.onnx", images())
    with pytest.raises(TrainerError, match="no calibration images") as empty:
        quantize_onnx(source, tmp_path / "none.onnx", iter(()))
    assert empty.value.reason == "InvalidDataset"
    with pytest.raises(TrainerError, match="algorithm max is not built"):
        quantize_onnx(source, tmp_path / "max.onnx", images(), QuantizationOptions("max"))
    with pytest.raises(TrainerError, match="not numbers") as broken:
        quantize_onnx(source, tmp_path / "nan.onnx", (np.inf * image for image in images()))
    assert broken.value.reason == "Diverged"
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "int8.onnx"}
