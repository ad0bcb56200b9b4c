"""INT8 weights of which no two are so large that a CPU cuts the sum of their products off.

Without VNNI (AVX2 or AVX-512 alone, SSE4.1) x86 multiplies UINT8 by INT8 with `pmaddubsw`: the sum
of two products is kept in 16 bits, and what does not fit is cut off. Two activations of 255 and two
weights of 127 are 64,770, of which 32,767 are left. The file computes one thing on one machine and
another on the next, and nothing says so. ONNX Runtime multiplies so wherever weights are INT8;
INT8 activations it turns into UINT8 first.

Headroom is the way out that costs no time: the scale of an output channel is as large as its two
largest weights of one sign need it, and 255 times their sum fits 16 bits, whichever two a kernel
takes together. The ways not taken: UINT8 weights are exact, too, but as slow as float32 where there
is VNNI; ONNX Runtime's `reduce_range` halves all weights, which is coarser than most channels need.

Depthwise convolutions need none: ONNX Runtime widens both sides before it multiplies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import QuantType

# The largest sum of two weights whose products stay within 16 bits, whatever the activations are.
PAIR = 32767 // 255
# What that sum is scaled to: each weight may be rounded up by a half.
_SCALED_TO = PAIR - 1


def scales(model: onnx.ModelProto, layers: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """The scales of weights with headroom, by name, as ONNX Runtime's `TensorQuantOverrides`.

    layers: nodes with constant weights, by name.
    """
    values = {one.name: one for one in model.graph.initializer}
    overrides = {}
    for node in model.graph.node:
        if node.name in layers:
            weight, axis = numpy_helper.to_array(values[node.input[1]]), _channels(node)
            limits = largest_pairs(weight, axis, depthwise=_is_depthwise(node, weight))
            overrides[node.input[1]] = [_override(axis, scale) for scale in _scales(limits)]
    return overrides


def _scales(limits: NDArray[np.float64]) -> NDArray[np.float32]:
    """Of each channel.

    One of zeros, or of less than float32 can divide by, gets the largest of its layer: its bias,
    whose scale follows from it, is then as fine as those of its neighbours.
    """
    channel_scales = (limits / _SCALED_TO).astype(np.float32)
    none = channel_scales < np.finfo(np.float32).tiny
    channel_scales[none] = 1 if none.all() else channel_scales.max()
    return channel_scales


def largest_pairs(
    weight: NDArray[Any], axis: int, *, depthwise: bool = False
) -> NDArray[np.float64]:
    """The largest sum of two weights of one sign in each channel; without a sign.

    axis: along which the output channels lie. depthwise: weights count alone.
    """
    rows = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1).astype(np.float64)
    largest: NDArray[np.float64]
    if depthwise:
        largest = np.abs(rows).max(axis=1)
    else:
        ends = np.sort(np.pad(rows, ((0, 0), (2, 2))), axis=1)  # zeros: it may have no second
        largest = np.maximum(ends[:, -2:].sum(axis=1), -ends[:, :2].sum(axis=1))
    return largest


def has_headroom(model: onnx.ModelProto) -> bool:
    """Whether no pair of INT8 weights of a quantized file can be cut off."""
    values = {one.name: one for one in model.graph.initializer}
    makers = {node.output[0]: node for node in model.graph.node}
    for node in _weighted(model):
        codes = makers[node.input[1]]
        weight, axis = numpy_helper.to_array(values[codes.input[0]]), _channels(node)
        depthwise = _is_depthwise(node, weight)
        if weight.dtype != np.int8 or depthwise:
            continue
        if largest_pairs(weight, axis).max() > PAIR:
            return False
    return True


def _weighted(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Nodes whose weights are quantized constants."""
    constant = {one.name for one in model.graph.initializer}
    made = {
        node.output[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in constant
    }
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul") and node.input[1] in made:
            yield node


def _channels(node: onnx.NodeProto) -> int:
    """The axis of its weight along which the output channels lie."""
    return 0 if node.op_type == "Conv" or _attribute(node, "transB", 0) else 1


def _is_depthwise(node: onnx.NodeProto, weight: NDArray[Any]) -> bool:
    """Whether each output channel reads one input channel, which none else reads."""
    if node.op_type != "Conv" or weight.shape[1] != 1:
        return False
    return bool(_attribute(node, "group", 1) == weight.shape[0] > 1)


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((one.i for one in node.attribute if one.name == name), default)


def _override(axis: int, scale: np.float32) -> dict[str, Any]:
    return {
        "axis": axis,
        "quant_type": QuantType.QInt8,
        "scale": np.asarray(scale),
        "zero_point": np.asarray(0, np.int8),
    }
