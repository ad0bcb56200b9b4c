"""`dino quantize`: a model in INT8, measured against the one that it was made from.

An ONNX file that computes in INT8; or, in mode weight_only_ptq, a checkpoint whose weights are
stored as INT8.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dino_api import metric
from dino_api.experiment import ExperimentSpec
from dino_api.names import (
    QUANTIZED_FILE,
    QUANTIZED_WEIGHTS,
    REPORT_FILE,
    WEIGHTS_ALONE,
    Action,
    FailureReason,
)
from dino_api.result import ModelComparison, ModelFile, Result
from dino_trainer.data.coco import CocoDataset
from dino_trainer.data.splits import read_split
from dino_trainer.data.unreadable import without
from dino_trainer.detectors.onnx_detector import EXACT, OnnxDetector, open_onnx
from dino_trainer.detectors.opening import open_model
from dino_trainer.detectors.torch_detector import TorchDetector, open_checkpoint
from dino_trainer.errors import TrainerError, invalid_spec
from dino_trainer.gates.compare import (
    ComparisonPictures,
    ComparisonSettings,
    all_of,
    compare_in_run,
    scores,
)
from dino_trainer.gates.onnx_gate import pictures
from dino_trainer.gates.publishing import publish_model, withdraw
from dino_trainer.gates.scoring import Scoring, scoring
from dino_trainer.machine import devices
from dino_trainer.model_files.info import ModelInfo, config_for
from dino_trainer.model_files.naming import file_at, model_format, model_uri
from dino_trainer.quantize import (
    QuantizationOptions,
    QuantizationResult,
    quantize_onnx,
    weight_only,
)
from dino_trainer.quantize.calibration import calibration_inputs, check_count, spread
from dino_trainer.quantize.page import layers_page
from dino_trainer.quantize.this_cpu import cuts_off
from dino_trainer.report.pace import Pace
from dino_trainer.run import RunContext
from dino_trainer.storage.byte_meter import human_bytes

_CALIBRATION, _TEST = "quant_calibration_data_sources", "test_data_sources"
# From so many times as fast on, a file that finds a little less is worth its while.
_FASTER = 1.2


@dataclass(frozen=True)
class QuantizationTask:
    """The ONNX file that was given, and the images. shown: those that both files are run on."""

    reference: OnnxDetector
    calibration: CocoDataset
    settings: ComparisonSettings
    shown: ComparisonPictures

    @property
    def on(self) -> str:
        """What both are run on, and what the calibration lacks, for the page."""
        left_out = without(self.calibration.skips)
        calibrated = f"; the calibration goes{left_out[1:]}" if left_out else ""
        return f"{self.shown.description}{calibrated}"


@dataclass(frozen=True)
class QuantizedFile:
    """A file that was compared with the one it was made from.

    summary: what it costs and gains. remedy: where its gate fails. page: report.html for a
    verdict, and for whether the gate passed.
    """

    file: ModelFile
    comparison: ModelComparison
    summary: str
    remedy: str
    page: Callable[[str, bool], str]


def run(spec: ExperimentSpec, context: RunContext) -> Result:
    """Quantize, compare, publish.

    Raises:
        TrainerError: InvalidSpec for a file that cannot be quantized; InvalidDataset for too few
            images; GateFailed where more mAP is lost than `quantize.gate.max_loss`: then the report
            alone is published, and the file of an earlier run is withdrawn.
    """
    devices.tune_cpu()
    weights = spec.quantize.mode == WEIGHTS_ALONE
    name = QUANTIZED_WEIGHTS if weights else QUANTIZED_FILE
    unchecked = context.output.dir / f"{name}.unchecked"
    try:
        made = (stored if weights else computing)(spec, context, unchecked)
        problem = gate(made.comparison)
        verdict = problem or made.summary
        context.reporter.event(verdict)
        result = reported(made.page(verdict, not problem), made.comparison, context)
        if problem:
            withdraw((name,), context)
            raise TrainerError(FailureReason.GATE_FAILED, problem, made.remedy, kept=result)
        return publish_model(unchecked, made.file, result, verdict, context)
    finally:
        unchecked.unlink(missing_ok=True)


def computing(spec: ExperimentSpec, context: RunContext, path: Path) -> QuantizedFile:
    """An ONNX file whose costly layers compute in INT8. path: where it is written."""
    task = prepare_quantization(spec, context)
    done = make(task, spec, context, path)
    candidate = open_onnx(path, file_at(path, context.output.uri(QUANTIZED_FILE)))
    context.reporter.event(f"Comparing on {task.shown.description}.")
    comparison = compare_in_run(task.reference, candidate, task.settings, context)
    if not done.for_cpu:
        context.reporter.event(elsewhere())
    return QuantizedFile(
        candidate.info.file,
        comparison,
        f"{comparison_in_words(comparison, spec.quantize.device)}{task.shown.note}",
        _remedy(
            comparison,
            "Give more calibration images that look like the test data, set quantize.algorithm: "
            "entropy, keep",
        ),
        lambda verdict, passed: layers_page(verdict, passed, comparison, done, task.on),
    )


def stored(spec: ExperimentSpec, context: RunContext, path: Path) -> QuantizedFile:
    """A checkpoint whose weights are stored as INT8. path: where it is written."""
    uri = model_uri(spec, Action.QUANTIZE)
    if model_format(uri) != "checkpoint":
        raise invalid_spec(
            f"{uri} is no checkpoint but {model_format(uri)}.",
            f"Name the .pth file of a training, or leave out quantize.mode: {WEIGHTS_ALONE}.",
        )
    reference = open_model(uri, spec, context)
    assert isinstance(reference, TorchDetector)
    shown = pictures(spec, reference.info, context)
    scored = scoring(spec, reference.info, shown.dataset, context)
    done = weight_only.quantize_weights(reference, path, spec.quantize.skip_names)
    file = file_at(path, context.output.uri(QUANTIZED_WEIGHTS))
    sizes = human_bytes(file.bytes or 0), human_bytes(reference.info.file.bytes or 0)
    context.reporter.event(
        f"The weights of {len(done.layers)} layers are INT8; the file is {sizes[0]}, "
        f"{sizes[1]} before."
    )
    candidate = open_checkpoint(path, file, spec, reference.device)
    context.reporter.event(f"Comparing on {shown.description}.")
    settings = settings_of(reference.info, shown, scored, spec)
    comparison = compare_in_run(reference, candidate, settings, context)
    return QuantizedFile(
        candidate.info.file,
        comparison,
        f"{_scores('Checkpoint and INT8 weights', comparison)} The file is {sizes[0]}, {sizes[1]} "
        f"before; it computes as before.{shown.note}",
        _remedy(comparison, "Keep"),
        lambda verdict, passed: weight_only.weights_page(
            verdict, passed, comparison, done, shown.description
        ),
    )


def prepare_quantization(spec: ExperimentSpec, context: RunContext) -> QuantizationTask:
    """Reads the file and the data, and says what is doubtful about them."""
    uri = model_uri(spec, Action.QUANTIZE)
    if model_format(uri) != "onnx":
        raise invalid_spec(
            f"{uri} is no ONNX file but {model_format(uri)}.",
            "Export it first: `dino export`, or a DinoJob of action export between the two.",
        )
    reference = open_model(uri, spec, context)
    assert isinstance(reference, OnnxDetector)
    if reference.info.file.precision != "fp32":
        raise invalid_spec(
            f"{uri} is in {reference.info.file.precision}, and fp32 is quantized.",
            "Name the file that `dino export` made.",
        )
    given = spec.dataset
    sources, share = given.quant_calibration_data_sources, given.skip_unreadable
    calibration = spread(read_split(sources, _CALIBRATION, context, share))
    if warning := check_count(len(calibration.images)):
        context.reporter.event(warning)
    shown = _tested(calibration, spec, context)
    scored = scoring(spec, reference.info, shown.dataset, context)
    settings = settings_of(reference.info, shown, scored, spec)
    return QuantizationTask(reference, calibration, settings, shown)


def settings_of(
    info: ModelInfo, shown: ComparisonPictures, scored: Scoring, spec: ExperimentSpec
) -> ComparisonSettings:
    """How the quantized file is compared with the one it is made from, which is of `info`."""
    config = config_for(info, spec, spec.quantize)
    return ComparisonSettings(shown.dataset, config, scored, spec.quantize.gate.max_loss)


def _tested(
    calibration: CocoDataset, spec: ExperimentSpec, context: RunContext
) -> ComparisonPictures:
    sources = spec.dataset.test_data_sources
    if sources:
        tested = read_split(sources, _TEST, context, spec.dataset.skip_unreadable)
        return ComparisonPictures(tested, all_of(tested, _TEST))
    context.reporter.event(
        f"Warning: dataset.{_TEST} is not set, so the loss is measured on the calibration images. "
        "That flatters it: the ranges were made for them."
    )
    count = f"the {len(calibration.images)} calibration images{without(calibration.skips)}"
    return ComparisonPictures(calibration, f"{count}, for want of test data")


def make(
    task: QuantizationTask, spec: ExperimentSpec, context: RunContext, into: Path
) -> QuantizationResult:
    """Writes the quantized file, which nobody has looked at yet."""
    section, info = spec.quantize, task.reference.info
    count = len(task.calibration.images)
    context.reporter.event(f"Taking ranges from {count} images ({section.algorithm}).")
    images = calibration_inputs(
        task.reference,
        task.calibration,
        task.settings.config,
        context.stop,
        Pace(context.reporter.progress),
    )
    done = quantize_onnx(
        task.reference.path,
        into,
        images,
        QuantizationOptions(section.algorithm, section.skip_names, section.device == "cpu"),
        where=info.file.uri,
    )
    size = human_bytes(into.stat().st_size)
    context.reporter.event(
        f"{len(done.chosen.layers)} layers compute in INT8; the file is {size}, "
        f"{human_bytes(info.file.bytes or 0)} before."
    )
    return done


def gate(comparison: ModelComparison) -> str:
    """Why the file must not be published, empty where it may."""
    loss, limit = comparison.loss, comparison.max_loss
    if loss is None or limit is None or loss <= limit:
        return ""
    return (
        "The INT8 file is not published: its mAP is "
        f"{metric.text(comparison.candidate.mAP)}, that of the file that was given "
        f"{metric.text(comparison.reference.mAP)}, and quantize.gate.max_loss allows "
        f"a loss of {limit:g}."
    )


def _remedy(comparison: ModelComparison, start: str) -> str:
    if comparison.loss is None:
        return ""
    return (
        f"{REPORT_FILE} has the comparison. {start} layers in floating point by "
        "quantize.skip_names (backbone.* first), or raise quantize.gate.max_loss above "
        f"{metric.text(comparison.loss)}."
    )


def comparison_in_words(comparison: ModelComparison, device: str) -> str:
    """What an ONNX file costs and what it gains, in a sentence or two. device: what it is for."""
    times = comparison.reference.latency_ms, comparison.candidate.latency_ms
    if times[0] is None or times[1] is None:
        return _scores("FP32 and INT8", comparison)
    pace = f"{times[0]:.1f} and {times[1]:.1f} ms for one image"
    text = _scores("FP32 and INT8", comparison, pace)
    gain = times[0] / times[1]
    if gain >= _FASTER:
        return f"{text} INT8 is {gain:.2f}x as fast here."
    slow = "hardly" if gain > 1 else "not"
    other = "" if device == "cpu" else "for CPUs set quantize.device: cpu, and "
    return f"{text} INT8 is {slow} faster here; {other}measure on the device that it is for."


def _scores(named: str, comparison: ModelComparison, *more: str) -> str:
    first, second = comparison.reference.mAP, comparison.candidate.mAP
    known = [] if first is None or second is None else [scores(comparison)]
    on = f"{named} on {comparison.images} images"
    figures = ", ".join([*known, *more])
    return f"{on}: {figures}." if figures else f"{on}: no mAP, for want of test data."


def elsewhere() -> str:
    """Says where else ONNX Runtime computes a file differently that was not made for CPUs."""
    this = "This CPU is one of them. " if cuts_off() else ""
    return (
        "The file is for GPUs and TensorRT. Where an x86 CPU has no VNNI, ONNX Runtime cuts sums "
        f"of its INT8 products off unless the session sets {EXACT}: 1. {this}evaluate, inference "
        "and this comparison set it; for CPUs set quantize.device: cpu, whose file needs no option."
    )


def reported(html: str, comparison: ModelComparison, context: RunContext) -> Result:
    """The report, published; a result that holds it."""
    return Result(
        action=Action.QUANTIZE,
        spec_digest=context.digest,
        comparison=comparison,
        artifacts=[context.output.publish_text(REPORT_FILE, html)],
    )
