"""A small ONNX file that runs, with a node of each kind that an exported detector has.

inputs float32[b, 3, 64, 96] -> pred_logits [b, 6, 4], pred_boxes [b, 6, 4]. Nodes are named as
`dino export` names them: by the module of the detector, and the operator.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from dino_api.loading import load
from dino_trainer.model_files.graph_metadata import GraphMetadata

NAMES = ("", "red", "", "blue")
_GRAPH = """
<ir_version: 9, opset_import: ["" : 18]>
detector (float[BATCH, 3, 64, 96] inputs)
  => (float[BATCH, 6, 4] pred_logits, float[BATCH, 6, 4] pred_boxes)
{
  stem = Conv <strides = [16, 16]> (inputs, w_stem, b_stem)
  stem_act = Clip (stem, low, high)
  map = Conv (stem_act, w_proj, b_proj)
  rows = Reshape (map, to_rows)
  tokens = Transpose <perm = [0, 2, 1]> (rows)
  queries = Slice (tokens, zero, six, axes)
  value = MatMul (queries, w_value)
  offsets = MatMul (queries, w_offsets)
  shares = MatMul (queries, w_shares)
  soft = Softmax (shares)
  mixed = Mul (value, soft)
  moved = Add (mixed, offsets)
  flat = Reshape (moved, to_flat)
  wide = Gemm (flat, w_wide, b_wide)
  wide_act = Relu (wide)
  narrow = Gemm <transB = 1> (wide_act, w_narrow, b_narrow)
  deep = Reshape (narrow, to_deep)
  state = LayerNormalization (deep, ones, zeros)
  pred_logits = MatMul (state, w_class)
  corners = MatMul (state, w_box)
  pred_boxes = Sigmoid (corners)
}
"""
NODES = {
    "stem": "backbone.body.net.conv_stem/Conv",
    "stem_act": "backbone.body.net.bn1.after.1/Clip",
    "map": "input_proj.0.0/Conv",
    "value": "encoder.layers.0.attention.value_proj/MatMul",
    "offsets": "encoder.layers.0.attention.sampling_offsets/MatMul",
    "shares": "encoder.layers.0.attention.attention_weights/MatMul",
    "soft": "encoder.layers.0.attention/Softmax",
    "wide": "encoder.layers.0.feed_forward.linear1/Gemm",
    "wide_act": "encoder.layers.0.feed_forward/Relu",
    "narrow": "encoder.layers.0.feed_forward.linear2/Gemm",
    "state": "encoder.layers.0.norm2/LayerNormalization",
    "pred_logits": "decoder.class_head.0/MatMul",
    "corners": "decoder.box_head.0.layers.2/MatMul",
}
QUANTIZED = {"stem", "stem_act", "map", "value", "wide", "wide_act", "narrow"}
_SHAPES = {
    "w_stem": (8, 3, 16, 16), "b_stem": (8,), "w_proj": (8, 8, 1, 1), "b_proj": (8,),
    "w_value": (8, 8), "w_offsets": (8, 8), "w_shares": (8, 8), "w_wide": (8, 16), "b_wide": (16,),
    "w_narrow": (8, 16), "b_narrow": (8,), "w_class": (8, 4), "w_box": (8, 4),
}  # fmt: skip
_NUMBERS = {
    "to_rows": [0, 8, -1], "to_flat": [-1, 8], "to_deep": [-1, 6, 8], "zero": [0, 0], "six": [6, 8],
    "axes": [1, 2],
}  # fmt: skip


def a_graph(path: Path, batch: int | None = None, precision: str = "fp32") -> Path:
    """The file at `path`, with the metadata of an export."""
    text = _GRAPH.replace("BATCH", str(batch or "batch"))
    model = parser.parse_model(text)
    rng = np.random.default_rng(0)
    weights = {
        name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in _SHAPES.items()
    }
    weights |= {"ones": np.ones(8, np.float32), "zeros": np.zeros(8, np.float32)}
    weights |= {"low": np.array(0, np.float32), "high": np.array(6, np.float32)}
    numbers = {name: np.array(value, np.int64) for name, value in _NUMBERS.items()}
    model.graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in {**weights, **numbers}.items()
    )
    for node in model.graph.node:
        node.name = NODES.get(node.output[0], f"dino/{node.op_type}_{node.output[0]}")
    _describe(model, batch, precision)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


EARLY = ("backbone.body.net.conv_stem/Conv", "backbone.body.net.blocks.0.0.conv_dw/Conv")
LAST = "backbone.body.net.blocks.0.1.conv_pw/Conv"


def deep_backbone(path: Path) -> Path:
    """`a_graph` whose stem is three convolutions: maps of 1/2, 1/2 and 1/16 of the picture."""
    model = onnx.load(a_graph(path))
    (stem,) = (node for node in model.graph.node if node.output[0] == "stem")
    shapes = ((8, 3, 2, 2), (8, 1, 1, 1), (8, 8, 8, 8))
    rng = np.random.default_rng(1)
    at, inputs = list(model.graph.node).index(stem), "inputs"
    model.graph.node.remove(stem)
    for number, (name, shape, stride) in enumerate(
        zip((*EARLY, LAST), shapes, (2, 1, 8), strict=True)
    ):
        weight, output = f"w_{number}", "stem" if name == LAST else f"map_{number}"
        node = onnx.helper.make_node(
            "Conv", [inputs, weight], [output], name, strides=[stride] * 2,
            group=8 if shape[1] == 1 else 1,
        )  # fmt: skip
        values = rng.normal(0, 0.3, shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, weight))
        model.graph.node.insert(at + number, node)
        inputs = output
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def _describe(model: onnx.ModelProto, batch: int | None, precision: str) -> None:
    content = {
        "results_dir": "x",
        "model": {"num_queries": 6, "num_select": 6},
        "dataset": {"augmentation": {"fixed_size": [64, 96], "input_mean": [0.5, 0.4, 0.3]}},
    }
    metadata = GraphMetadata(
        spec=load(content)[0],
        class_names=NAMES,
        input_size=(64, 96),
        batch_size=batch,
        num_select=6,
        variant="raw",
        precision=precision,
        checkpoint_sha256="a" * 64,
    )
    onnx.helper.set_model_props(model, metadata.to_props())
    model.producer_name = "dino-operator"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return a_graph(tmp_path / "model.onnx")
