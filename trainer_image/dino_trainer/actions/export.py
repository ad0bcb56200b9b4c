"""`dino export`: a checkpoint as an ONNX file that was compared with it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

import onnx

from dino_api.experiment import ExperimentSpec
from dino_api.names import GRAPH_FILE, ONNX_FILE, Action, FailureReason
from dino_api.result import ModelComparison, Result
from dino_trainer.detectors.onnx_detector import OnnxDetector, open_onnx
from dino_trainer.detectors.opening import open_model
from dino_trainer.detectors.torch_detector import TorchDetector
from dino_trainer.errors import TrainerError, invalid_spec
from dino_trainer.export.input_size import input_size
from dino_trainer.export.onnx_model import GraphForm, export_onnx
from dino_trainer.gates import onnx_gate
from dino_trainer.gates.compare import ComparisonSettings, compare_in_run
from dino_trainer.gates.publishing import publish_model, withdraw
from dino_trainer.gates.scoring import scoring
from dino_trainer.machine import devices
from dino_trainer.model import Dino
from dino_trainer.model_files.info import config_for
from dino_trainer.model_files.naming import file_at, model_uri, refuse_existing
from dino_trainer.run import RunContext
from dino_trainer.storage.byte_meter import human_bytes
from dino_trainer.storage.opening import open_store
from dino_trainer.storage.uris import split

_MADE = f"{ONNX_FILE}.unchecked"


def run(spec: ExperimentSpec, context: RunContext) -> Result:
    """Write, check, compare, publish.

    Raises:
        TrainerError: InvalidSpec for what cannot be exported so; GateFailed where ONNX Runtime does
            not find what torch finds: then the report alone is published, and the file of an
            earlier run is withdrawn.
    """
    devices.tune(spec.train.cudnn)
    refuse_existing("export.onnx_file", spec.export.onnx_file, ".onnx")
    reference = _reference(spec, context)
    path = context.output.dir / _MADE
    shown = onnx_gate.pictures(spec, reference.info, context)
    scored = scoring(spec, reference.info, shown.dataset, context)
    try:
        described = _write(reference, spec, context, path)
        candidate = open_onnx(path, file_at(path, context.output.uri(ONNX_FILE)))
        context.reporter.event(f"Comparing on {shown.description}.")
        config = config_for(candidate.info, spec, spec.export)
        settings = ComparisonSettings(shown.dataset, config, scored, onnx_gate.MAX_LOSS)
        comparison = compare_in_run(reference, candidate, settings, context)
        context.reporter.event(onnx_gate.summary(comparison))
        result = _reported(
            candidate, comparison, {**described, "comparedOn": shown.description}, context
        )
        if problems := onnx_gate.problems(comparison):
            withdraw((ONNX_FILE,), context)
            raise TrainerError(
                FailureReason.GATE_FAILED,
                f"The ONNX file is not published: {' '.join(problems)}",
                f"{GRAPH_FILE} has the comparison, on {shown.description}. Export with another "
                "export.opset_version or another size, or report it with the spec.",
                kept=result,
            )
        note = f"{onnx_gate.summary(comparison)}{shown.note}"
        done = publish_model(path, candidate.info.file, result, note, context)
        _copy(spec.export.onnx_file, context)
        return done
    finally:
        path.unlink(missing_ok=True)


def _reference(spec: ExperimentSpec, context: RunContext) -> TorchDetector:
    """The checkpoint, in float32 as it is exported, whatever it was trained in."""
    opened = open_model(model_uri(spec, Action.EXPORT), spec, context)
    if not isinstance(opened, TorchDetector):
        raise invalid_spec(
            f"{opened.info.file.uri} is no checkpoint but {opened.info.file.format}.",
            "Export takes the .pth file of a training.",
        )
    own = opened.info
    train = own.spec.train.model_copy(update={"precision": "fp32"})
    info = replace(
        own,
        spec=own.spec.model_copy(update={"train": train}),
        file=own.file.model_copy(update={"precision": "fp32"}),
    )
    return TorchDetector(opened.model, info)


def _write(
    reference: TorchDetector, spec: ExperimentSpec, context: RunContext, path: Path
) -> GraphSummary:
    """Makes the file; what it is, for the report."""
    section, info = spec.export, reference.info
    size = input_size(spec, info.spec)
    batch = None if section.batch_size < 1 else section.batch_size
    context.reporter.event(
        f"Exporting {info.file.uri} for {size[1]}x{size[0]} pixels and "
        f"{'any batch' if batch is None else f'batches of {batch}'}, operator set "
        f"{section.opset_version}{', end to end' if section.end_to_end else ''}."
    )
    if not info.spec.dataset.augmentation.fixed_size:
        context.reporter.event(
            f"Warning: images are resized to {size[1]}x{size[0]}, without keeping their aspect "
            "ratio as the validations of the training did: the mAP may differ from theirs."
        )
    model = reference.model
    assert isinstance(model, Dino)
    form = GraphForm(size, section.opset_version, batch, section.end_to_end)
    export_onnx(model, info, path, form)
    described = describe_graph(path)
    context.reporter.event(
        f"{ONNX_FILE}: {human_bytes(described['bytes'])}, {described['nodes']} nodes."
    )
    return described


class GraphSummary(TypedDict):
    """What an ONNX file is, for the report."""

    bytes: int
    opset: int
    nodes: int
    operators: dict[str, int]


def describe_graph(path: Path) -> GraphSummary:
    """Size, operator set and nodes of an ONNX file, in all and by operator."""
    proto = onnx.load(path)
    operators = Counter(node.op_type for node in proto.graph.node)
    return {
        "bytes": path.stat().st_size,
        "opset": proto.opset_import[0].version,
        "nodes": sum(operators.values()),
        "operators": dict(operators.most_common()),
    }


def _reported(
    candidate: OnnxDetector,
    comparison: ModelComparison,
    described: Mapping[str, object],
    context: RunContext,
) -> Result:
    """The report, published; a result that holds it."""
    content = {
        **described,
        "comparison": comparison.to_dict(),
        "problems": onnx_gate.problems(comparison),
    }
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    return Result(
        action=Action.EXPORT,
        spec_digest=context.digest,
        comparison=comparison,
        artifacts=[context.output.publish_text(GRAPH_FILE, text)],
    )


def _copy(uri: str, context: RunContext) -> None:
    """Also to where `export.onnx_file` says."""
    if not uri:
        return
    folder, name = split(uri)
    open_store(folder).upload(context.output.dir / ONNX_FILE, name)
    context.reporter.event(f"The file is also at {uri}.")
