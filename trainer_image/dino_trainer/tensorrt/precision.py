"""The number formats of an ONNX graph: float16 for the costly layers, and whether it is quantized.

TensorRT 11 computes in the types that the graph states, and TensorRT 10 does so for a strongly
typed network: precision is a property of the graph, not a flag of the builder.

`to_half` lowers what `torch.autocast` lowers in training: convolutions and matrix products. What
merely moves or selects their numbers, and arithmetic between two of them, follows. All else stays
float32: normalisation, softmax, the sine encoding, inverse sigmoid, boxes, sampling locations, the
choice of queries (ranks of close scores decide) and the outputs. onnxruntime's own converter is not
used: it also rounds what goes from one float32 node to the next, so that boxes and sampling
locations lose their last bits all the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnxscript import ir
from onnxscript.ir.passes.common import (
    InlinePass,
    LiftConstantsToInitializersPass,
    RemoveUnusedNodesPass,
    ShapeInferencePass,
)

# Where the time goes: always float16, unless a weight does not fit.
COSTLY = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# Numbers come out as they went in: float16 stays float16 without a loss.
MOVING = frozenset(
    {"Clip", "Concat", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity"}
    | {"MaxPool", "Pad", "Relu", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}
)
# Rounds what it computes: float16 between two costly layers only.
COMPUTING = frozenset(
    {"Add", "AveragePool", "BatchNormalization", "Div", "Elu", "Erf", "Gelu", "GlobalAveragePool"}
    | {"HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "Mul", "Sigmoid", "Sub", "Swish", "Tanh"}
)
QUANTIZING = frozenset({"QuantizeLinear", "DequantizeLinear"})
LARGEST = float(np.finfo(np.float16).max)


def is_quantized(model: ir.Model) -> bool:
    """Whether the graph states INT8 layers by Q/DQ nodes."""
    return any(node.op_type in QUANTIZING for node in model.graph)


def is_for_cpus(model: ir.Model) -> bool:
    """Whether it is quantized to UINT8, which ONNX Runtime likes and TensorRT does not take."""
    zeros = (
        node.inputs[2]
        for node in model.graph
        if node.op_type in QUANTIZING and len(node.inputs) > 2
    )
    return any(
        zero is not None
        and zero.const_value is not None
        and zero.const_value.dtype == ir.DataType.UINT8
        for zero in zeros
    )


def is_lowered(model: ir.Model) -> bool:
    """Whether the graph computes in a half precision already."""
    return any(
        value is not None and value.dtype in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
        for node in model.graph
        for value in node.inputs
    )


def fold_biases(model: ir.Model) -> int:
    """Gives quantized layers their biases in float32, in place; returns how many.

    ONNX Runtime keeps them as int32 with a DequantizeLinear, which TensorRT does not take. The
    numbers stay what they were.
    """
    folded = 0
    for node in list(model.graph):
        data = node.inputs[0] if node.op_type == "DequantizeLinear" else None
        if data is None or not _is_constant(data) or data.dtype != ir.DataType.INT32:
            continue
        scale = _number(node.inputs[1])
        zero = _number(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else 0
        value = ((_number(data) - zero) * scale).astype(np.float32)
        tensor = ir.tensor(value, name=f"{data.name}_float")
        made = ir.val(tensor.name, const_value=tensor)
        model.graph.register_initializer(made)
        node.outputs[0].replace_all_uses_with(made)
        folded += 1
    RemoveUnusedNodesPass()(model)
    return folded


def to_half(model: ir.Model) -> int:
    """Lowers the costly part of a float32 graph to float16, in place; returns how many nodes.

    Names and types of inputs and outputs stay. Where numbers pass between the two types stands one
    Cast for all who read them.
    """
    InlinePass()(model)
    LiftConstantsToInitializersPass(lift_all_constants=True)(model)
    ShapeInferencePass()(model)  # what is of no known type would stay as it is
    halves = _choose(model.graph)
    rewriter = _Rewriter(model.graph, halves)
    for node in list(model.graph):
        if node in halves:
            rewriter.lower(node)
    RemoveUnusedNodesPass()(model)  # constants of which only the copy in float16 is read
    return len(halves)


def _choose(graph: ir.Graph) -> set[ir.Node]:
    """The nodes to lower: all that may be, less those that are not among others that are.

    What is left out takes its neighbours along, until nothing changes.
    """
    outputs = set(graph.outputs)
    ranked = {node for node in graph if node.op_type == "TopK" for node in _scoring(node)}
    chosen = {node for node in graph if _may_be_half(node)} - ranked
    while True:
        stray = {node for node in chosen if not _belongs(node, chosen, outputs)}
        if not stray:
            return chosen
        chosen -= stray


def _scoring(node: ir.Node, norms: int = 1) -> Iterator[ir.Node]:
    """What the scores of a TopK are computed by: the head, and the projection before its norm."""
    for value in node.inputs:
        producer = value.producer() if value is not None else None
        left = norms - (producer is not None and producer.op_type == "LayerNormalization")
        if producer is not None and left >= 0:
            yield producer
            yield from _scoring(producer, left)


def _may_be_half(node: ir.Node) -> bool:
    if node.op_type not in COSTLY | MOVING | COMPUTING or node.domain not in ("", "ai.onnx"):
        return False
    floats = list(_floats(node))
    return bool(floats) and all(map(_fits, floats))


def _floats(node: ir.Node) -> Iterator[ir.Value]:
    return (
        value for value in node.inputs if value is not None and value.dtype == ir.DataType.FLOAT
    )


def _fits(value: ir.Value) -> bool:
    """Whether a constant is finite in float16; what is computed is only known on real images."""
    if not _is_constant(value):
        return True
    return bool(np.abs(_number(value)).max(initial=0) <= LARGEST)


def _number(value: ir.Value | None) -> np.ndarray:
    assert value is not None
    assert value.const_value is not None
    return value.const_value.numpy()


def _is_constant(value: ir.Value) -> bool:
    return value.is_initializer() and value.const_value is not None


def _belongs(node: ir.Node, chosen: set[ir.Node], outputs: set[ir.Value]) -> bool:
    """Whether a node that may be float16 has neighbours of which that makes sense."""
    if node.op_type in COSTLY:
        # A quantized layer is one kernel with the Q and DQ around it.
        return not any(_made_by_dequantizing(value) for value in _floats(node))
    data = [value for value in _floats(node) if not _is_constant(value)]
    fed = bool(data) and all(value.producer() in chosen for value in data)
    if node.op_type in MOVING or not fed:
        return fed
    return all(
        value not in outputs and all(use.node in chosen for use in value.uses())
        for value in node.outputs
    )


def _made_by_dequantizing(value: ir.Value) -> bool:
    producer = value.producer()
    return producer is not None and producer.op_type in QUANTIZING


class _Rewriter:
    """Changes types of one graph node by node, in the graph's order."""

    def __init__(self, graph: ir.Graph, halves: set[ir.Node]) -> None:
        self._graph, self._halves = graph, halves
        self._lowered: dict[ir.Value, ir.Value] = {}
        self._outputs = set(graph.outputs)

    def lower(self, node: ir.Node) -> None:
        """Makes `node` read and write float16; whoever needs float32 of it gets a Cast."""
        for index, value in enumerate(node.inputs):
            if value is not None and value.dtype == ir.DataType.FLOAT:
                node.replace_input_with(index, self._as_half(value))
        for value in node.outputs:
            if value.dtype == ir.DataType.FLOAT:
                self._raise(value)

    def _as_half(self, value: ir.Value) -> ir.Value:
        """`value` in float16, which is neither made by a lowered node nor lowered yet."""
        if value not in self._lowered:
            constant = _is_constant(value)
            made = self._constant(value) if constant else self._cast(value, ir.DataType.FLOAT16)
            self._lowered[value] = made
        return self._lowered[value]

    def _constant(self, value: ir.Value) -> ir.Value:
        tensor = ir.tensor(_number(value).astype(np.float16), name=f"{value.name}_half")
        made = ir.val(tensor.name, const_value=tensor)
        self._graph.register_initializer(made)
        return made

    def _cast(self, value: ir.Value, to: ir.DataType) -> ir.Value:
        name = f"{value.name}_{'half' if to == ir.DataType.FLOAT16 else 'full'}"
        node = ir.node("Cast", [value], {"to": int(to)}, name=f"cast_{name}")
        made = node.outputs[0]
        made.name, made.shape, made.type = name, value.shape, ir.TensorType(to)
        producer = value.producer()
        if producer is None:
            self._graph.insert_before(self._graph[0], node)
        else:
            self._graph.insert_after(producer, node)
        return made

    def _raise(self, value: ir.Value) -> None:
        """The output of a lowered node: float16, and in float32 for those who stay."""
        stay = [use for use in value.uses() if use.node not in self._halves]
        value.type = ir.TensorType(ir.DataType.FLOAT16)
        if not stay and value not in self._outputs:
            return
        full = self._cast(value, ir.DataType.FLOAT)
        for node, index in stay:
            node.replace_input_with(index, full)
        if value in self._outputs:
            self._rename_output(value, full)

    def _rename_output(self, value: ir.Value, full: ir.Value) -> None:
        """The graph's output keeps its name and type."""
        for index, output in enumerate(self._graph.outputs):
            if output is value:
                self._graph.outputs[index] = full
        value.name, full.name = f"{value.name}_half", value.name
