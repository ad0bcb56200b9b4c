"""Engines: float16 and INT8 are stated by the ONNX graph, and ONNX Runtime agrees with it."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxscript import ir

from dino_trainer.tensorrt import precision
from tests.tensorrt import models


def run(model: onnx.ModelProto, pixels: np.ndarray) -> list[np.ndarray]:
    """pred_logits and pred_boxes."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(["pred_logits", "pred_boxes"], {"inputs": pixels})


def half(model: onnx.ModelProto) -> onnx.ModelProto:
    graph = ir.from_proto(model)
    precision.to_half(graph)
    return ir.to_proto(graph)


def test_half_is_what_autocast_lowers_and_nothing_else() -> None:
    made = half(models.a_model())
    onnx.checker.check_model(made, full_check=True)
    lowered = {name.removesuffix("_half") for name in models.of_type(made)}
    # The logits are a product, too: theirs is rounded, and the graph's output is float32 again.
    assert lowered == models.LOWERED | {"k_turned", "similar", "pred_logits"}


def test_the_choice_of_queries_stays_in_full_precision() -> None:
    """Ranks of close scores decide: the head and the projection that the TopK ranks by."""
    assert {"projected", "normed", "scores", "best"} & models.of_type(
        half(models.a_model())
    ) == set()


def test_half_keeps_inputs_outputs_and_what_they_say() -> None:
    full = models.a_model()
    made = half(full)
    assert [v.name for v in made.graph.input] == ["inputs"]
    assert [v.name for v in made.graph.output] == ["pred_logits", "pred_boxes"]
    kinds = {v.type.tensor_type.elem_type for v in (*made.graph.input, *made.graph.output)}
    assert kinds == {onnx.TensorProto.FLOAT}
    assert {p.key: p.value for p in made.metadata_props} == {
        p.key: p.value for p in full.metadata_props
    }
    # Weights that only lowered nodes read are there once.
    stored = {one.name for one in made.graph.initializer}
    assert {"w_q_half", "w_class", "w_class_half"} <= stored
    assert not {"w_q", "w_stem"} & stored


def test_half_agrees_with_full_precision() -> None:
    pixels = models.pixels()
    full, lowered = run(models.a_model(), pixels), run(half(models.a_model()), pixels)
    for a, b in zip(full, lowered, strict=True):
        assert b.dtype == np.float32
        difference = np.abs(a - b).max()
        assert 0 < difference < 0.02


def test_a_weight_beyond_half_keeps_its_layer_in_full_precision() -> None:
    model = models.a_model()
    for one in model.graph.initializer:
        if one.name == "w_q":
            value = onnx.numpy_helper.to_array(one).copy()
            value[0, 0] = 1e6
            one.CopyFrom(onnx.numpy_helper.from_array(value, "w_q"))
    lowered = models.of_type(half(model))
    assert "q" not in lowered
    assert "k" in lowered


def test_what_lies_between_full_precision_layers_is_not_rounded() -> None:
    """Locations of samples: a product, then arithmetic with constants that nothing costly reads."""
    lowered = models.of_type(half(models.a_model()))
    assert "out" in lowered
    assert not {"moved", "pred_boxes"} & lowered


def test_quantized_and_lowered_graphs_are_known() -> None:
    full = models.a_model()
    graphs = {
        "full": ir.from_proto(full),
        "half": ir.from_proto(half(full)),
        "int8": ir.from_proto(models.quantized(full)),
    }
    assert [name for name, graph in graphs.items() if precision.is_quantized(graph)] == ["int8"]
    assert [name for name, graph in graphs.items() if precision.is_lowered(graph)] == ["half"]


def test_biases_of_quantized_layers_become_float32_without_a_change() -> None:
    model, pixels = models.quantized(models.a_model()), models.pixels()
    graph = ir.from_proto(model)
    assert precision.fold_biases(graph) == 1
    folded = ir.to_proto(graph)
    stored = {one.name: onnx.numpy_helper.to_array(one) for one in folded.graph.initializer}
    assert stored["bias_int32_float"] == pytest.approx(np.arange(8) * 0.01)
    assert not any(value.dtype == np.int32 for value in stored.values())
    for a, b in zip(run(model, pixels), run(folded, pixels), strict=True):
        assert a == pytest.approx(b, abs=1e-5)
