"""The ONNX parser of the double; see the package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from tests.tensorrt.binding import Bound, check_logger


@dataclass(frozen=True)
class ParserError:
    """What could not be read, and where."""

    _name: str
    _operator: str
    _text: str

    def node_name(self) -> str:
        return self._name

    def node_operator(self) -> str:
        return self._operator

    def desc(self) -> str:
        return self._text


class OnnxParser(Bound):
    """Takes what ONNX's strict checker takes, less what TensorRT is known to refuse."""

    real = "OnnxParser"

    def __init__(self, network: Any, logger: Any) -> None:
        check_logger(self.module, logger)
        self._network, self._errors = network, list[ParserError]()

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def parse(self, model: bytes) -> bool:
        parsed = onnx.load_from_string(model)
        self._errors = unreadable(parsed)
        if self._network._model is not None:
            self._errors.append(ParserError("", "", "the network is not empty"))
        if not self._errors:
            self._network._model = parsed
            self._network.name = parsed.graph.name
        return not self._errors


def unreadable(model: onnx.ModelProto) -> list[ParserError]:
    """What TensorRT's parser does not take."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        return [ParserError("", "", f"types do not agree: {str(error).splitlines()[0]}")]
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    found = [
        ParserError(node.name, node.op_type, why)
        for node in model.graph.node
        if (why := _why_not(node, constants))
    ]
    values = (*model.graph.input, *model.graph.value_info)
    wide = [one for one in values if one.type.tensor_type.elem_type == TensorProto.DOUBLE]
    return found + [ParserError(one.name, "", "float64 is not supported") for one in wide]


def _why_not(node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> str:
    if node.domain not in ("", "ai.onnx"):
        return f"No importer registered for op: {node.op_type} of {node.domain}"
    if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
        return ""
    data = constants.get(node.input[0])
    if data is not None and data.dtype == np.int32:
        return "only activation types allowed as input to this layer"
    zero = constants.get(node.input[2]) if len(node.input) > 2 else None
    if zero is None or zero.dtype != np.int8 or zero.any():
        return "TRT only supports symmetric quantization of int8: zero points must be zero"
    return ""
