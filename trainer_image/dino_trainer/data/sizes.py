"""Batches of like size: the size of every picture is known before one is read.

Pictures of a batch are padded to its largest height and width. Batches of pictures that come as
they are shuffled waste two fifths of their pixels on padding; batches of like size a twentieth.
What happens to a picture is the same either way, only who shares a batch with whom differs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dino_api.experiment import AugmentationConfig
from dino_trainer.data.streams import AUGMENT, Draws
from dino_trainer.data.transforms import Size, draw_train

# Sides of planned batches are multiples of this, as the coarsest feature map of a backbone is.
MULTIPLE = 32


@dataclass(frozen=True, eq=False)
class PlannedSizes:
    """The sizes that the pictures of a data set will have, by epoch.

    images: (height, width) of each image as stored.
    """

    images: Sequence[Size]
    config: AugmentationConfig
    seed: int

    def of(self, epoch: int) -> np.ndarray:
        """(height, width) of every picture in one epoch, int32[n, 2]; 20 µs a picture."""
        draws, found = Draws(), np.empty((len(self.images), 2), np.int32)
        for index, size in enumerate(self.images):
            stream = draws.turn(AUGMENT, self.seed, epoch, index)
            found[index] = draw_train(self.config, size, stream).size
        return found


def rounded_up(sides: np.ndarray) -> np.ndarray:
    """The next multiples of MULTIPLE."""
    return -(-sides // MULTIPLE) * MULTIPLE


def by_size(sizes: np.ndarray, group: int) -> np.ndarray:
    """An order in which every `group` pictures in a row are of like size.

    Sorted by height into strips and by width inside a strip, to and fro, so that neighbours are
    alike across strips too. As many strips as there are groups in one: their cells are square.

    Args:
        sizes: int[n, 2], height and width.
        group: pictures in a group.

    Returns:
        int64[n], places in `sizes`.
    """
    heights, widths = rounded_up(sizes).T
    strips = max(1, round((len(sizes) / group) ** 0.5))
    rank = np.empty(len(sizes), np.int64)
    rank[np.lexsort((widths, heights))] = np.arange(len(sizes))
    strip = rank * strips // max(1, len(sizes))
    return np.lexsort((np.where(strip % 2, -widths, widths), strip))
