#!/bin/sh
# onnxruntime 1.32.0 (onnx 1.23.2, numpy 2.4.6), x86-64, with VNNI or without.
#
# The session option session.x64quantprecision=1 ("slower U8U8 matrix multiplications", against the 16-bit saturation of
# U8S8 without VNNI) makes a valid model fail to load: a QLinearConv of INT8 activations and INT8 weights, which runs
# without it. The weights become UINT8, the activations stay, and there is no such kernel. Weights within [-64, 64] are
# left alone, and the model loads. Q/DQ models are not hit: their activations were made UINT8 before.
#
# Seen:
#   weights 127, without the option: runs
#   weights 127, with it: [ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Failed to find kernel for com.microsoft.QLinearConv(1)
#   weights 64, with it: runs
#
# Fails where that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T, helper as h, numpy_helper as n


def model(weight):
    stored = {"w": np.full((3, 3, 1, 1), weight, np.int8), "one": np.float32(1), "zero": np.int8(0)}
    values = [n.from_array(np.asarray(value), name) for name, value in stored.items()]
    names = ["x", "one", "zero", "w", "one", "zero", "one", "zero"]
    sides = [h.make_tensor_value_info(name, T.INT8, [1, 3, 4, 4]) for name in "xy"]
    graph = h.make_graph([h.make_node("QLinearConv", names, ["y"])], "g", sides[:1], sides[1:], values)
    made = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()


def outcome(weight, precise):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if precise:
        options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        session = ort.InferenceSession(model(weight), options, providers=["CPUExecutionProvider"])
        session.run(None, {"x": np.ones((1, 3, 4, 4), np.int8)})
        said = "runs"
    except Exception as error:
        said = str(error).partition(" (node")[0]
    print(f"weights {weight}, {'with it' if precise else 'without the option'}: {said}")
    return said


full, refused, narrow = outcome(127, False), outcome(127, True), outcome(64, True)
assert (full, narrow) == ("runs", "runs")
assert "Failed to find kernel for com.microsoft.QLinearConv" in refused
PYTHON
