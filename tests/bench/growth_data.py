"""How loading, planning, preflight and scoring grow with images (to 1,000,000), boxes and classes.

Each size is a process of its own, so that its memory is its own, and the sizes take turns. No image
is opened: what is done to each is the same for every one of them.
DINO_BENCH_GROWTH_IMAGES: the most images, where a million are too many.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.bench.growth_curves import Point, grown
from tests.bench.growth_files import ANNOTATIONS, INDEX, Shape, write
from tests.bench.harness import machine

MOST_IMAGES = int(os.environ.get("DINO_BENCH_GROWTH_IMAGES", "1000000"))
ROUNDS = 3
# Data sets from so many boxes on run once: the largest take minutes.
ONCE = 100_000
Run = Callable[[], object]


def loading(folder: Path, shape: Shape) -> Run:
    """What each process of a training does: the index, the annotations, the images by name."""
    from dino_trainer.data.coco import load_coco
    from dino_trainer.data.image_store import ArchivedImages, Index
    from dino_trainer.data.stage import StagedSource

    def run() -> object:
        index = Index.read(folder / INDEX)
        assert index is not None
        images = ArchivedImages(folder / "images.tar", index)
        loaded = load_coco([StagedSource(images, folder / ANNOTATIONS, "")])
        assert (len(loaded.images), loaded.annotations) == (
            shape.images,
            shape.images * shape.boxes,
        )
        return loaded

    return run


def preflight(folder: Path, shape: Shape) -> Run:
    """All that it asks of the annotations of one split, its report's numbers, and of digests."""
    from dino_api.experiment import DataSource
    from dino_trainer.data.image_facts import ImageFacts
    from dino_trainer.data.image_store import ArchivedImages, Index
    from dino_trainer.data.stage import StagedSource
    from dino_trainer.preflight.annotations import (
        check_boxes_per_image,
        check_detections,
        check_source,
    )
    from dino_trainer.preflight.findings import Findings
    from dino_trainer.preflight.sources import read_split_for_check
    from dino_trainer.preflight.splits import check_contents, check_leakage, check_splits
    from dino_trainer.preflight.statistics import dataset_statistics

    index = Index.read(folder / INDEX)
    assert index is not None
    staged = StagedSource(ArchivedImages(folder / "images.tar", index), folder / ANNOTATIONS, "")
    source = DataSource(image_dir=str(folder), json_file=str(folder / ANNOTATIONS))

    def run() -> object:
        findings = Findings()
        split = read_split_for_check("train", [source], lambda _: staged, findings)
        check_source(split.sources[0], findings)
        check_splits([split, split], findings)
        check_boxes_per_image(split, 300, findings)
        check_detections(split, 100, "train.max_detections", findings)
        split.sources[0].facts = [ImageFacts(f"{n:032x}", ()) for n in range(shape.images)]
        check_contents([split], findings)
        check_leakage(split, split, findings)
        found = {one.rule.id: one.count for one in findings.all()}
        assert found["leakage"] == shape.images
        return dataset_statistics([split])

    return run


def planning(_: Path, shape: Shape) -> Run:
    """The order of one epoch in batches of like size."""
    from dino_api.experiment import AugmentationConfig
    from dino_trainer.data.plan import TrainPlan
    from dino_trainer.data.sizes import PlannedSizes
    from tests.bench.coco_sizes import coco_like_sizes

    sizes = coco_like_sizes(shape.images)

    def run() -> object:
        planned = PlannedSizes(sizes, AugmentationConfig(), 0)
        order = TrainPlan(shape.images, 8, 1, 0, sizes=planned).order(0)
        assert len(order) == shape.images
        return order

    return run


def scoring(_: Path, shape: Shape) -> Run:
    """COCO's statistics as after each epoch."""
    from dino_trainer.scoring.scorer import Scorer
    from tests.bench.growth_files import made_dataset, made_detections

    dataset = made_dataset(shape)
    detections = made_detections(dataset, 100)
    return lambda: Scorer(dataset).score(detections)


def evaluating(_: Path, shape: Shape) -> Run:
    """All numbers of an evaluation, and the texts of metrics.json and report.html."""
    from dino_api.result import Metrics, ModelFile
    from dino_trainer.data.scorable import check_scored
    from dino_trainer.evaluation.page import evaluation_page
    from dino_trainer.evaluation.pictures import pictured
    from dino_trainer.evaluation.summary import evaluation_summary
    from dino_trainer.pages.gallery import Gallery
    from dino_trainer.scoring.matching import BoxSet
    from dino_trainer.scoring.scorer import Scorer, curves
    from dino_trainer.scoring.statistics import PrecisionRecall, Truth, detection_statistics
    from tests.bench.growth_files import made_dataset, made_detections

    dataset = made_dataset(shape)
    detections = made_detections(dataset, 100)
    model = ModelFile(uri="model.pth", format="checkpoint")

    def run() -> object:
        check_scored(dataset, None, 100, "evaluate.max_detections", 300)
        scorer = Scorer(dataset)
        evaluated = scorer.evaluated(detections)
        metrics = Metrics.from_coco(scorer.stats(evaluated))
        found, true = BoxSet.of_detections(detections), BoxSet.true(dataset)
        truth = Truth(true, dataset.categories, shape.images)
        made = detection_statistics(found, truth, PrecisionRecall.of(curves(evaluated)))
        pictured(made, found, true)
        numbers = json.dumps(evaluation_summary(model, dataset, metrics, made, {}))
        return numbers, evaluation_page("", (), metrics, made, Gallery())

    return run


class Curve(NamedTuple):
    """What is measured, at shapes that differ in what `of` counts. files: whether it reads them."""

    task: Callable[[Path, Shape], Run]
    of: str
    shapes: tuple[Shape, ...]
    files: bool = False

    def size(self, shape: Shape) -> int:
        """What is counted."""
        counts = {"images": shape.images, "boxes": shape.images * shape.boxes}
        return counts.get(self.of, shape.classes)


IMAGES = tuple(Shape(n) for n in (1000, 10_000, 100_000, 1_000_000) if n <= MOST_IMAGES)
BOXES = tuple(Shape(1000, boxes) for boxes in (10, 100, 1000))
CLASSES = tuple(Shape(10_000, 2, classes) for classes in (10, 100, 1000, 10_000))
CURVES: Mapping[str, Curve] = {
    "growth_images_loading": Curve(loading, "images", IMAGES, files=True),
    "growth_images_planning": Curve(planning, "images", IMAGES),
    "growth_images_preflight": Curve(preflight, "images", IMAGES, files=True),
    "growth_images_scoring": Curve(scoring, "images", IMAGES),
    "growth_images_evaluating": Curve(evaluating, "images", IMAGES),
    "growth_boxes_loading": Curve(loading, "boxes", BOXES, files=True),
    "growth_boxes_preflight": Curve(preflight, "boxes", BOXES, files=True),
    "growth_boxes_evaluating": Curve(evaluating, "boxes", BOXES),
    "growth_classes_loading": Curve(loading, "classes", CLASSES, files=True),
    "growth_classes_preflight": Curve(preflight, "classes", CLASSES, files=True),
    "growth_classes_evaluating": Curve(evaluating, "classes", CLASSES),
}


def worker(name: str, folder: Path, shape: Shape) -> None:
    """One run in a process of its own: its seconds of CPU, and the megabytes that it took."""
    run = CURVES[name].task(folder, shape)
    before, start = _peak(), time.process_time()
    made = run()
    seconds, after = time.process_time() - start, _peak()
    del made
    print(json.dumps([seconds, after - before]), flush=True)


def _peak() -> float:
    """The largest memory that this process had so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(name: str, folder: Path, shape: Shape) -> tuple[float, float]:
    """What `worker` says."""
    command = [sys.executable, "-m", "tests.bench.growth_data", name, str(folder)]
    numbers = [str(number) for number in shape]
    done = subprocess.run([*command, *numbers], stdout=subprocess.PIPE, text=True, check=True)
    seconds, megabytes = json.loads(done.stdout.splitlines()[-1])
    return seconds, megabytes


def points(name: str, root: Path) -> list[Point]:
    """The curve: all sizes in turns, the largest once."""
    curve = CURVES[name]
    found: dict[Shape, list[tuple[float, float]]] = {shape: [] for shape in curve.shapes}
    for number in range(ROUNDS):
        for shape, runs in found.items():
            if number and shape.images * shape.boxes >= ONCE:
                continue
            folder = root / "-".join(map(str, shape))
            if curve.files and not folder.exists():
                folder.mkdir()
                write(folder, shape)
            runs.append(measured(name, folder, shape))
    return [
        Point(curve.size(shape), median(s for s, _ in runs), median(mb for _, mb in runs))
        for shape, runs in found.items()
    ]


def main() -> None:
    if len(sys.argv) > 2:
        name, folder, *numbers = sys.argv[1:]
        worker(name, Path(folder), Shape(*map(int, numbers)))
        return
    facts = machine()
    with tempfile.TemporaryDirectory() as folder:
        for name, curve in CURVES.items():
            note = " ".join(str(curve.task.__doc__).split())
            grown(name, curve.of, points(name, Path(folder)), facts, note).emit()


if __name__ == "__main__":
    main()
