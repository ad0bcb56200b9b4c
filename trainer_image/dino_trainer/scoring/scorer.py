"""COCO's twelve statistics of what was found in a data set.

They equal pycocotools' to the last bit; hotcoco computes them about two hundred times as fast.
Boxes are scored in pixels of the original images. Ids of images and categories are names: what is
scored are positions, so that no id is too large, negative or rounded.
"""

from collections.abc import Mapping, Sequence

import hotcoco
import numpy as np

from dino_trainer.data.coco import CocoDataset, CocoImage
from dino_trainer.scoring.detection import MOST_DETECTIONS, DetectionSet

_AR100 = 8


def curves(evaluated: hotcoco.COCOeval) -> Mapping[str, np.ndarray]:
    """The arrays of `Scorer.evaluated`, under pycocotools' names."""
    assert evaluated.eval is not None
    return evaluated.eval


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

    def score(self, detections: DetectionSet) -> np.ndarray:
        """The statistics in pycocotools' order, float64[12]; -1 where there is nothing to find."""
        return self.stats(self.evaluated(detections))

    def stats(self, evaluated: hotcoco.COCOeval) -> np.ndarray:
        """The statistics of what `evaluated` gave."""
        stats = np.array(evaluated.stats)
        if self._most[-1] > MOST_DETECTIONS:  # stats has the recall at the most in its place
            place = self._most.index(MOST_DETECTIONS)
            recall = np.asarray(curves(evaluated)["recall"])[:, :, 0, place]
            stats[_AR100] = recall[recall > -1].mean() if (recall > -1).any() else -1
        return stats

    def evaluated(self, detections: DetectionSet) -> hotcoco.COCOeval:
        """All that the statistics are made of: `eval` with its curves."""
        known = np.isin(detections.labels, self._categories)
        boxes = detections.boxes[known].astype(np.float64)
        rows = np.concatenate(
            [
                self._places[detections.images[known], None].astype(np.float64),
                boxes[:, :2],
                boxes[:, 2:] - boxes[:, :2],
                detections.scores[known, None].astype(np.float64),
                np.searchsorted(self._categories, detections.labels[known])[:, None].astype(
                    np.float64
                ),
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
