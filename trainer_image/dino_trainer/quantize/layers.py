"""Which nodes of an exported detector compute in INT8.

Nodes are named after the module of the detector that they come from: `input_proj.0.0/Conv`. A list
of what may be quantized decides, not one of what must not: a part that nobody thought of stays in
float32.

Quantized: convolutions and linear layers of the backbone, `input_proj`, the value and output
projections of deformable attention, and the feed-forward layers. They hold most of the arithmetic.

Never: sampling offsets and attention weights (a step of an offset is a step in the image), the
heads, the two-stage proposals, the MLP of the reference points, self-attention, normalisation,
softmax, the sine embedding, and sampling itself. Their values are positions, or spread over powers
of ten.

Nor the backbone's first layers, whose maps are higher than a quarter of the image: all others
build on their error. On BCCD, with an EfficientNet-Lite, these are 4 of 67. Where they are
quantized, 22 to 24 % of the detections are not found again at IoU 0.9, else 18 to 19 %. They cost
an image 2 ms on a CPU, of the 17 that UINT8 activations save.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import onnx

from dino_trainer.errors import invalid_spec
from dino_trainer.quantize.skipping import skipped_by

_WEIGHTED = ("Conv", "Gemm", "MatMul")
_ACTIVATIONS = ("Relu", "Clip")
# Maps of more than this share of the image's height are those of the first layers.
_EARLY = 0.3
_ALLOWED = re.compile(
    r"^(backbone|input_proj)\."
    r"|^(encoder|decoder)\.layers\.\d+\.(attention|cross_attention)\.(value_proj|output_proj)$"
    r"|^(encoder|decoder)\.layers\.\d+\.feed_forward\.linear[12]$"
)


@dataclass(frozen=True)
class NodeSelection:
    """Nodes by name. layers: those with weights. activations: those between two of them.

    skipped: layers that a pattern of the user keeps in float32. early: the backbone's first ones,
    which stay so, too.
    """

    layers: tuple[str, ...]
    activations: tuple[str, ...]
    skipped: tuple[str, ...]
    early: tuple[str, ...]

    @property
    def all(self) -> list[str]:
        """Every node that gets quantized inputs and outputs."""
        return [*self.layers, *self.activations]


def choose_layers(model: onnx.ModelProto, skip_names: Sequence[str], where: str) -> NodeSelection:
    """The nodes to quantize.

    model: with inferred shapes; where a height is not known, no layer counts as early.
    skip_names: patterns (* and ?) over node names, or over the modules that they come from.
    where: what messages call the file. Raises InvalidSpec for a pattern that fits no node that
    would be quantized, and where nothing is left.
    """
    able = list(_able(model))
    skipped = skipped_by(skip_names, [node.name for node in able], where, fits)
    early = _early(model, able) - skipped
    layers = [node for node in able if node.name not in skipped | early]
    if not layers:
        raise invalid_spec(
            f"{where} has no layer left to quantize.",
            "Name a file that `dino export` made, and fewer quantize.skip_names.",
        )
    return NodeSelection(
        tuple(node.name for node in layers),
        tuple(node.name for node in _between(model, layers)),
        tuple(sorted(skipped)),
        tuple(node.name for node in able if node.name in early),
    )


def fits(name: str, pattern: str) -> bool:
    """Whether a pattern is meant for a node: `backbone.*`, `*/Gemm`, `encoder.layers.0.*`."""
    return fnmatchcase(name, pattern) or fnmatchcase(module_of(name), pattern)


def module_of(name: str) -> str:
    """The module of a node: `input_proj.0.0` of `input_proj.0.0/Conv_2`."""
    return name.rpartition("/")[0]


def _able(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Nodes with constant weights, of the parts that bear it."""
    constant = {one.name for one in model.graph.initializer}
    for node in model.graph.node:
        weighted = node.op_type in _WEIGHTED and node.input[1] in constant
        if weighted and _ALLOWED.search(module_of(node.name)):
            yield node


def _early(model: onnx.ModelProto, able: Sequence[onnx.NodeProto]) -> set[str]:
    """Convolutions of the backbone whose maps are nearly as high as the image."""
    heights = {one.name: _height(one) for one in (*model.graph.input, *model.graph.value_info)}
    least = _EARLY * (heights[model.graph.input[0].name] if model.graph.input else 0)
    return {
        node.name
        for node in able
        if node.op_type == "Conv"
        and module_of(node.name).startswith("backbone.")
        and heights.get(node.output[0], 0) > least
    }


def _height(value: onnx.ValueInfoProto) -> int:
    """Of an image or a map [b, c, h, w]; 0 where it is none, or its height is not known."""
    shape = value.type.tensor_type.shape.dim
    return int(shape[2].dim_value) if len(shape) == 4 else 0


def _between(model: onnx.ModelProto, layers: Sequence[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Activations of a layer: their outputs, which are half as wide, are what the next one reads.

    Without them the detector on BCCD loses 0.03 of its mAP, with them nothing.
    """
    made = {node.output[0] for node in layers}
    for node in model.graph.node:
        if node.op_type in _ACTIVATIONS and node.input[0] in made:
            yield node
