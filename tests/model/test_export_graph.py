"""What export changes in the model: geometry as constants, and a lower operator set."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from dino_trainer.errors import TrainerError
from dino_trainer.export.opset import lower
from tests.model.small import a_detector


def test_geometry_that_was_computed_before_changes_nothing() -> None:
    model = a_detector().eval()
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        ours = model(images, tokens=model.locate(64, 96))
        padded = model(images, torch.zeros(2, 64, 96, dtype=torch.bool))
        theirs = model(images)
    for name in ("logits", "boxes"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name))
        torch.testing.assert_close(getattr(padded, name), getattr(theirs, name))


def test_a_size_with_too_few_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match=r"fewer than model.num_queries = 100"):
        a_detector(num_queries=100).locate(32, 32)


def a_graph(*nodes: onnx.NodeProto, outputs: dict[str, list[int]]) -> onnx.ModelProto:
    """A graph of operator set 18 on x float[2, 6], with the axes [1] as a constant."""
    kind = TensorProto.FLOAT
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("x", kind, [2, 6])],
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in outputs.items()],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def results(proto: onnx.ModelProto) -> list[np.ndarray]:
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    return session.run(None, {"x": np.arange(12, dtype=np.float32).reshape(2, 6)})


def test_the_lower_operator_set_computes_the_same() -> None:
    proto = a_graph(
        helper.make_node("ReduceMean", ["x", "axes"], ["a"], keepdims=0, noop_with_empty_axes=0),
        helper.make_node("ReduceMax", ["x"], ["b"]),
        helper.make_node("Split", ["x"], ["c", "d"], axis=1, num_outputs=2),
        outputs={"a": [2], "b": [1, 1], "c": [2, 3], "d": [2, 3]},
    )
    before = results(proto)
    lower(proto)
    assert proto.opset_import[0].version == 17
    after = results(proto)
    assert [one.shape for one in after] == [(2,), (1, 1), (2, 3), (2, 3)]
    for ours, theirs in zip(after, before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("ReduceMax", ["x"], ["y"], noop_with_empty_axes=1),
        helper.make_node("ReduceMax", ["x", "computed"], ["y"]),
        helper.make_node("Mish", ["x"], ["y"]),
    ],
    ids=["no axes", "computed axes", "new"],
)
def test_what_the_lower_one_cannot_say_is_refused(node: onnx.NodeProto) -> None:
    with pytest.raises(TrainerError, match=rf"needs {node.op_type} as in operator set 18") as error:
        lower(a_graph(node, outputs={"y": [2, 6]}))
    assert "export.opset_version: 18" in error.value.remedy
