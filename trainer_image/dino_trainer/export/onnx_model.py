"""Writing a detector as an ONNX file, and checking that it is one.

Through torch's dynamo exporter, whose graphs are a third of the legacy one's. Height and width are
fixed, the batch is open or fixed. The graph has standard operators only, no ``GridSample``, and
``TopK`` with a constant K: what runtimes and TensorRT agree on.
"""

from __future__ import annotations

import contextlib
import io
import logging
from ast import literal_eval
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import onnx
import onnx.checker
import torch
from onnxscript import ir
from onnxscript.optimizer import fold_constants, remove_unused_nodes
from torch import nn

from dino_trainer.errors import invalid_spec
from dino_trainer.export.graph import EndToEnd, Raw
from dino_trainer.export.opset import EXPORTED, lower
from dino_trainer.model import Dino
from dino_trainer.model_files.graph_metadata import END_TO_END_OUTPUTS, RAW_OUTPUTS, GraphMetadata
from dino_trainer.model_files.info import ModelInfo

PACKAGE = "dino-operator"
_LARGEST = 2**31 - 1  # bytes of a protobuf
_LARGE = 2**26  # bytes of a constant
_SCOPES = "pkg.torch.onnx.name_scopes"


@dataclass(frozen=True)
class GraphForm:
    """What an exported graph takes and gives.

    size: height and width of its input. opset: 17 or 18. batch: images at once; None leaves it
    open. end_to_end: False: normalised float32[b, 3, h, w] to pred_logits and pred_boxes. True:
    uint8[b, 3, h, w] to boxes, scores and labels; see `export.graph`.
    """

    size: tuple[int, int]
    opset: int
    batch: int | None
    end_to_end: bool


def export_onnx(model: Dino, info: ModelInfo, path: Path, form: GraphForm) -> None:
    """Write ``model`` to ``path``.

    Args:
        model: in evaluation mode, in float32.
        info: what is known of it; goes into the file's metadata.
        form: what the graph takes and gives.

    Raises:
        TrainerError: InvalidSpec for a size that the model cannot work with, or a model of more
            than 2 GB.
        onnx.checker.ValidationError: what was written is not ONNX.
    """
    device = next(model.parameters()).device
    size, batch, end_to_end = form.size, form.batch, form.end_to_end
    graph = _graph(model, info, size, end_to_end)
    kind = torch.uint8 if end_to_end else torch.float32
    # Of an open batch 2 images: torch takes one that is 1 for a constant.
    example = torch.zeros((batch or 2, 3, *size), dtype=kind, device=device)
    proto = _traced(graph, example, batch is None, end_to_end)
    if form.opset != EXPORTED:
        lower(proto)
    metadata = GraphMetadata(
        spec=info.spec,
        class_names=info.class_names,
        input_size=size,
        batch_size=batch,
        num_select=info.num_select,
        variant="end_to_end" if end_to_end else "raw",
        precision="fp32",
        checkpoint_sha256=info.file.sha256,
    )
    proto.producer_name, proto.producer_version = PACKAGE, version(PACKAGE)
    onnx.helper.set_model_props(proto, metadata.to_props())
    if proto.ByteSize() > _LARGEST:
        raise invalid_spec(
            f"The model takes {proto.ByteSize()} bytes, and an ONNX file holds 2 GB.",
            "Train a smaller backbone for export.",
        )
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString())


def _graph(model: Dino, info: ModelInfo, size: tuple[int, int], end_to_end: bool) -> nn.Module:
    try:
        if not end_to_end:
            return Raw(model, size).eval()
        augmentation = info.spec.dataset.augmentation
        return EndToEnd(
            model, size, augmentation.input_mean, augmentation.input_std, info.num_select
        ).eval()
    except ValueError as error:
        raise invalid_spec(
            f"The model cannot take images of {size[1]}x{size[0]} pixels: {error}",
            "Set export.input_width and export.input_height to larger sides.",
        ) from error


def _traced(
    graph: nn.Module, example: torch.Tensor, open_batch: bool, end_to_end: bool
) -> onnx.ModelProto:
    shapes = ({0: torch.export.Dim("batch")},) if open_batch else None
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            opset_version=EXPORTED,
            input_names=["inputs"],
            output_names=list(END_TO_END_OUTPUTS if end_to_end else RAW_OUTPUTS),
            dynamic_shapes=shapes,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    # The exporter's own limit leaves the tables of large inputs to be computed in every run.
    fold_constants(program.model, input_size_limit=_LARGE, output_size_limit=_LARGE)
    remove_unused_nodes(program.model)
    _name_nodes(program.model)
    return ir.to_proto(program.model)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its steps, and the optimiser what it leaves as it is."""
    logger = logging.getLogger("onnxscript")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _name_nodes(model: ir.Model) -> None:
    """Name nodes after the module they come from: ``encoder.layers.0.norm1/LayerNormalization``.

    Names of weights become those of the checkpoint. What the exporter notes for its developers
    (source files and lines) is left out.
    """
    graph = model.graph
    weights = list(graph.initializers.values())
    for value in weights:
        value.name = (value.name or "").removeprefix("model.")
    seen: Counter[str] = Counter()
    for node in graph:
        name = f"{_module_of(node)}/{node.op_type}"
        seen[name] += 1
        node.name = name if seen[name] == 1 else f"{name}_{seen[name]}"
        node.doc_string = None
    values = [value for node in graph for value in node.outputs]
    for noted in (model, graph, *graph, *graph.inputs, *weights, *values):
        noted.metadata_props.clear()


def _module_of(node: ir.Node) -> str:
    """That of its parameters, else the innermost one whose forward pass made it."""
    for value in node.inputs:
        name = value.name if value is not None else None
        if name and name.endswith((".weight", ".bias")):
            return name.rpartition(".")[0]
    scopes = literal_eval(node.metadata_props.get(_SCOPES, "[]"))[:-1]
    modules = [scope.removeprefix("model.") for scope in scopes if scope.startswith("model.")]
    return modules[-1] if modules else "dino"
