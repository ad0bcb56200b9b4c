"""Whether ONNX Runtime cuts sums of INT8 products off on the machine that runs this."""

from __future__ import annotations

import functools

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

_ACTIVATION, _WEIGHT = 255, 127


@functools.cache
def cuts_off() -> bool:
    """Two of the largest products, added up by the kernel that layers with INT8 weights use."""
    weights = np.full((2, 16), _WEIGHT, np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["sum"])],
        "pair",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [1, 2])],
        [helper.make_tensor_value_info("sum", TensorProto.INT32, [1, 16])],
        [numpy_helper.from_array(weights, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (sums,) = session.run(None, {"a": np.full((1, 2), _ACTIVATION, np.uint8)})
    return bool((sums != 2 * _ACTIVATION * _WEIGHT).any())
