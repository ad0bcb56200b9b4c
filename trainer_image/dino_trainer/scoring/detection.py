"""Finding objects in a data set, and scoring what was found the way COCO does.

The twelve statistics equal pycocotools' to the last bit; hotcoco computes them about two hundred
times as fast. Boxes are scored in pixels of the original images. Ids of images and categories are
names: what is scored are positions, so that no id is too large, negative or rounded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event

import hotcoco
import numpy as np
import torch

from dino_api.experiment import DatasetConfig
from dino_trainer.data.coco import CocoDataset, CocoImage
from dino_trainer.data.loader import Batch, eval_loader
from dino_trainer.distributed.world import World
from dino_trainer.model import Detections
from dino_trainer.model_files.info import Detector

# COCO scores that many detections of a class in an image, the best ones.
MOST_DETECTIONS = 100
# Turns that several processes take before they ask each other whether to stop.
TURNS_BETWEEN_QUESTIONS = 8


@dataclass(frozen=True)
class Found:
    """Detections in a whole data set, n in all, image after image, best score first in each.

    images: int64[n], places in the data set. labels: int64[n], category ids.
    scores: float32[n]. boxes: float32[n, 4], (left, top, right, bottom) in original pixels.
    """

    images: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray

    def of(self, image: int) -> "Found":
        """Those of one image."""
        return self.at(slice(*np.searchsorted(self.images, [image, image + 1])))

    def at(self, rows: slice | np.ndarray) -> "Found":
        """Those in `rows`, in their order."""
        return Found(self.images[rows], self.labels[rows], self.scores[rows], self.boxes[rows])


NOTHING = Found(
    np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32), np.empty((0, 4), "f4")
)


# Told of images that are done, and of all.
Counted = Callable[[int, int], None]


def detect(
    detector: Detector,
    dataset: CocoDataset,
    config: DatasetConfig,
    stop: Event | None = None,
    world: World | None = None,
    batch_size: int | None = None,
    progress: Counted | None = None,
) -> Found | None:
    """What a detector finds in every image: a model, an ONNX file or an engine alike.

    config: how images are prepared, and the size of batches; `batch_size` in its place where memory
    did not suffice for those. progress: hears of images that are done, on rank 0.

    Each process of `world` takes some of the batches, and rank 0 gets what all have found. A batch
    holds the same images whoever takes it: another number of processes finds the very same.

    Returns:
        None on all ranks but the first, and if `stop` was set on any of them before the end.
    """
    world = world or World.alone()
    total = len(dataset.images)
    batches = cut(total, batch_size or config.batch_size)
    own = batches[world.rank :: world.size]
    loader = iter(eval_loader(dataset, config, own, detector.device.type == "cuda"))
    parts, done = [NOTHING], 0
    for turn in range(-(-len(batches) // world.size)):
        if stop is not None and _agree_to_stop(turn, stop, world):
            return None
        batch = next(loader, None)  # in the last turn some ranks have none
        if batch is not None:
            parts += detect_batch(detector, batch, dataset)
            done += len(batch.indices) * world.size
        if progress and world.is_main:
            progress(min(done, total), total)
    return _collect(join(parts), world)


def cut(images: int, size: int) -> list[list[int]]:
    """Batches of `size` places in their order, the last one with what is left."""
    return [list(range(at, min(at + size, images))) for at in range(0, images, size)]


def _agree_to_stop(turn: int, stop: Event, world: World) -> bool:
    """Whether any rank was asked to stop. With peers now and then: asking makes all keep pace."""
    if world.size > 1 and turn % TURNS_BETWEEN_QUESTIONS:
        return False
    return world.reduce([stop.is_set()])[0] > 0


def _collect(found: Found, world: World) -> Found | None:
    """On rank 0, what all ranks found, in the order of one process."""
    gathered = world.gather(found)
    if gathered is None:
        return None
    whole = join(gathered)
    return whole.at(np.argsort(whole.images, kind="stable"))


def detect_batch(detector: Detector, batch: Batch, dataset: CocoDataset) -> list[Found]:
    """The detections of one batch; one entry an image."""
    images = [dataset.images[index] for index in batch.indices]
    sizes = torch.tensor([[image.height, image.width] for image in images])
    detections = detector(batch.to(detector.device), sizes)
    return [_found(index, one) for index, one in zip(batch.indices, detections, strict=True)]


def _found(index: int, one: Detections) -> Found:
    scores, labels, boxes = (part.cpu().numpy() for part in (one.scores, one.labels, one.boxes))
    return Found(np.full(len(scores), index, np.int64), labels, scores, boxes)


def join(parts: list[Found]) -> Found:
    """Detections of several images as one."""
    return Found(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.boxes for part in parts]),
    )


_AR100 = 8


def _places(images: Sequence[CocoImage]) -> np.ndarray:
    """int64[i]: each image's place in the order of ids, which decides between equal scores.

    Where ids repeat, in the order of the data set. Python's integers compare: no id is rounded.
    """
    ids = [image.id for image in images]
    places = np.arange(len(ids))
    if len(set(ids)) == len(ids):
        places[sorted(range(len(ids)), key=ids.__getitem__)] = np.arange(len(ids))
    return places


class Scorer:
    """COCO statistics against one data set's boxes, which are prepared once.

    Args:
        dataset: the true boxes, crowds included (a detection inside a crowd counts as neither
            right nor wrong).
        class_ids: the categories that count; all if None.
        max_detections: that many detections of a class in an image count, the best ones; at least
            COCO's 100. AR1, AR10 and AR100 stay what they are called.
    """

    def __init__(
        self,
        dataset: CocoDataset,
        class_ids: list[int] | None = None,
        max_detections: int = MOST_DETECTIONS,
    ) -> None:
        images = dataset.images
        self._categories = np.array(sorted(dataset.categories), np.int64)
        chosen = self._categories if class_ids is None else np.array(sorted(class_ids), np.int64)
        self._chosen = np.flatnonzero(np.isin(self._categories, chosen)).tolist()
        self._most = sorted({1, 10, MOST_DETECTIONS, max_detections})
        self._places = _places(images)
        counts = [len(image.labels) for image in images]
        self._truth = hotcoco.COCO.from_arrays(
            [{"id": place} for place in range(len(images))],
            [{"id": place, "name": str(place)} for place in range(len(self._categories))],
            np.repeat(self._places, counts),
            np.searchsorted(self._categories, np.concatenate([image.labels for image in images])),
            np.concatenate([image.boxes for image in images]).astype(np.float64),
            area=np.concatenate([image.areas for image in images]).astype(np.float64),
            iscrowd=np.concatenate([image.crowd for image in images]),
        )

    def score(self, found: Found) -> np.ndarray:
        """The statistics in pycocotools' order, float64[12]; -1 where there is nothing to find."""
        return self.stats(self.evaluated(found))

    def stats(self, evaluated: hotcoco.COCOeval) -> np.ndarray:
        """The statistics of what `evaluated` gave."""
        stats = np.array(evaluated.stats)
        if self._most[-1] > MOST_DETECTIONS:  # stats has the recall at the most in its place
            place = self._most.index(MOST_DETECTIONS)
            recall = np.asarray(evaluated.eval["recall"])[:, :, 0, place]
            stats[_AR100] = recall[recall > -1].mean() if (recall > -1).any() else -1
        return stats

    def evaluated(self, found: Found) -> hotcoco.COCOeval:
        """All that the statistics are made of: `eval` with its curves."""
        known = np.isin(found.labels, self._categories)
        boxes = found.boxes[known].astype(np.float64)
        rows = np.concatenate(
            [
                self._places[found.images[known], None].astype(np.float64),
                boxes[:, :2],
                boxes[:, 2:] - boxes[:, :2],
                found.scores[known, None].astype(np.float64),
                np.searchsorted(self._categories, found.labels[known])[:, None].astype(np.float64),
            ],
            axis=1,
        )
        evaluation = hotcoco.COCOeval(self._truth, self._truth.load_res(rows), "bbox")
        evaluation.params.cat_ids = self._chosen
        evaluation.params.max_dets = self._most
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summary_lines()  # fills stats, and unlike summarize() prints nothing
        return evaluation
