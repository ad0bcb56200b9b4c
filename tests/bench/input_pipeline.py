"""Images per second and core, from files to the training process, beside torchvision's recipe.

Both sides are a DataLoader with one worker over the same JPEGs; both mirror half of them and
resize the shorter side to one of the same eleven lengths. The peer is the "multiscale" preset of
torchvision's detection references, transforms v2 on tensors, with their collate function, which
leaves the pictures apart; ours also pads them into one batch with its mask. Seconds are CPU time
of both processes together, so that neither a busy machine nor a waiting process counts.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision.transforms import v2

from dino_api.experiment import AugmentationConfig
from dino_trainer.data.coco import CocoDataset, CocoImage, load_coco
from dino_trainer.data.loader import Batch, Collate, Sample, TrainImages, load_sample
from dino_trainer.data.plan import TrainPlan
from dino_trainer.data.random_streams import AUGMENT, Draws
from dino_trainer.data.sampler import MicroBatches
from dino_trainer.data.stage import StagedSource
from dino_trainer.data.transforms import Geometry, keep_aspect
from dino_trainer.data.workers import Requests, quiet_worker
from dino_trainer.machine import devices as cpu
from tests.bench.harness import Bench, machine, paired
from tests.bench.photographs import generated, photographs

BATCH, ROUNDS, IMAGES = 8, 5, 96
CONFIG = AugmentationConfig()
LARGE, LARGE_IMAGES = (4000, 3000), 8
Pictures = tuple[tuple[Any, ...], ...]


class Multiscale(Dataset[Sample]):
    """Our training images without the crops, which the peer does not have."""

    def __init__(self, images: tuple[CocoImage, ...]) -> None:
        self.images, self.draws = images, Draws()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> Sample:
        draws, image = self.draws.turn(AUGMENT, place), self.images[place]
        size = (image.height, image.width)
        short, longest = draws.choose(CONFIG.scales), CONFIG.random_resize_max_size
        geometry = Geometry(keep_aspect(size, short, longest), flip=draws.uniform() < 0.5)
        return load_sample(place, image, geometry)


def ours(data: CocoDataset) -> DataLoader[Sample]:
    """The loader's parts over the peer's augmentation."""
    images = Multiscale(data.images[:IMAGES])
    return DataLoader(
        images,
        batch_size=BATCH,
        drop_last=True,
        num_workers=1,
        collate_fn=Collate(),
        worker_init_fn=quiet_worker,
    )


def published(data: CocoDataset) -> DataLoader[Sample]:
    """The loader over the published augmentation, which resizes and crops half of the images."""
    images = data.images[:IMAGES]
    plan = TrainPlan(len(images), BATCH, epochs=1, seed=0)
    return DataLoader(
        TrainImages(CONFIG, seed=0),
        batch_sampler=Requests(MicroBatches(plan, rank=0), lambda key: images[key.index]),
        num_workers=1,
        collate_fn=Collate(),
        worker_init_fn=quiet_worker,
    )


def peer(source: StagedSource, pil: bool = False) -> DataLoader[Any]:
    """torchvision's own parts; with `pil` the picture is resized before it is a tensor."""
    resize = v2.RandomShortestSize(CONFIG.scales, max_size=CONFIG.random_resize_max_size)
    flip, tensor = v2.RandomHorizontalFlip(0.5), v2.ToImage()
    steps = [
        *([resize, flip, tensor] if pil else [tensor, resize, flip]),
        v2.ToDtype(torch.float32, scale=True),
        v2.ConvertBoundingBoxFormat("XYXY"),
        v2.SanitizeBoundingBoxes(),
        v2.ToPureTensor(),
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        images = torchvision.datasets.CocoDetection(
            str(source.images), str(source.annotations), transforms=v2.Compose(steps)
        )
    keys = ("boxes", "labels", "image_id")
    wrapped = torchvision.datasets.wrap_dataset_for_transforms_v2(images, target_keys=keys)
    return DataLoader(
        Subset(wrapped, range(min(IMAGES, len(wrapped)))),
        batch_size=BATCH,
        drop_last=True,
        num_workers=1,
        collate_fn=apart,
        worker_init_fn=quiet_worker,
    )


def apart(samples: list[tuple[Any, ...]]) -> Pictures:
    """The references' collate function: pictures stay apart."""
    return tuple(zip(*samples, strict=True))


def assert_same_work(our: Batch, their: Pictures) -> None:
    """As many pictures of the sizes asked for, with their boxes."""
    pictures, targets = their
    assert len(pictures) == len(our.images) == BATCH
    assert all(min(picture.shape[1:]) in CONFIG.scales for picture in pictures)
    sizes = [picture.shape[1:] for picture in pictures]
    assert min(our.images.shape[2:]) >= min(min(size) for size in sizes)
    assert list(our.targets.counts) == [len(target["boxes"]) for target in targets]


def cpu_seconds() -> float:
    """CPU time of this process and of the workers that have ended."""
    return sum(os.times()[:4])


def run(loader: Iterable[Any]) -> None:
    for _ in loader:
        pass


def side_by_side(one: DataLoader[Any], other: DataLoader[Any]) -> list[float]:
    """Images per second of CPU time of both, by the middle round."""
    both = paired(lambda: run(one), lambda: run(other), ROUNDS, clock=cpu_seconds)
    return [
        round(len(loader) * BATCH / side.median, 1)
        for loader, side in ((one, both.ours), (other, both.peer))
    ]


def measure(into: Path) -> Bench:
    """The comparison on photographs; crops, Pillow's resize and large photographs as parts."""
    data, source, words = photographs(into)
    assert_same_work(next(iter(ours(data))), next(iter(peer(source))))
    our, their = side_by_side(ours(data), peer(source))
    crops, pillow = side_by_side(published(data), peer(source, pil=True))
    large = generated(into / "large", LARGE_IMAGES, LARGE)
    parts = {
        "ours, with the published crops": crops,
        "peer, resizing with Pillow": pillow,
        f"{LARGE[0]}x{LARGE[1]} JPEGs": side_by_side(ours(load_coco([large])), peer(large)),
    }
    return Bench(
        "input_pipeline",
        our,
        their,
        "images/s/core",
        machine(),
        better="more",
        note=f"{words}, shorter side 480 to 800, a DataLoader with one worker: ours ends in padded "
        "uint8 batches with masks, torchvision's detection recipe (multiscale, v2 on tensors) in "
        "float images. Parts of two numbers are [ours, peer].",
        parts=parts,
    )


def main() -> None:
    torch.set_num_threads(1)
    cpu.tune_cpu()  # both loaders' workers as the trainer's are
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder)).emit()


if __name__ == "__main__":
    main()
