"""`dino gen_trt_engine`: an ONNX file as a TensorRT engine that was compared with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from onnxscript import ir

from dino_api.experiment import ExperimentSpec
from dino_api.names import COMPARISON_FILE, ENGINE_FILE, Action, FailureReason
from dino_api.result import ModelComparison, ModelFile, Progress, Result
from dino_trainer.data.coco import CocoDataset
from dino_trainer.detectors.engine_detector import EngineDetector, as_detector
from dino_trainer.detectors.onnx_detector import OnnxDetector
from dino_trainer.detectors.opening import open_model
from dino_trainer.errors import TrainerError, invalid_spec
from dino_trainer.gates import engine_gate
from dino_trainer.gates.compare import ComparisonSettings, compare_in_run
from dino_trainer.gates.publishing import publish_model, withdraw
from dino_trainer.gates.scoring import scoring
from dino_trainer.model_files.info import config_for
from dino_trainer.model_files.naming import (
    ENGINE_METADATA_SUFFIX,
    model_format,
    model_uri,
    refuse_existing,
)
from dino_trainer.quantize.engine_calibration import quantized
from dino_trainer.run import RunContext
from dino_trainer.storage.byte_meter import human_bytes
from dino_trainer.storage.files import sha256_of
from dino_trainer.storage.opening import open_store
from dino_trainer.storage.uris import split
from dino_trainer.tensorrt import build, gpu, latency, python_api
from dino_trainer.tensorrt.engine_metadata import EngineMetadata, OnnxSource
from dino_trainer.tensorrt.gpu import EngineGpu
from dino_trainer.tensorrt.precision import is_quantized
from dino_trainer.tensorrt.python_api import Engine
from dino_trainer.tensorrt.timing_cache import TimingCacheFile

DESCRIPTION = f"{ENGINE_FILE}{ENGINE_METADATA_SUFFIX}"
_REMEDIES = {
    "FP32": "Use an image with another TensorRT version: this one computes something else.",
    "FP16": "Set gen_trt_engine.tensorrt.data_type: FP32.",
    "INT8": "Set gen_trt_engine.tensorrt.data_type: FP16, or calibrate on more images.",
}
_UNCHECKED = f"{ENGINE_FILE}.unchecked"


@dataclass(frozen=True)
class EngineTarget:
    """What an engine is built for: it runs nowhere else."""

    gpu: EngineGpu
    tensorrt: str


@dataclass(frozen=True)
class BuiltEngine:
    """An engine that is not published yet."""

    path: Path
    described: EngineMetadata
    detector: EngineDetector


def run(spec: ExperimentSpec, context: RunContext) -> Result:
    """Lower or quantize the graph, build, compare, measure, publish.

    Raises:
        TrainerError: NoTensorRT and NoGPU before anything is fetched; InvalidSpec for what TensorRT
            cannot build so; GateFailed where the engine does not find what ONNX Runtime finds: then
            the comparison alone is published, and the engine of an earlier run is withdrawn.
    """
    version = python_api.load().__version__
    target = EngineTarget(gpu.first_gpu(), version)
    copy = spec.gen_trt_engine.trt_engine
    refuse_existing("gen_trt_engine.trt_engine", copy, ".engine")
    reference = _reference(spec, context)
    # A build takes minutes: what is missing is said before.
    shown = engine_gate.pictures(spec, context)
    scored = scoring(spec, reference.info, shown.dataset, context)
    limits = engine_gate.LIMITS[spec.gen_trt_engine.tensorrt.data_type]
    config = config_for(reference.info, spec, None)
    settings = ComparisonSettings(shown.dataset, config, scored, limits.max_loss)
    context.reporter.event(
        f"Building {ENGINE_FILE} from {reference.info.file.uri} with TensorRT {version} for "
        f"{target.gpu.name}, {spec.gen_trt_engine.tensorrt.data_type}."
    )
    unchecked = context.output.dir / _UNCHECKED
    try:
        # Without test data that is what the gate has read.
        calibration = None if spec.dataset.test_data_sources else shown.dataset
        made = _make(spec, context, reference, target, unchecked, calibration)
        context.reporter.event(f"Comparing with ONNX Runtime on {shown.description}.")
        comparison = compare_in_run(reference, made.detector, settings, context)
        context.reporter.event(engine_gate.summary(comparison))
        if problems := engine_gate.problems(comparison, spec.gen_trt_engine.tensorrt.data_type):
            withdraw((ENGINE_FILE, DESCRIPTION), context)
            raise _failed(comparison, shown.description, problems, spec, context)
        return _published(made, comparison, shown.note, spec, context)
    finally:
        unchecked.unlink(missing_ok=True)


def _reference(spec: ExperimentSpec, context: RunContext) -> OnnxDetector:
    """The ONNX file as a detector."""
    uri = model_uri(spec, Action.GEN_TRT_ENGINE)
    if model_format(uri) != "onnx":
        raise invalid_spec(
            f"{uri} is no ONNX file but {model_format(uri)}.",
            "Export it first: `dino export`, or a DinoJob of action export between the two.",
        )
    detector = open_model(uri, spec, context)
    assert isinstance(detector, OnnxDetector)
    return detector


def _make(
    spec: ExperimentSpec,
    context: RunContext,
    reference: OnnxDetector,
    target: EngineTarget,
    into: Path,
    calibration: CocoDataset | None,
) -> BuiltEngine:
    """Builds the engine as the file `into`, and loads it. calibration: as of `quantized`."""
    config, info, here = spec.gen_trt_engine.tensorrt, reference.info, target.gpu
    graph = ir.load(reference.path)
    build.check_precision(graph, config.data_type, info.file.uri)
    batches = build.batches_for(config, info.batch_size, info.file.uri)
    profile = build.profile_of(graph, batches, info.file.uri)
    if config.data_type == "INT8" and not is_quantized(graph):
        graph = quantized(reference, spec, context, calibration)
    props = dict(graph.metadata_props)
    context.reporter.event(build.lowered(graph, config.data_type))
    described = EngineMetadata(
        precision=config.data_type.lower(),
        tensorrt=target.tensorrt,
        gpu=here.name,
        capability=here.capability,
        memory=here.memory,
        driver=here.driver,
        cuda=here.cuda,
        onnx=OnnxSource(info.file.uri, info.file.sha256, info.file.precision),
        batch=batches.all,
        workspace=config.workspace_size << 20,
        props=props,
    )
    plan = _build(graph, described, profile, spec, context)
    into.write_bytes(plan)
    file = ModelFile(
        uri=context.output.uri(ENGINE_FILE),
        format="engine",
        sha256=sha256_of(into),
        bytes=len(plan),
    )
    engine = Engine(plan, context.reporter.event)
    context.reporter.event(f"{ENGINE_FILE}: {human_bytes(len(plan))}, {engine.layers} layers.")
    return BuiltEngine(into, described, as_detector(engine, described, file, here.device))


def _build(
    graph: ir.Model,
    described: EngineMetadata,
    profile: dict[str, python_api.InputShapes],
    spec: ExperimentSpec,
    context: RunContext,
) -> bytes:
    """The serialized engine. What was measured on the way is kept even if it is stopped."""
    section, reporter = spec.gen_trt_engine, context.reporter
    cache = TimingCacheFile(section.timing_cache, context.output)

    def progress(percent: int) -> bool:
        reporter.progress(Progress(percent=percent))
        return not context.stop.is_set()

    request = python_api.Request(
        onnx=ir.to_proto(graph).SerializeToString(),
        name=described.name,
        profiles=profile,
        workspace=described.workspace,
        timing=cache.read(),
    )
    built = build.run(request, progress, reporter.event, section.verbose)
    cache.write(built.timing)
    if built.plan is None:
        raise TrainerError(
            FailureReason.PREEMPTED,
            "Stopped on request while TensorRT built the engine.",
            "Run again, it goes on with the tactics measured so far.",
        )
    return built.plan


def _failed(
    comparison: ModelComparison,
    compared_on: str,
    problems: list[str],
    spec: ExperimentSpec,
    context: RunContext,
) -> TrainerError:
    """The gate that failed; the comparison is published."""
    content = {"comparison": comparison.to_dict(), "comparedOn": compared_on, "problems": problems}
    artifact = context.output.publish_text(COMPARISON_FILE, json.dumps(content, indent=2) + "\n")
    return TrainerError(
        FailureReason.GATE_FAILED,
        f"The engine is not published: {' '.join(problems)}",
        f"{COMPARISON_FILE} has the comparison, on {compared_on}. "
        f"{_REMEDIES[spec.gen_trt_engine.tensorrt.data_type]}",
        kept=Result(comparison=comparison, artifacts=[artifact]),
    )


def _published(
    made: BuiltEngine,
    comparison: ModelComparison,
    note: str,
    spec: ExperimentSpec,
    context: RunContext,
) -> Result:
    """The engine and its description, with the latencies. note: what is added to the gate's."""
    timings = time_batches(made.detector, latency.CLOCK)
    for line in latency.table(timings):
        context.reporter.event(line)
    known = replace(
        made.described,
        latency=[asdict(one) for one in timings],
        comparison=comparison.to_dict(),
    )
    # Its description comes first: an engine without one is of no use.
    described = context.output.publish_text(DESCRIPTION, known.to_json())
    result = Result(action=Action.GEN_TRT_ENGINE, comparison=comparison, artifacts=[described])
    note = f"{engine_gate.summary(comparison)}{note}"
    done = publish_model(made.path, made.detector.info.file, result, note, context)
    _copy(spec.gen_trt_engine.trt_engine, context)
    return done


def time_batches(detector: EngineDetector, clock: Callable[[], float]) -> list[latency.Latency]:
    """The engine alone, from images on the GPU to its outputs there, by batch."""
    size = detector.info.input_size
    assert size is not None
    batches = latency.batches(detector.smallest, detector.tuned, detector.largest)
    rng = np.random.default_rng(0)
    timings = []
    for batch in batches:
        noise = rng.integers(0, 255, (batch, 3, *size), dtype=np.uint8)
        images = torch.from_numpy(noise).to(detector.device)

        def once(images: torch.Tensor = images) -> None:
            detector.run(images)
            detector.wait()

        timings.append(latency.measure(batch, once, clock))
    return timings


def _copy(uri: str, context: RunContext) -> None:
    """Also to where `gen_trt_engine.trt_engine` says."""
    if not uri:
        return
    folder, name = split(uri)
    for own, there in ((DESCRIPTION, f"{name}{ENGINE_METADATA_SUFFIX}"), (ENGINE_FILE, name)):
        open_store(folder).upload(context.output.dir / own, there)
    context.reporter.event(f"The engine is also at {uri}.")
