"""The size of a batch: what its images are padded to, on the right and below."""

from dataclasses import dataclass

import numpy as np

from dino_api.experiment import AugmentationConfig
from dino_trainer.data.sizes import MULTIPLE


@dataclass(frozen=True)
class Canvas:
    """How images of a batch are padded.

    at_least: (short, long) side that every batch is padded to, or None.
    multiple: a batch's height and width are multiples of this.
    """

    at_least: tuple[int, int] | None = None
    multiple: int = 1

    def each(self, sizes: np.ndarray) -> np.ndarray:
        """(height, width) of batches of one image each, int[n, 2]."""
        if self.at_least is not None:
            short, long = self.at_least
            upright = sizes[:, :1] > sizes[:, 1:]
            sizes = np.maximum(sizes, np.where(upright, (long, short), (short, long)))
        return -(-sizes // self.multiple) * self.multiple

    def together(self, sizes: np.ndarray, batch: int) -> np.ndarray:
        """The sizes of batches of `batch` images in a row, the last one with what is left."""
        starts = np.arange(0, len(sizes), batch)
        return np.maximum.reduceat(self.each(sizes), starts, axis=0)


def train_canvas(config: AugmentationConfig) -> Canvas:
    """How training pads: to the square of the jitter, to planned sizes, or as validation does."""
    if config.fixed_random_crop is not None:
        return Canvas((config.fixed_random_crop, config.fixed_random_crop))
    if config.planned_sizes and config.fixed_size is None:
        return Canvas(multiple=MULTIPLE)
    return eval_canvas(config)


def eval_canvas(config: AugmentationConfig) -> Canvas:
    """TAO's fixed padding unless all images have one size anyway."""
    if not config.fixed_padding or config.fixed_size is not None:
        return Canvas()
    short = max(*config.scales, config.test_random_resize)
    return Canvas((short, max(short, config.random_resize_max_size)))
