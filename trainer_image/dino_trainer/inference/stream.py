"""Images without annotations in batches, as they come; what cannot be read is told, not raised.

An image's size is known only once its file is open, so a file is read once and looked at twice.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import ExifTags, Image
from torch.utils.data import DataLoader, Dataset

from dino_api.experiment import AugmentationConfig, DatasetConfig
from dino_trainer.data import transforms
from dino_trainer.data.image_store import ImageFile
from dino_trainer.data.loader import Batch, Collate, Sample, eval_collate, quiet_worker
from dino_trainer.errors import TrainerError
from dino_trainer.train.machine import cores_each

_SIDEWAYS = (5, 6, 7, 8)


@dataclass(frozen=True)
class Held:
    """A file that was read already."""

    name: str
    content: bytes

    def read_bytes(self) -> bytes:
        return self.content


@dataclass(frozen=True)
class Opened:
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


class Images(Dataset[Opened | Unreadable]):
    """Files by their place, each taken through the geometry of validation."""

    def __init__(self, files: Sequence[ImageFile], config: AugmentationConfig) -> None:
        self._files, self._config = files, config

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Opened | Unreadable:
        try:
            return _opened(index, self._files[index], self._config)
        except MemoryError:
            raise
        # A broken file may raise anything in a decoder; whatever it is, the others can be read.
        except Exception as error:  # noqa: BLE001
            return Unreadable(index, _reason(error))


def _opened(index: int, file: ImageFile, config: AugmentationConfig) -> Opened:
    held = Held(file.name, file.read_bytes())
    size = upright_size(held.content)
    geometry = transforms.draw_eval(config, size)
    shrink = transforms.shrink_for(geometry, size)
    picture = transforms.read_image(held, size[1], size[0], shrink)
    pixels = transforms.apply(picture, geometry, size)
    nothing = torch.empty(0, dtype=torch.int64)
    return Opened(Sample(index, pixels, torch.empty(0, 4), nothing), size)


def upright_size(content: bytes) -> tuple[int, int]:
    """(height, width) of an image file, turned as its EXIF orientation says.

    Raises what Pillow raises for a file that is no image.
    """
    with Image.open(io.BytesIO(content)) as image:
        width, height = image.size
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) in _SIDEWAYS
    return (width, height) if turned else (height, width)


def read_upright(file: ImageFile, size: tuple[int, int]) -> Image.Image:
    """The whole picture of `size` (height, width), 8-bit RGB. Raises InvalidDataset."""
    return transforms.read_image(file, size[1], size[0])


def _reason(error: Exception) -> str:
    """Without the file's name, which stands beside it."""
    cause = error.__cause__ if isinstance(error, TrainerError) else error
    text = " ".join(str(cause or error).split())
    if "cannot identify" in text:
        return "no image"
    return (text or type(error).__name__)[:120]


@dataclass(frozen=True)
class CollateReadable:
    """Makes a `Turn` of what could be read."""

    collate: Collate

    def __call__(self, items: list[Opened | Unreadable]) -> Turn:
        opened = [item for item in items if isinstance(item, Opened)]
        sizes = torch.tensor([item.size for item in opened], dtype=torch.int64).view(-1, 2)
        batch = self.collate([item.sample for item in opened]) if opened else None
        return Turn(batch, sizes, tuple(item for item in items if isinstance(item, Unreadable)))


def stream(
    files: Sequence[ImageFile], config: DatasetConfig, batch_size: int, pin: bool
) -> DataLoader[Opened | Unreadable]:
    """Turns of at most `batch_size` images, in order. pin: whether the batches go to a GPU."""
    workers = min(config.workers, cores_each())
    options = {"worker_init_fn": quiet_worker, "prefetch_factor": 4} if workers else {}
    return DataLoader(
        Images(files, config.augmentation),
        batch_size=batch_size,
        collate_fn=CollateReadable(eval_collate(config.augmentation)),
        num_workers=workers,
        pin_memory=pin and config.pin_memory,
        **options,
    )
