"""INT8 on every CPU: without VNNI x86 cuts sums of two products off at 16 bits.

Which CPU runs these tests must not matter, so its arithmetic is written out here: `pmaddubsw`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from dino_api.result import ModelFile
from dino_trainer.actions.quantize import elsewhere
from dino_trainer.detectors.onnx_detector import EXACT, open_onnx
from dino_trainer.model_files.graph_metadata import NOTE
from dino_trainer.quantize import QuantizationOptions, headroom, this_cpu
from dino_trainer.quantize.static import quantize_onnx
from tests.unit.quantize_graphs import a_graph, source

WEIGHTED = {"QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}


__all__ = ["source"]


def images(count: int = 4) -> Iterator[NDArray[np.float32]]:
    rng = np.random.default_rng(1)
    for _ in range(count):
        yield rng.normal(0, 1, (1, 3, 64, 96)).astype(np.float32)


def made(source: Path, *, for_cpu: bool) -> Path:
    path = source.with_name(f"int8-{for_cpu}.onnx")
    quantize_onnx(source, path, images(), QuantizationOptions(for_cpu=for_cpu))
    return path


def weights(path: Path) -> list[NDArray[np.int8]]:
    """Of each layer, [channels, weights of each]."""
    graph = onnx.load(path).graph
    values = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    found = []
    for node in graph.node:
        codes = values.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if codes is not None and codes.dtype == np.int8:
            axis = next(one.i for one in node.attribute if one.name == "axis")
            found.append(np.moveaxis(codes, axis, 0).reshape(codes.shape[axis], -1))
    return found


def without_vnni(activations: NDArray[Any], codes: NDArray[np.int8]) -> NDArray[np.int64]:
    """The sums of one channel's products, as vpmaddubsw and vpmaddwd add them up: pairs first."""
    products = activations.astype(np.int64) * codes
    pairs = np.pad(products, (0, len(products) % 2)).reshape(-1, 2).sum(axis=1)
    return np.clip(pairs, -(2**15), 2**15 - 1).sum()


def worst(codes: NDArray[np.int8]) -> Iterator[tuple[NDArray[Any], NDArray[np.int8]]]:
    """Activations and an order of the weights that no kernel could make harder, for either sign."""
    ordered = np.sort(codes)
    for one in (ordered, ordered[::-1]):
        yield np.where(np.sign(one) == np.sign(one[0]), 255, 0), one


def loses(path: Path) -> bool:
    """Whether a CPU without VNNI may compute another sum than one with it."""
    return any(
        without_vnni(activations, ordered) != (activations * ordered.astype(np.int64)).sum()
        for layer in weights(path)
        for channel in layer
        for activations, ordered in worst(channel)
    )


def test_a_file_for_cpus_is_computed_exactly_without_vnni(source: Path) -> None:
    path = made(source, for_cpu=True)
    assert len(weights(path)) == 5
    assert not loses(path)
    assert headroom.has_headroom(onnx.load(path))
    # Nothing is given away: some channel uses all that there is.
    assert max(headroom.largest_pairs(one, 0).max() for one in weights(path)) >= headroom.PAIR - 1


def test_a_file_for_gpus_keeps_all_bits_and_says_so(source: Path) -> None:
    path = made(source, for_cpu=False)
    assert loses(path)
    assert not headroom.has_headroom(onnx.load(path))
    assert {int(np.abs(one).max()) for one in weights(path)} == {127}


@pytest.mark.parametrize("for_cpu", [False, True])
def test_what_a_file_says_decides_how_it_is_opened(source: Path, for_cpu: bool) -> None:
    """Where it has no headroom, or is of a release that knew of none, ONNX Runtime is asked."""
    path = made(source, for_cpu=for_cpu)
    assert asked(path) is not for_cpu
    model = onnx.load(path)
    (note,) = (one for one in model.metadata_props if one.key == NOTE)
    content = json.loads(note.value)
    assert content.pop("headroom") is for_cpu
    note.value = json.dumps(content)
    old = path.with_name("old.onnx")
    onnx.save(model, old)
    assert asked(old)
    assert not asked(source)


def asked(path: Path) -> bool:
    """Whether the session was told to be exact."""
    session = open_onnx(path, ModelFile(uri=path.name, format="onnx")).session
    try:
        return bool(session.get_session_options().get_session_config_entry(EXACT) == "1")
    except RuntimeError:  # the library's way to say that it is not set
        return False


@pytest.mark.parametrize("for_cpu", [False, True])
def test_the_runtime_multiplies_exactly_on_every_x86(source: Path, for_cpu: bool) -> None:
    """What it makes of the graph: UINT8 weights, which are widened, or INT8 with headroom."""
    path, graph = made(source, for_cpu=for_cpu), source.with_name("run.onnx")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(graph)
    options.log_severity_level = 3
    if not for_cpu:
        options.add_session_config_entry(EXACT, "1")
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    model = onnx.load(graph)
    kinds = {one.name: one.data_type for one in model.graph.initializer}
    found = {
        kinds[node.input[WEIGHTED[node.op_type]]]
        for node in model.graph.node
        if node.op_type in WEIGHTED
    }
    assert found == {TensorProto.INT8 if for_cpu else TensorProto.UINT8}


@pytest.mark.parametrize("for_cpu", [False, True])
def test_this_cpu_computes_what_exact_arithmetic_does(source: Path, for_cpu: bool) -> None:
    """Without optimisations Q and DQ are carried out as written, in float32."""
    path = made(source, for_cpu=for_cpu)
    (inputs,) = images(1)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    slow = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in slow.get_outputs()]
    exact = dict(zip(names, slow.run(None, {"inputs": inputs}), strict=True))
    found = open_onnx(path, ModelFile(uri=path.name, format="onnx")).run(inputs)
    for name, value in exact.items():
        # A value between two steps may be rounded either way: a few steps of some layer, where
        # sums that are cut off are wrong by a tenth of all.
        assert np.abs(found[name] - value).mean() < 0.01 * np.abs(value).mean(), name


def a_layer(kind: str, weight: NDArray[Any], **attributes: Any) -> onnx.ModelProto:
    node = helper.make_node(kind, ["x", "w"], ["y"], "layer", **attributes)
    value = numpy_helper.from_array(weight.astype(np.float32), "w")
    return helper.make_model(helper.make_graph([node], "g", [], [], [value]))


@pytest.mark.parametrize(
    "kind, weight, attributes, limits",
    [
        ("Conv", [[[[3, -1]]], [[[-2, -2]]]], {}, [3, 4]),
        ("MatMul", [[3, 1], [2, -4]], {}, [5, 4]),
        ("Gemm", [[3, 1], [2, -4]], {"transB": 1}, [4, 4]),
        ("Conv", [[[[3, 2]]], [[[2, 2]]]], {"group": 2}, [3, 2]),  # depthwise: each alone
        ("MatMul", [[0, 2], [0, 1]], {}, [3, 3]),  # a channel of zeros: as its neighbour
        ("MatMul", [[0, 0]], {}, [127, 127]),
        ("MatMul", [[5, -7]], {}, [5, 7]),  # one weight each
    ],
)
def test_scales_by_hand(
    kind: str, weight: list[Any], attributes: dict[str, int], limits: list[float]
) -> None:
    model = a_layer(kind, np.array(weight), **attributes)
    (channels,) = headroom.scales(model, ["layer"]).values()
    assert [float(one["scale"]) * 127 for one in channels] == pytest.approx(limits)
    assert headroom.scales(model, []) == {}


def test_codes_stay_within_the_pair_whatever_the_weights_are() -> None:
    rng = np.random.default_rng(0)
    for spread in (0.01, 1, 12):
        weight = rng.normal(0, 1, (200, 17)) * np.exp(rng.normal(0, spread, (200, 1)))
        weight[7] = 1e-42  # less than float32 can divide by
        (found,) = headroom.scales(a_layer("Conv", weight[:, :, None, None]), ["layer"]).values()
        scale = np.array([one["scale"] for one in found])[:, None]
        codes = np.round(weight.astype(np.float32) / scale)
        assert headroom.largest_pairs(codes, 0).max() <= headroom.PAIR
        assert np.abs(codes).max() <= 127


def test_a_dead_channel_keeps_its_bias(tmp_path: Path) -> None:
    """Weights of zero, and of next to nothing: their biases are 32 bits of the weights' scale."""
    source = a_graph(tmp_path / "model.onnx")
    model = onnx.load(source)
    values = {one.name: one for one in model.graph.initializer}
    weight, bias = (numpy_helper.to_array(values[name]).copy() for name in ("w_stem", "b_stem"))
    weight[0], weight[1], bias[:2] = 0, 1e-12, 2.5
    for name, value in (("w_stem", weight), ("b_stem", bias)):
        values[name].CopyFrom(numpy_helper.from_array(value, name))
    onnx.save(model, source)
    graph = onnx.load(made(source, for_cpu=True)).graph
    stored = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    (stem,) = (node for node in graph.node if node.name.endswith("conv_stem/Conv"))
    (maker,) = (node for node in graph.node if node.output[0] == stem.input[2])
    read = stored[maker.input[0]] * stored[maker.input[1]]
    assert read[:2] == pytest.approx([2.5, 2.5], rel=0.01)
    assert np.isfinite(read).all()


def test_where_a_file_for_gpus_differs_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for cut in (True, False):
        monkeypatch.setattr("dino_trainer.actions.quantize.cuts_off", lambda cut=cut: cut)
        text = elsewhere()
        assert ("This CPU is one of them." in text) is cut
        assert "session.x64quantprecision: 1" in text
        assert "for CPUs set quantize.device: cpu" in text


def test_the_probe_asks_this_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that is exact says no; one pair of weights that must be cut off says so."""
    assert this_cpu.cuts_off() in (True, False)
    this_cpu.cuts_off.cache_clear()
    monkeypatch.setattr(this_cpu, "_WEIGHT", 64)  # fits 16 bits: no CPU cuts it off
    assert this_cpu.cuts_off() is False
    this_cpu.cuts_off.cache_clear()
