"""Two forms of one model on the same images: what was made beside what it was made from.

The order of detections of nearly equal score is nothing that two runtimes agree on, nor is which of
them come last into the selection. Hence detections are matched by class and overlap, each counting
as much as its score, and never one after another.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
import torch

from dino_api import metric
from dino_api.experiment import DatasetConfig
from dino_api.names import FailureReason
from dino_api.result import Metrics, ModelComparison, ScoredModel
from dino_trainer.data.coco import CocoDataset
from dino_trainer.data.loader import Batch
from dino_trainer.data.unreadable import skipped, without
from dino_trainer.errors import TrainerError
from dino_trainer.gates.scoring import Scoring
from dino_trainer.model_files.info import Detector
from dino_trainer.report.pace import Pace, Watch
from dino_trainer.run import RunContext
from dino_trainer.scoring.detection import MOST_DETECTIONS, DetectionSet, detect
from dino_trainer.scoring.matching import NOBODY, BoxSet, match_boxes
from dino_trainer.scoring.scorer import Scorer
from dino_trainer.targets import Targets

COCOS = Scoring()
# Two boxes of one class that overlap by so much are the same detection.
SAME_BOX = 0.9
RANDOM_IMAGES = 8
# A latency is the median of so many runs, or of as many as fit into so many seconds, 3 at least.
_RUNS, _FEWEST, _SECONDS = 15, 3, 5.0


@dataclass(frozen=True)
class ComparisonPictures:
    """What to compare on; dataset None: random images. description: which they are, in words."""

    dataset: CocoDataset | None
    description: str

    @property
    def note(self) -> str:
        """A sentence behind that of a gate, where damaged images are left out; else ""."""
        left_out = self.dataset is not None and skipped(self.dataset.skips)
        return f" Compared on {self.description}." if left_out else ""


def all_of(dataset: CocoDataset, key: str) -> str:
    """The images of a split, in words. key: of the data in the spec's `dataset`."""
    return f"all {len(dataset.images)} images of dataset.{key}{without(dataset.skips)}"


@dataclass(frozen=True)
class ComparisonSettings:
    """How two models are compared.

    dataset: real images with their boxes. None: seeded random images, without a mAP.
    config: how images are prepared, for both: `config_for` of the one that takes fewer sizes.
    scoring: which classes and how many detections count.
    max_loss: the largest loss of mAP that is allowed, noted in the result.
    """

    dataset: CocoDataset | None
    config: DatasetConfig
    scoring: Scoring = COCOS
    max_loss: float | None = None


def compare(
    reference: Detector,
    candidate: Detector,
    settings: ComparisonSettings,
    watch: Watch | None = None,
) -> ModelComparison:
    """Run both on the same images.

    Args:
        reference: what the candidate was made from.
        candidate: what was made.
        settings: what they are shown, and what counts.
        watch: as of `detect`; the images of both models are counted.

    Returns:
        `matched` is the share of the reference's detections that the candidate has, too, each
        weighted by its score; `loss` the reference's mAP minus the candidate's.

    Raises:
        TrainerError: Preempted where `watch.stop` was set; Diverged for scores or boxes that are
            no numbers.
    """
    dataset, scoring = settings.dataset, settings.scoring
    size = _size(candidate, settings.config)
    models = (reference, candidate)
    if dataset is None:
        detections = [_on_random(model, size) for model in models]
        scores = [Metrics(), Metrics()]
    else:
        detections = [
            _detect(model, dataset, settings.config, _part_of(watch or Watch(), turn))
            for turn, model in enumerate(models)
        ]
        scorer = Scorer(dataset, scoring.class_ids, scoring.max_detections)
        scores = [Metrics.from_coco(scorer.score(one)) for one in detections]
    for model, one in zip(models, detections, strict=True):
        _refuse_nan(model, one)
    first, second = (
        _scored(model, score, latency_ms(model, size))
        for model, score in zip(models, scores, strict=True)
    )
    return ModelComparison(
        reference=first,
        candidate=second,
        images=RANDOM_IMAGES if dataset is None else len(dataset.images),
        matched=matched(detections[0], detections[1]),
        loss=None if first.mAP is None or second.mAP is None else first.mAP - second.mAP,
        max_loss=settings.max_loss,
        max_detections=None if dataset is None else scoring.max_detections,
    )


def compare_in_run(
    reference: Detector, candidate: Detector, settings: ComparisonSettings, context: RunContext
) -> ModelComparison:
    """`compare` in a run: it may be stopped, and reports how far it is."""
    watch = Watch(context.stop, Pace(context.reporter.progress))
    return compare(reference, candidate, settings, watch)


def matched(
    reference: DetectionSet, candidate: DetectionSet, iou: float = SAME_BOX
) -> float | None:
    """The share of the reference's detections that the candidate has, weighted by score.

    None where the reference found nothing at all.
    """
    total = reference.scores.astype(np.float64).sum()
    if not total:
        return None
    ours, theirs = BoxSet.of_detections(candidate), BoxSet.of_detections(reference)
    chosen = match_boxes(ours, theirs, iou)
    return float(min(1.0, theirs.scores[chosen[chosen != NOBODY]].sum() / total))


def likeness_in_words(comparison: ModelComparison) -> list[str]:
    """How alike both are, as far as it is known: detections, then mAP."""
    parts = []
    if comparison.matched is not None:
        parts.append(f"{100 * comparison.matched:.2f} % of the detections are the same")
    if comparison.loss is not None:
        parts.append(scores(comparison))
    return parts


def scores(comparison: ModelComparison) -> str:
    """Both mAPs; of how many detections, where they are not COCO's."""
    most = comparison.max_detections or MOST_DETECTIONS
    note = f" (maxDets {most})" if most > MOST_DETECTIONS else ""
    first, second = comparison.reference.mAP, comparison.candidate.mAP
    return f"mAP {metric.text(first)} and {metric.text(second)}{note}"


def latency_ms(detector: Detector, size: tuple[int, int]) -> float:
    """Median milliseconds of one image of ``size`` (height, width), everything included.

    A file with a fixed batch is run on a whole one, and the time divided by its images.
    """
    count = detector.info.batch_size or 1
    batch = random_batch(count, size, 0).to(detector.device)
    sizes = torch.tensor([size] * count)
    seconds: list[float] = []
    started = time.monotonic()
    detector(batch, sizes)  # warms up
    while len(seconds) < _FEWEST or (
        len(seconds) < _RUNS and time.monotonic() - started < _SECONDS
    ):
        before = time.perf_counter()
        for one in detector(batch, sizes):
            one.scores.cpu()  # waits for a GPU
        seconds.append(time.perf_counter() - before)
    return 1000 * median(seconds) / count


def random_batch(count: int, size: tuple[int, int], seed: int) -> Batch:
    """Images of blurred noise, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((count, 3, 12, 12), generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size, mode="bicubic").clamp(0, 1)
    images = (255 * smooth).to(torch.uint8).contiguous(memory_format=torch.channels_last)
    return Batch(tuple(range(count)), images, None, Targets.collate([_NO_BOXES] * count))


_NO_BOXES = (torch.empty(0, dtype=torch.int64), torch.empty(0, 4))


def _size(candidate: Detector, config: DatasetConfig) -> tuple[int, int]:
    size = candidate.info.input_size or config.augmentation.fixed_size
    if size:
        return size[0], size[1]
    short = config.augmentation.test_random_resize
    return short, short


def _detect(
    model: Detector, dataset: CocoDataset, config: DatasetConfig, watch: Watch
) -> DetectionSet:
    detections = detect(model, dataset, config, watch=watch)
    if detections is None:
        raise TrainerError(
            FailureReason.PREEMPTED,
            f"Stopped on request while {model.info.file.uri} was compared.",
        )
    return detections


def _part_of(watch: Watch, turn: int) -> Watch:
    """Counts the images of both models as one piece of work."""

    def progress(done: int, total: int) -> None:
        watch.progress(turn * total + done, 2 * total)

    return replace(watch, progress=progress)


def _on_random(model: Detector, size: tuple[int, int]) -> DetectionSet:
    """What a model finds in random images, one after another."""
    sizes = torch.tensor([size])
    parts = [
        model(random_batch(1, size, seed).to(model.device), sizes)[0]
        for seed in range(RANDOM_IMAGES)
    ]
    return DetectionSet(
        np.repeat(np.arange(RANDOM_IMAGES), [len(one.scores) for one in parts]),
        torch.cat([one.labels for one in parts]).cpu().numpy(),
        torch.cat([one.scores for one in parts]).cpu().numpy(),
        torch.cat([one.boxes for one in parts]).cpu().numpy(),
    )


def _refuse_nan(model: Detector, detections: DetectionSet) -> None:
    if not (np.isfinite(detections.scores).all() and np.isfinite(detections.boxes).all()):
        raise TrainerError(
            FailureReason.DIVERGED,
            f"{model.info.file.uri} finds boxes that are not numbers (NaN).",
            "Take a checkpoint from before its training diverged, or a number format of more "
            "digits.",
        )


def _scored(model: Detector, metrics: Metrics, milliseconds: float) -> ScoredModel:
    file = model.info.file
    return ScoredModel(
        format=file.format,
        precision=file.precision,
        mAP=_known(metrics.mAP),
        mAP50=_known(metrics.mAP50),
        latency_ms=milliseconds,
        bytes=file.bytes,
    )


def _known(score: float | None) -> float | None:
    """-1 stands for a data set without a box to find."""
    return None if score is None or score < 0 else score
