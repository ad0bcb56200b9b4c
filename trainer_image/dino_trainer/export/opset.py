"""From operator set 18, which torch writes, to 17, which is TAO's default.

onnx's own converter has no way down for ``Split``. Few operators changed between the two; one
that did and is not known here is refused, so that no graph is half converted.
"""

from __future__ import annotations

import onnx
from onnx import numpy_helper

from dino_trainer.errors import invalid_spec

EXPORTED, LOWER = 18, 17


def lower(proto: onnx.ModelProto) -> None:
    """Turn a graph of operator set 18 into one of 17, in place.

    ``Split`` loses the number of its outputs, which it has anyway. The axes of reductions, an
    input in 18, become an attribute. ``Pad`` stays as it is where it names no axes.

    Raises:
        TrainerError: InvalidSpec naming the operators that cannot be expressed.
    """
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    odd = {
        node.op_type
        for node in proto.graph.node
        if _changed(node) and not _lowered(node, constants)
    }
    if odd:
        raise invalid_spec(
            f"The model needs {', '.join(sorted(odd))} as in operator set 18; 17 has no such form.",
            "Set export.opset_version: 18.",
        )
    for imported in proto.opset_import:
        if imported.domain == "":
            imported.version = LOWER


def _changed(node: onnx.NodeProto) -> bool:
    schema = onnx.defs.get_schema(node.op_type, EXPORTED, node.domain)
    return not node.domain and schema.since_version == EXPORTED


def _lowered(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    """Whether the node is now one of 17."""
    if node.op_type == "Split":
        kept = [a for a in node.attribute if a.name != "num_outputs"]
        del node.attribute[:]
        node.attribute.extend(kept)
        return True
    if node.op_type.startswith("Reduce"):
        return _axes_as_attribute(node, constants)
    return node.op_type == "Pad" and len(node.input) < 4


def _axes_as_attribute(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    """Axes that are not constant, or none that mean none, have no such form."""
    kept = [a for a in node.attribute if a.name != "noop_with_empty_axes"]
    empty_is_none = any(a.i for a in node.attribute if a.name == "noop_with_empty_axes")
    if len(node.input) == 2:
        if node.input[1] not in constants:
            return False
        axes = numpy_helper.to_array(constants[node.input.pop()]).tolist()
        kept.append(onnx.helper.make_attribute("axes", axes))
    elif empty_is_none:
        return False
    del node.attribute[:]
    node.attribute.extend(kept)
    return True
