"""Finding objects in a data set: what a detector sees in every image of it."""

from dataclasses import dataclass
from threading import Event

import numpy as np
import torch

from dino_api.experiment import DatasetConfig
from dino_trainer.data.coco import CocoDataset
from dino_trainer.data.loader import Batch, cut, eval_loader
from dino_trainer.distributed.world import World
from dino_trainer.model import Detections
from dino_trainer.model_files.info import Detector
from dino_trainer.report.pace import Watch

# COCO scores that many detections of a class in an image, the best ones.
MOST_DETECTIONS = 100
# Turns that several processes take before they ask each other whether to stop.
TURNS_BETWEEN_QUESTIONS = 8


@dataclass(frozen=True)
class DetectionSet:
    """Detections in a whole data set, n in all, image after image, best score first in each.

    images: int64[n], places in the data set. labels: int64[n], category ids.
    scores: float32[n]. boxes: float32[n, 4], (left, top, right, bottom) in original pixels.
    """

    images: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray

    def of(self, image: int) -> "DetectionSet":
        """The detections of one image."""
        return self.at(slice(*np.searchsorted(self.images, [image, image + 1])))

    def at(self, rows: slice | np.ndarray) -> "DetectionSet":
        """The detections in `rows`, in their order."""
        return DetectionSet(
            self.images[rows], self.labels[rows], self.scores[rows], self.boxes[rows]
        )


NOTHING = DetectionSet(
    np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32), np.empty((0, 4), "f4")
)


def detect(
    detector: Detector,
    dataset: CocoDataset,
    config: DatasetConfig,
    world: World | None = None,
    watch: Watch | None = None,
) -> DetectionSet | None:
    """What a detector finds in every image: a model, an ONNX file or an engine alike.

    config: how images are prepared, and the size of batches. watch: hears of images on rank 0.

    Each process of `world` takes some of the batches, and rank 0 gets what all have found. A batch
    holds the same images whoever takes it: another number of processes finds the very same.

    Returns:
        None on all ranks but the first, and if `watch.stop` was set on any of them before the end.
    """
    world, watch = world or World.alone(), watch or Watch()
    total = len(dataset.images)
    batches = cut(total, config.batch_size)
    own = batches[world.rank :: world.size]
    loader = iter(eval_loader(dataset, config, own, detector.device.type == "cuda"))
    parts, done = [NOTHING], 0
    for turn in range(-(-len(batches) // world.size)):
        if _agree_to_stop(turn, watch.stop, world):
            return None
        batch = next(loader, None)  # in the last turn some ranks have none
        if batch is not None:
            parts += detect_batch(detector, batch, dataset)
            done += len(batch.indices) * world.size
        if world.is_main:
            watch.progress(min(done, total), total)
    return _collect(join(parts), world)


def _agree_to_stop(turn: int, stop: Event, world: World) -> bool:
    """Whether any rank was asked to stop. With peers now and then: asking makes all keep pace."""
    if world.size > 1 and turn % TURNS_BETWEEN_QUESTIONS:
        return False
    return world.reduce([stop.is_set()])[0] > 0


def _collect(detections: DetectionSet, world: World) -> DetectionSet | None:
    """On rank 0, what all ranks found, in the order of one process."""
    gathered = world.gather(detections)
    if gathered is None:
        return None
    whole = join(gathered)
    return whole.at(np.argsort(whole.images, kind="stable"))


def detect_batch(detector: Detector, batch: Batch, dataset: CocoDataset) -> list[DetectionSet]:
    """The detections of one batch; one entry an image."""
    images = [dataset.images[index] for index in batch.indices]
    sizes = torch.tensor([[image.height, image.width] for image in images])
    detections = detector(batch.to(detector.device), sizes)
    return [_rows_of(index, one) for index, one in zip(batch.indices, detections, strict=True)]


def _rows_of(index: int, one: Detections) -> DetectionSet:
    scores, labels, boxes = (part.cpu().numpy() for part in (one.scores, one.labels, one.boxes))
    return DetectionSet(np.full(len(scores), index, np.int64), labels, scores, boxes)


def join(parts: list[DetectionSet]) -> DetectionSet:
    """Detections of several images as one."""
    return DetectionSet(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.boxes for part in parts]),
    )
