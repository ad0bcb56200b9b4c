"""What the benches of inference on a CPU share: our detector, its images, and both in turns.

From JPEGs on the disk to boxes, by what `dino evaluate` itself calls: the default model, a
ResNet-50 at 640x640, opened from a checkpoint with random weights, which cost as much time as
trained ones. `dino inference` calls the same detector. A peer is a detector, too: the same loader
reads and prepares its images.

DINO_BENCH_SIDE=320 takes smaller images, for a first look.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch

from dino_api.experiment import ExperimentSpec
from dino_api.loading import load
from dino_api.result import ModelFile
from dino_trainer.data.coco import CocoDataset, load_coco
from dino_trainer.detectors.torch_detector import TorchDetector, open_checkpoint
from dino_trainer.model import build_dino
from dino_trainer.model_files import checkpoint
from dino_trainer.model_files.info import Detector, config_for
from dino_trainer.scoring.detection import DetectionSet, detect
from tests.bench.harness import Bench, Pair, machine, paired
from tests.bench.photographs import generated

SIDE = int(os.environ.get("DINO_BENCH_SIDE", "640"))
IMAGES = {1: 4, 8: 8}
"""Images of a round, by how many of them are looked at at once."""
CLASSES = 91
ROUNDS, WARMUP = 5, 1
TARGET = ">= 1.5x at batch 1 and 8"
CPU = torch.device("cpu")


def default_spec() -> ExperimentSpec:
    """The default model, with images of one size."""
    augmentation = {"fixed_size": [SIDE, SIDE]}
    return load({"results_dir": "unused", "dataset": {"augmentation": augmentation}})[0]


def our_detector(folder: Path, spec: ExperimentSpec) -> TorchDetector:
    """The model of `spec` with random weights, as evaluate and inference make it of a checkpoint.

    folder: where the checkpoint is written.
    """
    return plain_detector(folder, spec).for_detection_alone()


def plain_detector(folder: Path, spec: ExperimentSpec) -> TorchDetector:
    """The same model as it was trained, from a checkpoint that is written into `folder`."""
    torch.manual_seed(0)
    names = [f"class {index}" for index in range(CLASSES)]
    model = build_dino(spec.model, len(names)).state_dict()
    content = {"model": model, "spec": spec.model_dump(mode="json"), "class_names": names}
    path = folder / "model.pth"
    checkpoint.write(content, path)
    return open_checkpoint(path, ModelFile(uri=str(path), format="checkpoint"), spec, CPU)


def pictures(folder: Path) -> CocoDataset:
    """As many JPEGs, made up, as the largest round takes."""
    return load_coco([generated(folder / "pictures", max(IMAGES.values()), (SIDE, SIDE))])


def seen(detector: Detector, images: CocoDataset, batch: int) -> DetectionSet:
    """What it finds in a round of `images`, `batch` of them at once."""
    info = detector.info
    config = config_for(info, info.spec, None).model_copy(update={"batch_size": batch})
    some = CocoDataset(images.images[: IMAGES[batch]], images.categories, ())
    detections = detect(detector, some, config)
    assert detections is not None  # nobody asks it to stop
    return detections


def in_turns(ours: Detector, peer: Detector, images: CocoDataset) -> dict[int, Pair]:
    """Seconds of a round of both, by the images that are looked at at once."""
    return {
        batch: paired(
            partial(seen, ours, images, batch),
            partial(seen, peer, images, batch),
            rounds=ROUNDS,
            warmup=WARMUP,
        )
        for batch in IMAGES
    }


def bench_of(name: str, pairs: Mapping[int, Pair], note: str, parts: Mapping[str, float]) -> Bench:
    """The entry: images a second at the batch where ours is least ahead; all are in its parts.

    parts: more of them.
    """
    ratios = {batch: pair.peer.median / pair.ours.median for batch, pair in pairs.items()}
    worst = min(ratios, key=lambda batch: ratios[batch])
    speeds: dict[str, float] = {"side": SIDE, "rounds": ROUNDS}
    for batch, pair in pairs.items():
        speeds[f"ratio at batch {batch}"] = round(ratios[batch], 3)
        speeds[f"images/s at batch {batch}"] = round(IMAGES[batch] / pair.ours.median, 3)
        speeds[f"peer's images/s at batch {batch}"] = round(IMAGES[batch] / pair.peer.median, 3)
    return Bench(
        name,
        IMAGES[worst] / pairs[worst].ours.median,
        IMAGES[worst] / pairs[worst].peer.median,
        "images/s",
        machine(),
        better="more",
        target=TARGET,
        note=f"{note} From JPEGs to boxes, random weights; median at batch {worst}, where ours is "
        "least ahead.",
        parts={**speeds, **parts},
    )
