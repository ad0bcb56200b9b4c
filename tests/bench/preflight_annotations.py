"""Checking the annotations of 100,000 images without looking at one: time and memory."""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from dino_api.experiment.dataset import DataSource
from dino_trainer.data.image_store import Folder
from dino_trainer.data.stage import StagedSource
from tests.bench.harness import Bench, machine

IMAGES, BOXES, CLASSES = 100_000, 7, 80
ROUNDS = 3


def write(path: Path, count: int = IMAGES) -> None:
    """A file of 700,000 boxes, as COCO's own train2017 has about; or of fewer images."""
    chance = random.Random(0)
    images = [
        {"id": 7 * n + 3, "file_name": f"{n:012d}.jpg", "width": 640, "height": 480}
        for n in range(count)
    ]
    annotations = []
    for n in range(count * BOXES):
        w, h = chance.uniform(4, 300), chance.uniform(4, 200)
        annotations.append(
            {
                "id": n + 1,
                "image_id": 7 * (n // BOXES) + 3,
                "category_id": 1 + n % CLASSES,
                "bbox": [chance.uniform(0, 640 - w), chance.uniform(0, 480 - h), w, h],
                "area": w * h,
                "iscrowd": 0,
            }
        )
    names = [{"id": n, "name": f"class {n}"} for n in range(1, CLASSES + 1)]
    document = {"images": images, "annotations": annotations, "categories": names}
    path.write_text(json.dumps(document))


def ours(path: Path) -> dict[str, Any]:
    """All that preflight asks of one file and one split of it."""
    from dino_trainer.preflight.annotations import check_boxes_per_image, check_source
    from dino_trainer.preflight.findings import Findings
    from dino_trainer.preflight.sources import read_split_for_check
    from dino_trainer.preflight.splits import check_splits
    from dino_trainer.preflight.statistics import dataset_statistics

    findings = Findings()
    staged = StagedSource(Folder(path.parent), path, "")
    source = DataSource(image_dir=str(path.parent), json_file=str(path))
    split = read_split_for_check("train", [source], lambda _: staged, findings)
    check_source(split.sources[0], findings)
    check_splits([split], findings)
    check_boxes_per_image(split, 300, findings)
    assert not findings.errors
    return dataset_statistics([split])


def peer(path: Path) -> object:
    """pycocotools reads the file and makes its index; it checks nothing."""
    from pycocotools.coco import COCO

    return COCO(str(path))


def worker(side: str, path: Path) -> None:
    """One side in a process of its own: its seconds of CPU, and its largest memory in MB."""
    start = time.process_time()
    (ours if side == "ours" else peer)(path)
    seconds = time.process_time() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([seconds, memory]), flush=True)


def measure(side: str, path: Path) -> tuple[float, float]:
    command = [sys.executable, "-m", "tests.bench.preflight_annotations", side, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, memory = json.loads(done.stdout.splitlines()[-1])
    return seconds, memory


def main() -> None:
    if len(sys.argv) == 3:
        worker(sys.argv[1], Path(sys.argv[2]))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "annotations.json"
        write(path)
        rounds = [(measure("ours", path), measure("peer", path)) for _ in range(ROUNDS)]
    own, other = ([one[side] for one in rounds] for side in (0, 1))
    said = {"images": IMAGES, "boxes": IMAGES * BOXES}
    note = "Preflight reads and checks a file; the peer, pycocotools, reads and indexes it."
    for name, unit, place in (("preflight_annotations", "s", 0), ("preflight_memory", "MB", 1)):
        values = [sorted(one[place] for one in side)[ROUNDS // 2] for side in (own, other)]
        Bench(name, values[0], values[1], unit, machine(), parts=said, note=note).emit()


if __name__ == "__main__":
    main()
