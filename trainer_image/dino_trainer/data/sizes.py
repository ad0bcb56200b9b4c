"""Batches of like size: the size of every image is known before one is read.

Images of a batch are padded to its largest height and width. Batches of images that come as
they are shuffled waste two fifths of their pixels on padding; batches of like size a twentieth.
What happens to an image is the same either way, only who shares a batch with whom differs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dino_api.experiment import AugmentationConfig
from dino_trainer.data.random_streams import AUGMENT, Draws
from dino_trainer.data.transforms import Size, draw_train

# Sides of planned batches are multiples of this, as the coarsest feature map of a backbone is.
MULTIPLE = 32
# Images whose sizes are objects at a time.
_AT_ONCE = 10_000


class AnnotatedSize(Protocol):
    """An image as its annotation describes it."""

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...


def planned(
    images: Sequence[AnnotatedSize], config: AugmentationConfig, seed: int
) -> "PlannedSizes | None":
    """The sizes to plan with; None where that is off, or all images have one size anyway."""
    alike = config.fixed_size is not None or config.fixed_random_crop is not None
    if not config.planned_sizes or alike:
        return None
    sides = (side for image in images for side in (image.height, image.width))
    sizes = np.fromiter(sides, np.int32, 2 * len(images)).reshape(-1, 2)
    return PlannedSizes(sizes, config, seed)


@dataclass(frozen=True, eq=False)
class PlannedSizes:
    """The sizes that the images of a data set will have, by epoch.

    images: (height, width) of each image as stored, int[n, 2].
    """

    images: np.ndarray
    config: AugmentationConfig
    seed: int

    def of(self, epoch: int) -> np.ndarray:
        """(height, width) of every image in one epoch, int32[n, 2]; about 10 µs an image."""
        draws, planned = Draws(), np.empty((len(self.images), 2), np.int32)
        for index, size in enumerate(self._each()):
            stream = draws.turn(AUGMENT, self.seed, epoch, index)
            planned[index] = draw_train(self.config, size, stream).size
        return planned

    def _each(self) -> Iterator[Size]:
        """One after another: as objects, those of a million images take 100 MB in each process."""
        for start in range(0, len(self.images), _AT_ONCE):
            some = self.images[start : start + _AT_ONCE].tolist()
            yield from ((height, width) for height, width in some)


def rounded_up(sides: np.ndarray) -> np.ndarray:
    """The next multiples of MULTIPLE."""
    return -(-sides // MULTIPLE) * MULTIPLE


def by_size(sizes: np.ndarray, *groups: int) -> np.ndarray:
    """An order in which every `groups[0]` images in a row are of like size.

    The images are halved by height or by width, whichever leaves less padding, and the halves
    again, until they are groups; then each group in the same way into those of `groups[1]`.

    Args:
        sizes: int[n, 2], height and width.
        groups: images in a group, the largest first.

    Returns:
        int64[n], places in `sizes`.
    """
    sides, order = rounded_up(sizes), np.arange(len(sizes))
    parts = [(0, len(sizes), 0)]
    while parts:
        low, high, level = parts.pop()
        places = order[low:high]
        count = (high - low) // groups[level]
        if count < 2 and level + 1 < len(groups):
            parts.append((low, high, level + 1))
        elif count >= 2 and (sides[places] != sides[places[0]]).any():
            middle = count // 2 * groups[level]
            order[low:high] = _halved(sides, places, middle)
            parts += [(low, low + middle, level), (low + middle, high, level)]
    return order


def _halved(sides: np.ndarray, places: np.ndarray, middle: int) -> np.ndarray:
    """`places` sorted along the axis on which a cut at `middle` leaves less padding."""
    height, width = sides[places].T
    sorts = [places[np.lexsort(keys)] for keys in ((width, height), (height, width))]
    return min(sorts, key=lambda order: _area(sides, order, middle))


def _area(sides: np.ndarray, order: np.ndarray, middle: int) -> int:
    """Pixels of two batches, `order` before and after `middle`, padding included."""
    halves = (order[:middle], order[middle:])
    return sum(len(half) * int(sides[half].max(axis=0).prod(dtype=np.int64)) for half in halves)


@dataclass(frozen=True)
class PaddingCost:
    """What padding costs. share: of all pixels. shapes: how many different ones batches have."""

    share: float
    shapes: int


def padding(sizes: np.ndarray, batch: int, multiple: int = MULTIPLE) -> PaddingCost:
    """The padding of images of `sizes`, int[n, 2], put `batch` at a time into batches.

    multiple: what the sides of a batch are multiples of.
    """
    groups = sizes[: len(sizes) // batch * batch].astype(np.int64).reshape(-1, batch, 2)
    shapes = -(-groups.max(axis=1) // multiple) * multiple
    pixels = int(groups.prod(axis=2).sum())
    return PaddingCost(
        1 - pixels / (batch * int(shapes.prod(axis=1).sum())), len(np.unique(shapes, axis=0))
    )
