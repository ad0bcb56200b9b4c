"""`dino evaluate`: a checkpoint, an ONNX file or an engine on test data, scored as COCO does."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from dino_api import metric
from dino_api.experiment import DatasetConfig, ExperimentSpec
from dino_api.names import METRICS_FILE, PREDICTIONS_FILE, REPORT_FILE, Action, FailureReason
from dino_api.result import Artifact, Dataset, Metrics, Result
from dino_trainer.data.coco import CocoDataset
from dino_trainer.data.scorable import check_scored
from dino_trainer.data.splits import read_split
from dino_trainer.data.transforms import read_image
from dino_trainer.data.unreadable import skipped_in_words
from dino_trainer.detectors.opening import open_detector
from dino_trainer.errors import TrainerError
from dino_trainer.evaluation import page, pictures
from dino_trainer.evaluation.predictions import write_predictions
from dino_trainer.evaluation.summary import coco_lines, evaluation_summary
from dino_trainer.machine import devices
from dino_trainer.model_files.info import Detector, config_for
from dino_trainer.model_files.naming import model_uri
from dino_trainer.pages.gallery import Gallery, GalleryPicture
from dino_trainer.pages.marks import as_jpeg, no_larger
from dino_trainer.report.pace import Pace, Watch
from dino_trainer.run import RunContext
from dino_trainer.scoring.classes import check_classes, scored_classes
from dino_trainer.scoring.detection import DetectionSet, detect
from dino_trainer.scoring.matching import BoxSet
from dino_trainer.scoring.scorer import Scorer, curves
from dino_trainer.scoring.statistics import PrecisionRecall, Statistics, Truth, detection_statistics
from dino_trainer.scoring.verdict import confused_at, mistaken

_TEST = "test_data_sources"
# Images that are left out: as many are named in the report, each of them in a file beside it.
_ON_PAGE = 1000


@dataclass(frozen=True)
class EvaluationTask:
    """What is evaluated on what. classes: name by id of those that count. warnings: sentences."""

    detector: Detector
    dataset: CocoDataset
    config: DatasetConfig
    classes: dict[int, str]
    warnings: list[str]


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation found, and what it is worth.

    detections: detections above the threshold, of all classes. scored, truth: those that count.
    """

    metrics: Metrics
    lines: list[str]
    statistics: Statistics
    detections: DetectionSet
    scored: BoxSet
    truth: BoxSet


def run(spec: ExperimentSpec, context: RunContext) -> Result:
    """Finds, scores, reports. In several processes each takes some of the batches, and the first
    one scores what all find.

    Raises:
        TrainerError: InvalidDataset, InvalidSpec where model, data and spec do not fit; Preempted;
            Diverged where the model finds no numbers; those of the store.
    """
    devices.tune(spec.train.cudnn)
    task = prepare_evaluation(spec, context)
    detections = detect_all(task, context)
    result = Result(action=Action.EVALUATE, spec_digest=context.digest)
    if detections is not None:
        result = conclude(task, spec, context, detections)
    # Until all is safe nobody leaves: a node that is lost meanwhile has them all start again.
    context.world.barrier()
    return result


def conclude(
    task: EvaluationTask, spec: ExperimentSpec, context: RunContext, detections: DetectionSet
) -> Result:
    """Scores, and publishes all files."""
    outcome = score(task, spec, detections)
    for line in outcome.lines:
        context.reporter.say(line)
    context.reporter.tested(outcome.metrics)
    artifacts = write_files(task, outcome, spec, context)
    info, dataset = task.detector.info, task.dataset
    return Result(
        action=Action.EVALUATE,
        spec_digest=context.digest,
        metrics=outcome.metrics,
        model=info.file,
        artifacts=artifacts,
        dataset=Dataset(
            num_classes=info.num_classes,
            images=len(dataset.images),
            annotations=dataset.annotations,
            class_names=list(info.class_names),
            digest=dataset.digest,
            warnings=[*skipped_in_words(dataset.skips, _TEST), *task.warnings],
        ),
    )


def prepare_evaluation(spec: ExperimentSpec, context: RunContext) -> EvaluationTask:
    """Opens the model, reads the data, and refuses what does not fit before anything is run."""
    detector = open_detector(model_uri(spec, Action.EVALUATE), spec, context)
    share = spec.dataset.skip_unreadable
    dataset = read_split(spec.dataset.test_data_sources, _TEST, context, share)
    config = config_for(detector.info, spec, spec.evaluate)
    warnings = [*dataset.warnings, *check_classes(detector.info, dataset)]
    classes = scored_classes(spec.dataset.eval_class_ids, dataset)
    most, key = spec.evaluate.max_detections, "evaluate.max_detections"
    warnings += check_scored(dataset, list(classes), most, key, detector.info.num_select)
    for text in warnings:
        context.reporter.event(f"Warning: {text}")
    processes = context.world.size
    each = f" in each of {processes} processes" if processes > 1 else ""
    context.reporter.event(
        f"Evaluating {detector.info.file.uri} on {len(dataset.images)} images, "
        f"{config.batch_size} at once, on {devices.device_in_words(detector.device)}{each}."
    )
    return EvaluationTask(detector, dataset, config, classes, warnings)


def detect_all(task: EvaluationTask, context: RunContext) -> DetectionSet | None:
    """What the model finds in all images; None on all ranks but the first.

    Raises Preempted on all of them where one was asked to stop.
    """
    pace = Pace(context.reporter.progress)
    watch = Watch(context.stop, pace)
    detections = detect(task.detector, task.dataset, task.config, context.world, watch)
    done = context.world.broadcast(pace.done if detections is None else None)
    if done is not None:
        raise TrainerError(
            FailureReason.PREEMPTED,
            f"Stopped on request after {done} of {len(task.dataset.images)} images.",
        )
    if detections is not None:
        _refuse_nan(detections, task)
    return detections


def _refuse_nan(detections: DetectionSet, task: EvaluationTask) -> None:
    broken = ~(np.isfinite(detections.scores) & np.isfinite(detections.boxes).all(axis=1))
    if broken.any():
        first = task.dataset.images[detections.images[np.argmax(broken)]]
        raise TrainerError(
            FailureReason.DIVERGED,
            f"{task.detector.info.file.uri} finds boxes that are not numbers (NaN), first in "
            f"{first.file.name}.",
            "Evaluate a checkpoint from before its training diverged, or an export of more digits.",
        )


def score(task: EvaluationTask, spec: ExperimentSpec, detections: DetectionSet) -> EvaluationResult:
    """Numbers only. Detections below `evaluate.conf_threshold` are gone before anything counts."""
    given = spec.evaluate.conf_threshold
    detections = detections.at(detections.scores.astype(np.float64) >= given)
    most = spec.evaluate.max_detections
    scorer = Scorer(task.dataset, list(task.classes), most)
    evaluated = scorer.evaluated(detections)
    stats = scorer.stats(evaluated)
    scored = BoxSet.of_detections(detections.at(np.isin(detections.labels, list(task.classes))))
    truth = BoxSet.true(task.dataset)
    truth = truth.at(np.isin(truth.labels, list(task.classes)))
    statistics = detection_statistics(
        scored,
        Truth(truth, task.classes, len(task.dataset.images)),
        PrecisionRecall.of(curves(evaluated)),
        given or None,
        most,
    )
    lines = coco_lines(stats, most)
    return EvaluationResult(Metrics.from_coco(stats), lines, statistics, detections, scored, truth)


def write_files(
    task: EvaluationTask, outcome: EvaluationResult, spec: ExperimentSpec, context: RunContext
) -> list[Artifact]:
    """The three files, published."""
    ids = [image.id for image in task.dataset.images]
    write_predictions(context.output.dir / PREDICTIONS_FILE, outcome.detections, ids)
    numbers = evaluation_summary(
        task.detector.info.file,
        task.dataset,
        outcome.metrics,
        outcome.statistics,
        _settings(task, spec),
    )
    artifacts = [
        context.output.publish_text(METRICS_FILE, json.dumps(numbers, ensure_ascii=False) + "\n"),
        context.output.publish(PREDICTIONS_FILE).artifact(PREDICTIONS_FILE),
    ]
    shown = _gallery(task, outcome)
    verdict = _verdict(task, outcome, spec)
    left_out = skipped_in_words(task.dataset.skips, _TEST, _ON_PAGE)
    warnings = [*left_out, *task.warnings]
    made = page.evaluation_page(verdict, warnings, outcome.metrics, outcome.statistics, shown)
    return [*artifacts, context.output.publish_text(REPORT_FILE, made)]


def _settings(task: EvaluationTask, spec: ExperimentSpec) -> dict[str, object]:
    """What the numbers depend on besides model and data."""
    augmentation = task.config.augmentation
    return {
        "confThreshold": spec.evaluate.conf_threshold,
        "maxDetections": spec.evaluate.max_detections,
        "evalClassIds": spec.dataset.eval_class_ids,
        "batchSize": task.config.batch_size,
        "fixedSize": augmentation.fixed_size,
        "testRandomResize": augmentation.test_random_resize,
        "randomResizeMaxSize": augmentation.random_resize_max_size,
        "fixedPadding": augmentation.fixed_padding,
    }


def _gallery(task: EvaluationTask, outcome: EvaluationResult) -> Gallery:
    scored, truth, statistics = outcome.scored, outcome.truth, outcome.statistics
    names = {one.id: one.name for one in statistics.classes}
    images, labels = mistaken(scored, truth, statistics.verdict)
    return Gallery(
        [
            _shown(task, outcome, place, {names[one] for one in labels[images == place].tolist()})
            for place in pictures.pictured(statistics, scored, truth)
        ]
    )


def _shown(
    task: EvaluationTask, outcome: EvaluationResult, place: int, classes: set[str]
) -> GalleryPicture:
    """What is wrong on the image at `place`. classes: that it is about."""
    image, counts = task.dataset.images[place], outcome.statistics.mistakes
    scored, truth, verdict = outcome.scored, outcome.truth, outcome.statistics.verdict
    drawn = pictures.marks(place, scored, truth, verdict, task.dataset.class_names)
    kinds = ("right", "missed", "false", "confused")
    return GalleryPicture(
        image.file.name,
        as_jpeg(no_larger(read_image(image.file, image.width, image.height), drawn)),
        [(kind, f"{getattr(counts, kind)[place]} {kind}") for kind in kinds],
        classes,
        confused_at(place, scored, truth, verdict),
    )


def _verdict(task: EvaluationTask, outcome: EvaluationResult, spec: ExperimentSpec) -> str:
    file, dataset, given = task.detector.info.file, task.dataset, spec.evaluate.conf_threshold
    precision = f", {file.precision}" if file.precision else ""
    sentences = [
        f"{file.uri} ({file.format}{precision}) on {len(dataset.images)} images with "
        f"{len(outcome.truth)} boxes of {len(task.classes)} classes: mAP "
        f"{metric.text(outcome.metrics.mAP)}, mAP50 {metric.text(outcome.metrics.mAP50)}."
    ]
    if given:
        sentences.append(f"Detections below {given:g} were dropped (evaluate.conf_threshold).")
    most = spec.evaluate.max_detections
    sentences.append(f"The {most} best detections of a class in an image count (maxDets {most}).")
    if spec.dataset.eval_class_ids is not None:
        sentences.append("Only the classes of dataset.eval_class_ids count.")
    return " ".join(sentences)
