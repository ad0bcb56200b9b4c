"""Static quantization: weights as INT8 with a scale for each channel, ranges of activations known.

The result is an ONNX file with QuantizeLinear and DequantizeLinear around what computes in INT8,
which ONNX Runtime and TensorRT both fuse. Activations are INT8 and symmetric around zero, as
TensorRT needs them. A file for CPUs has them as UINT8 with a zero point instead: ONNX Runtime then
needs no ReLU, and x86's vector units multiply just that, which makes it half as fast again. Its
weights have headroom (`headroom.py`): every CPU computes the same. Of the other file a GPU and
TensorRT do; ONNX Runtime on x86 without VNNI has to be asked (`model_files/graph_metadata.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx.checker
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from dino_api.formats import INT8
from dino_api.names import FailureReason
from dino_trainer.errors import TrainerError, invalid_spec
from dino_trainer.model_files.graph_metadata import HEADROOM, KEY_PREFIX, NOTE
from dino_trainer.quantize import headroom
from dino_trainer.quantize.layers import NodeSelection, choose_layers
from dino_trainer.quantize.library_warnings import quiet
from dino_trainer.quantize.ranges import finite, ranges_of
from dino_trainer.storage.files import named, replacing, sha256_of

_TYPES = ("Conv", "Gemm", "MatMul", "Relu", "Clip")


@dataclass(frozen=True)
class QuantizationResult:
    """What was done. images: that ranges were taken from."""

    chosen: NodeSelection
    images: int
    algorithm: str
    for_cpu: bool

    def note(self, source_sha256: str) -> dict[str, object]:
        """What the file says about it, besides the metadata of every file."""
        return {
            "algorithm": self.algorithm,
            "images": self.images,
            "layers": len(self.chosen.layers),
            "skipped": list(self.chosen.skipped),
            "early": list(self.chosen.early),
            "activations": "uint8" if self.for_cpu else INT8,
            HEADROOM: self.for_cpu,
            "source_sha256": source_sha256,
        }


@dataclass(frozen=True)
class QuantizationOptions:
    """How to quantize.

    algorithm: minmax or entropy. skip_names: patterns over names of nodes that stay in float32,
    too. for_cpu: UINT8 activations, which TensorRT does not take, and weights with headroom.
    """

    algorithm: str = "minmax"
    skip_names: Sequence[str] = ()
    for_cpu: bool = False


DEFAULTS = QuantizationOptions()


def quantize_onnx(
    onnx_path: Path,
    out_path: Path,
    images: Iterable[NDArray[Any]],
    options: QuantizationOptions = DEFAULTS,
    where: str = "",
) -> QuantizationResult:
    """Writes the quantized form of one ONNX file to another; one batch of images is held at a time.

    Args:
        onnx_path: a file of `dino export`, in float32. Its metadata is kept, with precision int8.
        out_path: appears only when it is whole.
        images: inputs of the graph, [b, 3, h, w], prepared as for an evaluation; read once.
        options: how.
        where: what messages call the file; its path if left out.

    Raises:
        TrainerError: InvalidSpec for a file that is quantized already or has none of a detector's
            layers, and for skip_names that fit nothing; InvalidDataset without images; Diverged
            for values that are no numbers.
    """
    where = where or str(onnx_path)
    with named(onnx_path):
        model = onnx.shape_inference.infer_shapes(onnx.load(onnx_path))
    refuse_quantized(model, where)
    chosen = choose_layers(model, options.skip_names, where)
    ranges, count = ranges_of(model, _tensors(model, chosen), images, options.algorithm)
    if not finite(ranges):
        raise TrainerError(
            FailureReason.DIVERGED,
            f"Layers of {where} take values that are not numbers (NaN).",
            "Take a checkpoint from before its training diverged.",
        )
    done = QuantizationResult(chosen, count, options.algorithm, options.for_cpu)
    made = _with_nodes(model, chosen, ranges, options.for_cpu)
    _describe(made, model, done.note(sha256_of(onnx_path)))
    onnx.checker.check_model(made)
    with replacing(out_path) as aside:
        onnx.save(made, aside)
    return done


def refuse_quantized(model: onnx.ModelProto, where: str) -> None:
    """Raises InvalidSpec for a file with nodes that quantize."""
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        raise invalid_spec(
            f"{where} is quantized already.", "Name the file that `dino export` made."
        )


def _tensors(model: onnx.ModelProto, chosen: NodeSelection) -> set[str]:
    """What the chosen nodes read and write; weights are among them and do no harm."""
    names = set(chosen.all)
    nodes = [node for node in model.graph.node if node.name in names]
    return {name for node in nodes for name in (*node.input, *node.output)}


def _with_nodes(
    model: onnx.ModelProto, chosen: NodeSelection, ranges: TensorsData, for_cpu: bool
) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    options = {
        "ActivationSymmetric": not for_cpu,
        "WeightSymmetric": True,
        "QDQOpTypePerChannelSupportToAxis": {"MatMul": 1},
        "TensorQuantOverrides": headroom.scales(model, chosen.layers) if for_cpu else {},
    }
    activations = QuantType.QUInt8 if for_cpu else QuantType.QInt8
    with quiet():
        quantizer = QDQQuantizer(
            copy,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=activations,
            tensors_range=ranges,
            nodes_to_quantize=chosen.all,
            nodes_to_exclude=[],
            op_types_to_quantize=list(_TYPES),
            extra_options=options,
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    made = quantizer.model.model
    assert isinstance(made, onnx.ModelProto)
    return made


def _describe(made: onnx.ModelProto, source: onnx.ModelProto, note: dict[str, object]) -> None:
    """The source's metadata, as far as it is still true."""
    props = {one.key: one.value for one in source.metadata_props if one.key.startswith(KEY_PREFIX)}
    props |= {f"{KEY_PREFIX}precision": json.dumps(INT8), NOTE: json.dumps(note)}
    del made.metadata_props[:]
    onnx.helper.set_model_props(made, props)
    made.producer_name, made.producer_version = source.producer_name, source.producer_version
    made.graph.ClearField("value_info")  # half of them are of tensors that are gone
