"""Images and boxes in batches.

Pixels stay uint8 until they are on the device: `normalise` there reads a quarter of the bytes.
Images of different sizes are padded to the right and below; a mask says where. It is made from
the sizes on the device, so that it needs no way out of a worker.

Letters in shapes: b images in a batch, n boxes in all of them, h and w the batch's size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from dino_api.experiment import AugmentationConfig, DatasetConfig
from dino_trainer.data import transforms
from dino_trainer.data.canvas import Canvas, eval_canvas, train_canvas
from dino_trainer.data.coco import CocoDataset, CocoImage
from dino_trainer.data.random_streams import AUGMENT, Draws
from dino_trainer.data.sampler import MicroBatches, SampleKey, TrainPlan
from dino_trainer.data.workers import Loader, Requests
from dino_trainer.targets import Targets


@dataclass(frozen=True)
class Sample:
    """One image ready for a batch. Boxes are (cx, cy, w, h) as shares of the image."""

    index: int
    image: torch.Tensor  # uint8[3, h, w]
    boxes: torch.Tensor  # float32[n, 4]
    labels: torch.Tensor  # int64[n]


@dataclass(frozen=True)
class Batch:
    """Images of one forward pass.

    indices: places in the dataset, by which names and original sizes are found.
    images: uint8[b, 3, h, w], pixel after pixel in memory, padded to the right and below.
    sizes: int32[b, 2], height and width of each image; None if all fill their place.
    """

    indices: tuple[int, ...]
    images: torch.Tensor
    sizes: torch.Tensor | None
    targets: Targets

    @cached_property
    def mask(self) -> torch.Tensor | None:
        """bool[b, h, w], True on padding; None if there is none. Made where the images are."""
        if self.sizes is None:
            return None
        height, width = self.images.shape[2:]
        rows = torch.arange(height, device=self.sizes.device) >= self.sizes[:, :1]
        columns = torch.arange(width, device=self.sizes.device) >= self.sizes[:, 1:]
        return rows[:, :, None] | columns[:, None, :]

    def to(self, device: torch.device) -> "Batch":
        """The same on `device`; from pinned memory the copy does not wait."""
        return Batch(
            self.indices,
            self.images.to(device, non_blocking=True),
            None if self.sizes is None else self.sizes.to(device, non_blocking=True),
            self.targets.to(device),
        )

    def pin_memory(self) -> "Batch":
        """The same in page-locked memory; the DataLoader calls this where pinning is on."""
        return Batch(
            self.indices,
            self.images.pin_memory(),
            None if self.sizes is None else self.sizes.pin_memory(),
            self.targets.pin_memory(),
        )


class TrainImages(Dataset[Sample]):
    """Augments training images; crowd boxes are left out, as in the published training."""

    def __init__(self, config: AugmentationConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        self._draws = Draws()

    def __getitem__(self, request: tuple[SampleKey, CocoImage]) -> Sample:
        key, image = request
        draws = self._draws.turn(AUGMENT, self.seed, key.epoch, key.index)
        geometry = transforms.draw_train(self.config, (image.height, image.width), draws)
        return load_sample(key.index, image, geometry)


class EvalImages(Dataset[Sample]):
    """Validation images, nothing random."""

    def __init__(self, config: AugmentationConfig) -> None:
        self.config = config

    def __getitem__(self, request: tuple[int, CocoImage]) -> Sample:
        index, image = request
        geometry = transforms.draw_eval(self.config, (image.height, image.width))
        return load_sample(index, image, geometry)


def load_sample(index: int, image: CocoImage, geometry: transforms.Geometry) -> Sample:
    """Read one image and take it and its boxes, crowds excepted, through `geometry`."""
    size = (image.height, image.width)
    shrink = transforms.shrink_for(geometry, size)
    picture = transforms.read_image(image.file, image.width, image.height, shrink)
    pixels = transforms.apply(picture, geometry, size)
    wanted = ~image.crowd
    left_top, sides = image.boxes[wanted, :2], image.boxes[wanted, 2:]
    corners = np.concatenate([left_top, left_top + sides], axis=1)
    boxes, keep = transforms.apply_boxes(corners, size, geometry)
    return Sample(
        index,
        pixels,
        relative(torch.from_numpy(boxes), geometry.size),
        torch.from_numpy(image.labels[wanted][keep]),
    )


def relative(boxes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(left, top, right, bottom) in pixels to (cx, cy, w, h) as shares of `size` (h, w)."""
    low, high = boxes[:, :2], boxes[:, 2:]
    sides = torch.tensor([size[1], size[0]] * 2, dtype=boxes.dtype)
    return torch.cat([(low + high) / 2, high - low], dim=1) / sides


@dataclass(frozen=True)
class Collate(Canvas):
    """Joins samples to a batch of the size that `Canvas` says."""

    def __call__(self, samples: list[Sample]) -> Batch:
        sizes = [(sample.image.shape[1], sample.image.shape[2]) for sample in samples]
        [[height, width]] = self.together(np.array(sizes), len(sizes)).tolist()
        images = _empty(len(samples), height, width, 3).permute(0, 3, 1, 2)
        for picture, sample, (h, w) in zip(images, samples, sizes, strict=True):
            picture[:, :h, :w] = sample.image
            picture[:, h:] = 0
            picture[:, :h, w:] = 0
        targets = Targets.collate([(sample.labels, sample.boxes) for sample in samples])
        indices = tuple(sample.index for sample in samples)
        full = all(size == (height, width) for size in sizes)
        return Batch(
            indices, images, None if full else torch.tensor(sizes, dtype=torch.int32), targets
        )


def _empty(*shape: int) -> torch.Tensor:
    """uint8 of `shape`; in a loader's worker already where the training process will read it."""
    tensor = torch.empty(shape, dtype=torch.uint8)
    if get_worker_info() is not None:
        tensor.share_memory_()
    return tensor


def normalise(
    images: torch.Tensor, mask: torch.Tensor | None, mean: Sequence[float], std: Sequence[float]
) -> torch.Tensor:
    """uint8[b, 3, h, w] to float32: (value / 255 - mean) / std, and zero on padding."""
    shape = (1, 3, 1, 1)
    scale = torch.tensor([1 / (255 * s) for s in std], device=images.device).view(shape)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=images.device)
    values = torch.addcmul(shift.view(shape), images.float(), scale)
    return values if mask is None else values.masked_fill_(mask[:, None], 0.0)


class TrainLoader:
    """The steps of one process, each as the list of its micro-batches.

        loader = train_loader(data, spec.dataset, plan, rank, pin)
        for micro_batches in loader:        # one optimiser step
            for batch in micro_batches:     # one forward pass, `plan.passes` of them

    One set of workers serves the whole training: nothing restarts between epochs.
    """

    def __init__(self, micro_batches: Loader[Batch], plan: TrainPlan) -> None:
        self._micro_batches, self._plan = micro_batches, plan

    def __iter__(self) -> Iterator[list[Batch]]:
        batches = iter(self._micro_batches)
        while step := list(islice(batches, self._plan.passes)):
            yield step

    def __len__(self) -> int:
        return len(self._micro_batches) // self._plan.passes


def train_loader(
    dataset: CocoDataset,
    config: DatasetConfig,
    plan: TrainPlan,
    rank: int = 0,
    pin: bool = False,
) -> TrainLoader:
    """What process `rank` trains on, from `plan.start` to the end.

    See `TrainLoader` for how it is used.
    """
    images = TrainImages(config.augmentation, plan.seed)
    requests = Requests(MicroBatches(plan, rank), lambda key: dataset.images[key.index])
    collate = train_collate(config.augmentation)
    return TrainLoader(Loader(images, requests, collate, config, pin), plan)


def eval_loader(
    dataset: CocoDataset, config: DatasetConfig, batches: Sequence[Sequence[int]], pin: bool
) -> Loader[Batch]:
    """The images at the places that `batches` name."""
    images, collate = EvalImages(config.augmentation), eval_collate(config.augmentation)
    return Loader(images, Requests(batches, dataset.images.__getitem__), collate, config, pin)


def cut(images: int, size: int) -> list[list[int]]:
    """Batches of `size` places in their order, the last one with what is left."""
    return [list(range(at, min(at + size, images))) for at in range(0, images, size)]


def train_collate(config: AugmentationConfig) -> Collate:
    """Joins training images."""
    canvas = train_canvas(config)
    return Collate(canvas.at_least, canvas.multiple)


def eval_collate(config: AugmentationConfig) -> Collate:
    """Joins images that are scored."""
    return Collate(eval_canvas(config).at_least)
