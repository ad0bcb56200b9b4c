"""metrics.json: everything that an evaluation counted, for programs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dino_api.result import Metrics, ModelFile
from dino_trainer.data.coco import CocoDataset
from dino_trainer.data.unreadable import skipped
from dino_trainer.scoring.detection import MOST_DETECTIONS
from dino_trainer.scoring.operating import OperatingPoint
from dino_trainer.scoring.statistics import AT_50, AT_75, RECALLS, ClassScore, Statistics

METRICS_SCHEMA = 1
_LISTED = 50
# Classes; beyond, a table would be nearly all zeros, and hundreds of megabytes of them.
LARGEST_MATRIX = 1000
_IOU = "0.50:0.95"


def _measures(most: int) -> list[tuple[str, str, int]]:
    """IoU, box sizes and detections an image of the twelve statistics in their order."""
    sizes = [(_IOU, size, most) for size in ("small", "medium", "large")]
    precisions = [(iou, "all", most) for iou in (_IOU, "0.50", "0.75")]
    recalls = [(_IOU, "all", number) for number in (1, 10, MOST_DETECTIONS)]
    return [*precisions, *sizes, *recalls, *sizes]


def coco_lines(stats: NDArray[np.float64], most: int = MOST_DETECTIONS) -> list[str]:
    """The twelve statistics, float64[12], in the lines that pycocotools and TAO print.

    most: the detections of a class in an image that were scored.
    """
    titles = ["Average Precision  (AP)"] * 6 + ["Average Recall     (AR)"] * 6
    return [
        f" {title} @[ IoU={iou:<9} | area={size:>6s} | maxDets={number:>3d} ] = {value:0.3f}"
        for title, (iou, size, number), value in zip(titles, _measures(most), stats, strict=True)
    ]


def evaluation_summary(
    model: ModelFile,
    dataset: CocoDataset,
    metrics: Metrics,
    statistics: Statistics,
    settings: dict[str, object],
) -> dict[str, object]:
    """JSON-able. The twelve statistics have every digit; shares in curves have four.

    settings: what was asked for, as it stands in the spec.
    """
    return {
        "schema": METRICS_SCHEMA,
        "model": model.to_dict(),
        "data": _data(dataset),
        "settings": settings,
        "metrics": metrics.to_dict(),
        "threshold": {"best": _point(statistics.best), "used": _point(statistics.used)},
        "classes": [_class(one) for one in statistics.classes],
        "confusion": _confusion(statistics),
        "curves": _curves(statistics),
        "worst": _worst(dataset, statistics),
    }


def _data(dataset: CocoDataset) -> dict[str, object]:
    crowds = sum(int(image.crowd.sum()) for image in dataset.images)
    data = {
        "images": len(dataset.images),
        "boxes": dataset.annotations - crowds,
        "crowds": crowds,
        "digest": dataset.digest,
        "warnings": list(dataset.warnings),
    }
    if left_out := skipped(dataset.skips):
        data["skipped"] = [image._asdict() for image in left_out]
    if len(dataset.sources) > 1:  # ids may have been given anew: names say which image is meant
        data["imageFiles"] = {str(image.id): image.file.name for image in dataset.images}
    return data


def _point(point: OperatingPoint | None) -> dict[str, float] | None:
    if point is None:
        return None
    return {
        "threshold": point.threshold,
        "precision": point.precision,
        "recall": point.recall,
        "f1": point.f1,
    }


def _class(one: ClassScore) -> dict[str, object]:
    return {
        "id": one.id,
        "name": one.name,
        "boxes": one.truths,
        "AP": one.ap,
        "AP50": one.ap50,
        "AP75": one.ap75,
        "AR": one.ar,
        "best": _point(one.best),
        "used": _point(one.used),
    }


def _confusion(statistics: Statistics) -> dict[str, object]:
    """All that was counted in `pairs`; of few classes as a table, too."""
    confusion, ids = statistics.confusion, [one.id for one in statistics.classes]
    known = [*ids, None]
    pairs = zip(confusion.rows, confusion.columns, confusion.counts.tolist(), strict=True)
    counted: dict[str, object] = {
        "iou": 0.5,
        "threshold": statistics.threshold,
        "rows": "true class, last: nothing there",
        "columns": "found as, last: not found",
        "ids": ids,
        "pairs": [[known[row], known[column], count] for row, column, count in pairs],
    }
    if len(ids) <= LARGEST_MATRIX:
        counted["matrix"] = confusion.table().tolist()
    return counted


def _curves(statistics: Statistics) -> dict[str, object]:
    curves = statistics.curves
    return {
        "recall": RECALLS.round(2).tolist(),
        "precision": {
            "0.50": curves[AT_50].round(4).tolist(),
            "0.75": curves[AT_75].round(4).tolist(),
            "0.50:0.95": curves.mean(axis=0).round(4).tolist(),
        },
        "classes": {
            str(one.id): np.round(one.curve, 4).tolist() for one in statistics.classes if one.truths
        },
    }


def _worst(dataset: CocoDataset, statistics: Statistics) -> list[dict[str, object]]:
    counts = statistics.mistakes
    return [
        {
            "id": dataset.images[place].id,
            "file": dataset.images[place].file.name,
            "mistakes": int(counts.all[place]),
            "right": int(counts.right[place]),
            "missed": int(counts.missed[place]),
            "false": int(counts.false[place]),
            "confused": int(counts.confused[place]),
        }
        for place in counts.worst(_LISTED).tolist()
    ]
