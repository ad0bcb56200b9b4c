"""Images without annotations in batches, as they come; what cannot be read is told, not raised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch.utils.data import Dataset

from dino_api.experiment import AugmentationConfig, DatasetConfig
from dino_trainer.data import transforms
from dino_trainer.data.decode import UnreadableImage, open_image
from dino_trainer.data.image_store import ImageFile
from dino_trainer.data.loader import Batch, Collate, Sample, eval_collate
from dino_trainer.data.workers import Loader, Requests


@dataclass(frozen=True)
class OpenedImage:
    """A readable image. size: (height, width) of the upright original."""

    sample: Sample
    size: tuple[int, int]


@dataclass(frozen=True)
class Unreadable:
    """An image that cannot be used. why: a few words."""

    index: int
    why: str


@dataclass(frozen=True)
class Turn:
    """One batch and what fell out of it. sizes: int64[b, 2], (height, width) of the originals."""

    batch: Batch | None
    sizes: torch.Tensor
    unreadable: tuple[Unreadable, ...]

    def pin_memory(self) -> Turn:
        """The DataLoader calls this where pinning is on."""
        batch = self.batch and self.batch.pin_memory()
        return Turn(batch, self.sizes, self.unreadable)


class Images(Dataset[OpenedImage | Unreadable]):
    """Takes each file, known by its place, through the geometry of validation."""

    def __init__(self, config: AugmentationConfig) -> None:
        self._config = config

    def __getitem__(self, request: tuple[int, ImageFile]) -> OpenedImage | Unreadable:
        index, file = request
        try:
            return _opened(index, file, self._config)
        except UnreadableImage as error:  # the others can be read
            return Unreadable(index, error.why)


def _opened(index: int, file: ImageFile, config: AugmentationConfig) -> OpenedImage:
    opened = open_image(file)
    size = opened.upright[::-1]
    geometry = transforms.draw_eval(config, size)
    picture = opened.rgb(opened.upright, transforms.shrink_for(geometry, size))
    pixels = transforms.apply(picture, geometry, size)
    nothing = torch.empty(0, dtype=torch.int64)
    return OpenedImage(Sample(index, pixels, torch.empty(0, 4), nothing), size)


def read_upright(file: ImageFile, size: tuple[int, int]) -> Image.Image:
    """The whole picture of `size` (height, width), 8-bit RGB. Raises InvalidDataset."""
    return transforms.read_image(file, size[1], size[0])


@dataclass(frozen=True)
class CollateReadable:
    """Makes a `Turn` of what could be read."""

    collate: Collate

    def __call__(self, items: list[OpenedImage | Unreadable]) -> Turn:
        opened = [item for item in items if isinstance(item, OpenedImage)]
        sizes = torch.tensor([item.size for item in opened], dtype=torch.int64).view(-1, 2)
        batch = self.collate([item.sample for item in opened]) if opened else None
        return Turn(batch, sizes, tuple(item for item in items if isinstance(item, Unreadable)))


def stream(
    files: Sequence[ImageFile], config: DatasetConfig, batches: Sequence[Sequence[int]], pin: bool
) -> Loader[Turn]:
    """A turn for each of `batches`, places of `files`, in order. pin: whether they go to a GPU."""
    images = Images(config.augmentation)
    collate = CollateReadable(eval_collate(config.augmentation))
    return Loader(images, Requests(batches, files.__getitem__), collate, config, pin)
