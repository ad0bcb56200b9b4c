"""A small ONNX detector, made by hand: the layers that precision is about, and an input it sees.

inputs float32[b, 3, 32, 48] -> pred_logits [b, 6, 4], pred_boxes [b, 6, 4]. Of its 96 tokens the
six of the highest scores become queries, as in the real one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper, parser

from dino_api.experiment import ExperimentSpec
from dino_api.loading import load
from dino_trainer.model_files.graph_metadata import GraphMetadata

SIZE = (32, 48)
CLASSES = ("", "red", "", "blue")
QUERIES = 6
# What `precision` is to lower, by the name of its output.
LOWERED = {"stem", "stem_relu", "branch", "sum", "map", "rows", "tokens", "q", "k", "mixed", "out"}
# Nodes are named after their modules, as by `dino export`: `dino quantize` goes by it.
NAMES = {"stem": "backbone.stem/Conv", "branch": "backbone.branch/Conv"}
GRAPH = """
<ir_version: 9, opset_import: ["" : 17]>
detector (float[BATCH, 3, 32, 48] inputs)
  => (float[BATCH, 6, 4] pred_logits, float[BATCH, 6, 4] pred_boxes)
{
  stem = Conv <strides = [4, 4]> (inputs, w_stem, b_stem)
  stem_relu = Relu (stem)
  branch = Conv <pads = [1, 1, 1, 1]> (stem_relu, w_branch)
  sum = Add (stem_relu, branch)
  map = Relu (sum)
  rows = Reshape (map, to_rows)
  tokens = Transpose <perm = [0, 2, 1]> (rows)
  memory = LayerNormalization (tokens, ones, zeros)
  projected = MatMul (memory, w_project)
  normed = LayerNormalization (projected, ones, zeros)
  scores = MatMul (normed, w_class)
  best = ReduceMax <axes = [2], keepdims = 0> (scores)
  values, chosen = TopK (best, six)
  index = Unsqueeze (chosen, last)
  index_all = Expand (index, row)
  queries = GatherElements <axis = 1> (memory, index_all)
  q = MatMul (queries, w_q)
  k = MatMul (memory, w_k)
  k_turned = Transpose <perm = [0, 2, 1]> (k)
  similar = MatMul (q, k_turned)
  weights = Softmax (similar)
  mixed = MatMul (weights, memory)
  state = LayerNormalization (mixed, ones, zeros)
  pred_logits = MatMul (state, w_class)
  out = MatMul (state, w_box)
  moved = Add (out, reference)
  pred_boxes = Sigmoid (moved)
}
"""
SHAPES = {
    "w_stem": (8, 3, 4, 4), "b_stem": (8,), "w_branch": (8, 8, 3, 3), "w_project": (8, 8),
    "w_class": (8, 4), "w_q": (8, 8), "w_k": (8, 8), "w_box": (8, 4), "reference": (4,),
}  # fmt: skip


def a_model(batch: int | None = None, seed: int = 0) -> onnx.ModelProto:
    """The detector with random weights; batch: the only one that it takes, None for any."""
    model = parser.parse_model(GRAPH.replace("BATCH", str(batch or "batch")))
    rng = np.random.default_rng(seed)
    values = {n: rng.normal(0, 0.5, shape).astype(np.float32) for n, shape in SHAPES.items()}
    values |= {"ones": np.ones(8, np.float32), "zeros": np.zeros(8, np.float32)}
    values |= {
        "to_rows": np.array([0, 8, -1]), "six": np.array([QUERIES]), "last": np.array([2]),
        "row": np.array([1, 1, 8]),
    }  # fmt: skip
    for name, value in values.items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    for node in model.graph.node:
        node.name = NAMES.get(node.output[0], f"dino/{node.output[0]}")
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    onnx.helper.set_model_props(model, metadata(batch).to_props())
    onnx.checker.check_model(model, full_check=True)
    return model


def selecting() -> onnx.ModelProto:
    """One detection an image: class 1 in the upper left quarter, as sure as a pixel is bright."""
    model = parser.parse_model(
        """<ir_version: 9, opset_import: ["" : 18]>
        g (uint8[batch, 3, 32, 48] inputs)
          => (float[batch, 1, 4] boxes, float[batch, 1] scores, int64[batch, 1] labels)
        <int64[3] axes = {1, 2, 3}, int64[1] one = {1}, float scale = {255.0},
         float[4] corner = {0.0, 0.0, 24.0, 16.0}, int64[1] last = {2}>
        {
          pixels = Cast <to = 1> (inputs)
          brightest = ReduceMax <keepdims = 0> (pixels, axes)
          row = Unsqueeze (brightest, one)
          scores = Div (row, scale)
          none = Sub (row, row)
          labels_float = Exp (none)
          labels = Cast <to = 7> (labels_float)
          at = Unsqueeze (none, last)
          boxes = Add (at, corner)
        }"""
    )
    for node in model.graph.node:
        node.name = f"node_{node.output[0]}"
    return model


def a_spec() -> ExperimentSpec:
    """What the model says it was trained with."""
    model = {"num_queries": QUERIES, "num_select": 5}
    return load({"model": model, "dataset": {"num_classes": len(CLASSES)}})[0]


def metadata(batch: int | None) -> GraphMetadata:
    """What the file says about itself."""
    return GraphMetadata(a_spec(), CLASSES, SIZE, batch, 5, "raw", "fp32", "ab" * 32)


def quantized(model: onnx.ModelProto, zero: int = 0, kind: type = np.int8) -> onnx.ModelProto:
    """The model with its branch in INT8 as ONNX Runtime's quantizer writes it.

    Q/DQ on both sides, and a bias of int32.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    constants = {
        "scale": np.array(0.05, np.float32), "zero": np.array(zero, kind),
        "bias_int32": np.arange(8, dtype=np.int32), "bias_scale": np.array(0.01, np.float32),
        "bias_zero": np.array(0, np.int32),
    }  # fmt: skip
    for name, value in constants.items():
        made.graph.initializer.append(numpy_helper.from_array(value, name))
    at = next(i for i, node in enumerate(made.graph.node) if node.output[0] == "branch")
    branch = made.graph.node[at]
    branch.input[:] = ["map_dq", "weight_dq", "bias"]
    new = [
        onnx.helper.make_node(kind, inputs, [output], name=f"node_{output}")
        for kind, inputs, output in (
            ("QuantizeLinear", ["stem_relu", "scale", "zero"], "map_q"),
            ("DequantizeLinear", ["map_q", "scale", "zero"], "map_dq"),
            ("QuantizeLinear", ["w_branch", "scale", "zero"], "weight_q"),
            ("DequantizeLinear", ["weight_q", "scale", "zero"], "weight_dq"),
            ("DequantizeLinear", ["bias_int32", "bias_scale", "bias_zero"], "bias"),
        )
    ]
    nodes = [*made.graph.node[:at], *new, *made.graph.node[at:]]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return onnx.shape_inference.infer_shapes(made, strict_mode=True)


def save(model: onnx.ModelProto, path: Path) -> Path:
    """Writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def pixels(batch: int = 2, seed: int = 1) -> np.ndarray:
    """Normalised pictures for it, float32[b, 3, 32, 48]."""
    return np.random.default_rng(seed).normal(0, 1, (batch, 3, *SIZE)).astype(np.float32)


def of_type(model: onnx.ModelProto, elem_type: int = TensorProto.FLOAT16) -> set[str]:
    """Names of the outputs of nodes, Cast left out, that are of a type."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    types = {v.name: v.type.tensor_type.elem_type for v in inferred.graph.value_info}
    types |= {v.name: v.type.tensor_type.elem_type for v in inferred.graph.output}
    return {
        name
        for node in inferred.graph.node
        for name in node.output
        if node.op_type != "Cast" and types.get(name) == elem_type
    }
