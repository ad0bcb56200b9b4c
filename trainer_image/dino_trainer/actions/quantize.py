"""`dino quantize`: an ONNX file in INT8, measured against the one that it was made from."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from dino_api.experiment import DatasetConfig, ExperimentSpec
from dino_api.names import QUANTIZED_FILE, Action, FailureReason
from dino_api.result import Comparison, ModelFile, Result
from dino_trainer.byte_meter import human_bytes
from dino_trainer.data.coco import CocoDataset
from dino_trainer.detectors import config_for, file_at, format_of, model_uri, open_model
from dino_trainer.detectors.compare import compare
from dino_trainer.detectors.onnx_detector import OnnxDetector, open_onnx
from dino_trainer.errors import TrainerError, invalid_spec
from dino_trainer.evaluation.pace import Pace
from dino_trainer.quantize import Quantized, quantize_onnx
from dino_trainer.quantize.calibration import check_count, prepared, spread
from dino_trainer.quantize.page import page
from dino_trainer.run import RunContext
from dino_trainer.storage import replacing
from dino_trainer.train import machine
from dino_trainer.train.inputs import read_split

REPORT = "report.html"
_MADE = f"{QUANTIZED_FILE}.unchecked"
_CALIBRATION, _TEST = "quant_calibration_data_sources", "test_data_sources"


@dataclass(frozen=True)
class Scene:
    """The file that was given, and the images. tested: what both files are compared on."""

    reference: OnnxDetector
    config: DatasetConfig
    calibration: CocoDataset
    tested: CocoDataset
    said: str


def run(spec: ExperimentSpec, context: RunContext) -> Result:
    """Take ranges, quantize, compare, publish.

    Raises:
        TrainerError: InvalidSpec for a file that cannot be quantized; InvalidDataset for too few
            images; GateFailed where more mAP is lost than `quantize.gate.maxLoss`: then the report
            alone is published.
    """
    machine.tune_cpu()
    scene = prepare(spec, context)
    made = context.output.dir / _MADE
    try:
        done = make(scene, spec, context, made)
        candidate = open_onnx(made, file_at(made, context.output.uri(QUANTIZED_FILE)))
        found = measure(scene, candidate, spec, context)
        problem = gate(found)
        verdict = problem or summary(found)
        context.reporter.event(verdict)
        result = reported(page(verdict, not problem, found, done, scene.said), found, context)
        if problem:
            raise TrainerError(FailureReason.GATE_FAILED, problem, _remedy(found), kept=result)
        return published(made, result, verdict, context)
    finally:
        made.unlink(missing_ok=True)


def prepare(spec: ExperimentSpec, context: RunContext) -> Scene:
    """Reads the file and the data, and says what is doubtful about them."""
    uri = model_uri(spec, Action.QUANTIZE)
    if format_of(uri) != "onnx":
        raise invalid_spec(
            f"{uri} is no ONNX file but {format_of(uri)}.",
            "Export it first: `dino export`, or a DinoJob of action export between the two.",
        )
    reference = open_model(uri, spec, context)
    assert isinstance(reference, OnnxDetector)
    if reference.info.file.precision != "fp32":
        raise invalid_spec(
            f"{uri} is in {reference.info.file.precision}, and fp32 is quantized.",
            "Name the file that `dino export` made.",
        )
    whole = read_split(spec.dataset.quant_calibration_data_sources, _CALIBRATION, context)
    calibration = spread(whole)
    if warning := check_count(len(calibration.images)):
        context.reporter.event(warning)
    tested, said = _tested(calibration, spec, context)
    config = config_for(reference.info, spec, spec.quantize)
    return Scene(reference, config, calibration, tested, said)


def _tested(
    calibration: CocoDataset, spec: ExperimentSpec, context: RunContext
) -> tuple[CocoDataset, str]:
    sources = spec.dataset.test_data_sources
    if sources:
        tested = read_split(sources, _TEST, context)
        return tested, f"all {len(tested.images)} images of dataset.{_TEST}"
    context.reporter.event(
        f"Warning: dataset.{_TEST} is not set, so the loss is measured on the calibration images. "
        "That flatters it: the ranges were made for them."
    )
    return calibration, f"the {len(calibration.images)} calibration images, for want of test data"


def make(scene: Scene, spec: ExperimentSpec, context: RunContext, into: Path) -> Quantized:
    """Writes the quantized file, which nobody has looked at yet."""
    section, info = spec.quantize, scene.reference.info
    count = len(scene.calibration.images)
    context.reporter.event(f"Taking ranges from {count} images ({section.algorithm}).")
    images = prepared(
        scene.reference,
        scene.calibration,
        scene.config,
        context.stop,
        Pace(context.reporter.progress),
    )
    done = quantize_onnx(
        scene.reference.path,
        into,
        images,
        section.algorithm,
        section.skip_names,
        for_cpu=section.device == "cpu",
        where=info.file.uri,
    )
    size = human_bytes(into.stat().st_size)
    context.reporter.event(
        f"{len(done.chosen.layers)} layers compute in INT8; the file is {size}, "
        f"{human_bytes(info.file.bytes or 0)} before."
    )
    return done


def measure(
    scene: Scene, candidate: OnnxDetector, spec: ExperimentSpec, context: RunContext
) -> Comparison:
    """Both files on the same images."""
    context.reporter.event(f"Comparing on {scene.said}.")
    return compare(
        scene.reference,
        candidate,
        scene.tested,
        scene.config,
        max_loss=spec.quantize.gate.maxLoss,
        stop=context.stop,
        progress=Pace(context.reporter.progress),
    )


def gate(found: Comparison) -> str:
    """Why the file must not be published, empty where it may."""
    if found.loss is None or found.max_loss is None or found.loss <= found.max_loss:
        return ""
    return (
        f"The INT8 file is not published: its mAP is {found.candidate.mAP:.4f}, that of the file "
        f"that was given {found.reference.mAP:.4f}, and quantize.gate.maxLoss allows a loss of "
        f"{found.max_loss:g}."
    )


def _remedy(found: Comparison) -> str:
    return (
        f"{REPORT} has the comparison. Give more calibration images that look like the test data, "
        "set quantize.algorithm: entropy, keep layers in floating point by quantize.skip_names "
        f"(backbone.* first), or raise quantize.gate.maxLoss above {found.loss:.4f}."
    )


def summary(found: Comparison) -> str:
    """What it costs and what it gains, in a sentence or two."""
    pair = found.reference, found.candidate
    said = [f"FP32 and INT8 on {found.images} images"]
    if pair[0].mAP is not None and pair[1].mAP is not None:
        said.append(f"mAP {pair[0].mAP:.4f} and {pair[1].mAP:.4f}")
    times = pair[0].latency_ms, pair[1].latency_ms
    if times[0] is None or times[1] is None:
        return f"{': '.join(said)}."
    said.append(f"{times[0]:.1f} and {times[1]:.1f} ms for one image")
    text = f"{said[0]}: {', '.join(said[1:])}."
    if times[1] < times[0]:
        return text
    return (
        f"{text} INT8 is not faster here; for CPUs set quantize.device: cpu, and measure on the "
        "device that it is for."
    )


def reported(html: str, found: Comparison, context: RunContext) -> Result:
    """The report, published; a result that holds it."""
    with replacing(context.output.dir / REPORT) as aside:
        aside.write_text(html, encoding="utf-8", errors="backslashreplace")
    return Result(
        action=Action.QUANTIZE,
        spec_digest=context.digest,
        comparison=found,
        artifacts=[context.output.publish(REPORT).artifact(REPORT)],
    )


def published(made: Path, result: Result, verdict: str, context: RunContext) -> Result:
    """The file at its final place, as the model that a later job goes on from."""
    os.replace(made, context.output.dir / QUANTIZED_FILE)
    artifact = context.output.publish(QUANTIZED_FILE).artifact(QUANTIZED_FILE)
    model = ModelFile(
        uri=artifact.uri,
        format="onnx",
        precision="int8",
        sha256=artifact.sha256,
        bytes=artifact.bytes,
    )
    artifacts = [artifact, *result.artifacts]
    return result.model_copy(update={"model": model, "note": verdict, "artifacts": artifacts})
