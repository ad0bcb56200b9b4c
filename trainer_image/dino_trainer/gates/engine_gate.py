"""No engine is published that was not compared with the ONNX file it was built from."""

from __future__ import annotations

from dataclasses import dataclass

from dino_api import metric
from dino_api.actions import DatasetSplit
from dino_api.experiment import ExperimentSpec
from dino_api.result import ModelComparison
from dino_trainer.data.splits import read_split
from dino_trainer.gates.compare import ComparisonPictures, all_of, likeness_in_words
from dino_trainer.run import RunContext
from dino_trainer.spec.sections import sources_of

# Of annotated data to compare on, the first that the spec names.
_SOURCES = (DatasetSplit.TEST, DatasetSplit.CALIBRATION)


@dataclass(frozen=True)
class Limits:
    """How far an engine may be from its ONNX file.

    max_loss: of mAP. least_matched: the share of detections that must be found again, or any.
    """

    max_loss: float
    least_matched: float | None


# float32 in two runtimes differs by rounding alone. In float16 detections of low score come and go:
# a detector of BCCD keeps 0.96 of its detections (0.996 of those above a score of 0.3) and all of
# its mAP, one with random weights 0.83. What INT8 costs is a matter of mAP alone.
LIMITS = {"FP32": Limits(0.0005, 0.99), "FP16": Limits(0.005, 0.9), "INT8": Limits(0.005, None)}
# Random images show nothing that a detector is sure of: only gross errors count in float16.
ON_RANDOM = {"FP32": 0.99, "FP16": 0.5, "INT8": None}


def pictures(spec: ExperimentSpec, context: RunContext) -> ComparisonPictures:
    """The test data, else the calibration data, else random images.

    Raises TrainerError: those of reading the data.
    """
    for part in _SOURCES:
        if sources := sources_of(spec.dataset, part):
            dataset = read_split(sources, part.key, context, spec.dataset.skip_unreadable)
            return ComparisonPictures(dataset, all_of(dataset, part.key))
    return ComparisonPictures(
        None,
        "random images: no mAP is compared. Name real ones as dataset.test_data_sources "
        "(datasets.test of a DinoJob)",
    )


def problems(comparison: ModelComparison, data_type: str) -> list[str]:
    """Why the engine must not be published, one sentence each; none where it may."""
    limits, reasons = LIMITS[data_type], []
    if comparison.loss is not None and comparison.loss > limits.max_loss:
        reasons.append(
            f"its mAP is {metric.text(comparison.candidate.mAP)}, the ONNX file's "
            f"{metric.text(comparison.reference.mAP)}: "
            f"{data_type} may lose {limits.max_loss:g}."
        )
    least = ON_RANDOM[data_type] if comparison.loss is None else limits.least_matched
    if least is not None and comparison.matched is not None and comparison.matched < least:
        reasons.append(
            f"it has {100 * comparison.matched:.1f} % of the ONNX file's detections, by class, "
            f"overlap and score; {100 * least:g} % are needed for {data_type}."
        )
    return reasons


def summary(comparison: ModelComparison) -> str:
    """The comparison in a sentence."""
    alike = ", ".join(likeness_in_words(comparison)) or "no detections"
    return f"ONNX file and engine on {comparison.images} images: {alike}."
