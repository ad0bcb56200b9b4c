"""From an image file to an image of the size the model sees, boxes in step.

An augmentation is drawn first and applied afterwards. `draw_train` and `draw_eval` decide a
`Geometry` from the image's size alone, without touching a pixel, so the final size of every image
can be known before it is read. `apply` then does what the geometry says.

TAO's augmentations, and what they are here (`dataset.augmentation.*`):

| TAO | here |
|---|---|
| RandomHorizontalFlip(p) | `horizontal_flip_prob` |
| RandomResize(scales, max) | half of the images: `scales`, `random_resize_max_size` |
| RandomResize, RandomSizeCrop, RandomResize | the other half: `train_random_resize`, then |
| | `train_random_crop_min` to `_max`, then `scales` |
| ResizeScale(0.1, 2.0), RandomCrop, FixedPad | `fixed_random_crop`, instead of the two above |
| RandomResize([test size], max) | validation: `test_random_resize` |
| FixedPad(largest scale, max) | `fixed_padding`, on by default, in `loader.eval_collate` |
| Normalize(mean, std) | `input_mean`, `input_std`, in `loader.normalise` |
| none | `fixed_size`, `zoom_crop`, `planned_sizes` |

A crop larger than the image takes its whole side; TAO stops there with an error.

Boxes are float32[n, 4] as (left, top, right, bottom) in pixels of the image they belong to.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from dino_api.experiment import AugmentationConfig
from dino_trainer.data.decode import open_image
from dino_trainer.data.image_store import ImageFile
from dino_trainer.data.random_streams import Draws
from dino_trainer.errors import invalid_dataset

if TYPE_CHECKING:
    import torch

Size = tuple[int, int]  # (height, width)
Box = tuple[int, int, int, int]  # (left, top, right, bottom)


@dataclass(frozen=True)
class Geometry:
    """Resize to `first`, cut out `crop`, resize to `size`, mirror."""

    size: Size
    first: Size | None = None
    crop: Box | None = None
    flip: bool = False


def read_image(stored: ImageFile, width: int, height: int, shrink: int = 1) -> Image.Image:
    """Decode a file to 8-bit RGB in the orientation its annotations use.

    Greyscale, palette, CMYK and 16-bit files become RGB; transparency is dropped. The EXIF
    orientation is applied, as viewers do, unless only the unrotated file has the annotated size:
    then the boxes were drawn on the unrotated pixels.

    Args:
        stored: the file. width, height: its size in pixels, as annotated.
        shrink: 2, 4 or 8 lets a JPEG be decoded to that fraction of its sides, which is faster;
            other formats are not shrunk.

    Raises:
        TrainerError: InvalidDataset if the file is not a readable image or has another size.
    """
    opened = open_image(stored)
    size = opened.size_for((width, height))
    if size != (width, height):
        raise invalid_dataset(
            f"{stored.name} is {size[0]}x{size[1]} pixels, its annotation says {width}x{height}.",
            "Correct width and height in the annotations, or put the original image back.",
        )
    return opened.rgb(size, shrink)


def keep_aspect(size: Size, short_side: int, longest: int | None = None) -> Size:
    """The size whose short side is `short_side`, or less so that the long one fits `longest`.

    No side is less than a pixel, however thin a strip is.
    """
    low, high = min(size), max(size)
    if longest is not None and high / low * short_side > longest:
        short_side = max(1, round(longest * low / high))
    long_side = int(short_side * high / low)
    return (short_side, long_side) if size[0] <= size[1] else (long_side, short_side)


def draw_train(config: AugmentationConfig, size: Size, draws: Draws) -> Geometry:
    """The geometry of a training image of `size` (height, width).

    A mirror with probability `horizontal_flip_prob`, and one of
      - `fixed_size`: exactly that size, after an optional zoom crop;
      - `fixed_random_crop`: see `draw_jitter`;
      - half of the time a short side from `scales`; the other half a short side from
        `train_random_resize`, a random crop, then a short side from `scales`.
    """
    flip = draws.uniform() < config.horizontal_flip_prob
    first, crop = None, None
    if config.fixed_size is not None:
        if config.zoom_crop is not None:
            low, high = config.zoom_crop
            crop = draw_zoom_crop(size, (low, high), draws)
        return Geometry(_pair(config.fixed_size), crop=crop, flip=flip)
    if config.fixed_random_crop is not None:
        first, crop = draw_jitter(size, config.fixed_random_crop, draws)
        return Geometry((crop[3] - crop[1], crop[2] - crop[0]), first, crop, flip)
    if draws.uniform() >= 0.5:
        first = keep_aspect(size, draws.choose(config.train_random_resize))
        crop = draw_size_crop(
            first, config.train_random_crop_min, config.train_random_crop_max, draws
        )
        size = (crop[3] - crop[1], crop[2] - crop[0])
    final = keep_aspect(size, draws.choose(config.scales), config.random_resize_max_size)
    return Geometry(final, first, crop, flip)


def draw_eval(config: AugmentationConfig, size: Size) -> Geometry:
    """The geometry of a validation image: nothing random."""
    if config.fixed_size is not None:
        return Geometry(_pair(config.fixed_size))
    return Geometry(keep_aspect(size, config.test_random_resize, config.random_resize_max_size))


def _pair(sides: Sequence[int]) -> Size:
    height, width = sides
    return height, width


def draw_zoom_crop(size: Size, fraction: tuple[float, float], draws: Draws) -> Box:
    """A window of one random fraction of both sides, anywhere in the image."""
    low, high = fraction
    part = low + (high - low) * draws.uniform()
    return place(size, max(1, round(size[0] * part)), max(1, round(size[1] * part)), draws)


def draw_jitter(size: Size, side: int, draws: Draws) -> tuple[Size, Box]:
    """Large-scale jitter, as TAO's `fixed_random_crop`: a size, and a window in it.

    A scale is drawn evenly from 0.1 to 2.0, and the image resized, its aspect kept, to the
    largest size that fits into a square of `side` times that scale. Of what is larger than `side`
    a window of `side` is taken, each place as likely as any other. What is smaller stays whole;
    the batch pads it to the square, on the right and below.
    """
    scale = 0.1 + 1.9 * draws.uniform()
    ratio = side * scale / max(size)
    first = (max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio)))
    return first, place(first, min(side, first[0]), min(side, first[1]), draws)


def draw_size_crop(size: Size, low: int, high: int, draws: Draws) -> Box:
    """A window whose sides are drawn apart from `low` to `high` pixels, the image permitting."""
    height, width = (draws.integer(min(low, side), min(side, high)) for side in size)
    return place(size, height, width, draws)


def place(size: Size, height: int, width: int, draws: Draws) -> Box:
    """A window of `height` by `width` at a random place inside `size`."""
    top = draws.integer(0, size[0] - height)
    left = draws.integer(0, size[1] - width)
    return left, top, left + width, top + height


def shrink_for(geometry: Geometry, size: Size) -> int:
    """How far an image of `size` may be shrunk in decoding: 1, 2, 4 or 8.

    The resize that follows has to shrink by another quarter at least. It then hides that a JPEG's
    coefficients were cut instead of its pixels averaged: what comes out differs by a third of a
    grey level on average, less than between two kinds of resize. The edges of a window move to the
    nearest pixel that is left, by less than half a pixel of the result.
    """
    if geometry.first is None and geometry.crop is not None:
        left, top, right, bottom = geometry.crop
        size = (bottom - top, right - left)
    target = geometry.first or geometry.size
    factor = min(size[0] / target[0], size[1] / target[1])
    return max(shrink for shrink in (1, 2, 4, 8) if shrink == 1 or factor >= 1.25 * shrink)


def apply(image: Image.Image, geometry: Geometry, size: Size | None = None) -> "torch.Tensor":
    """The image as uint8[3, height, width] after `geometry`, pixel after pixel in memory.

    Equal to `picture` but for a few values that are rounded the other way, and three times as
    fast: torch's resize uses the CPU's vector units.

    size: what `geometry` was drawn for, if `image` was shrunk in decoding.
    """
    import torch  # the preflight draws images without it

    def resized(pixels: torch.Tensor, size: Size) -> torch.Tensor:
        if pixels.shape[1:] == size:
            return pixels
        packed = pixels[None].contiguous(memory_format=torch.channels_last)
        return torch.nn.functional.interpolate(packed, size, mode="bilinear", antialias=True)[0]

    pixels, crop = torch.from_numpy(np.array(image)).permute(2, 0, 1), geometry.crop
    if geometry.first is not None:
        pixels = resized(pixels, geometry.first)
    elif crop is not None and size is not None:
        height, width = pixels.shape[1:]
        moved = np.rint(crop * scale(size, (height, width)))
        left, top, right, bottom = moved.astype(int).tolist()
        crop = (left, top, right, bottom)
    if crop is not None:
        pixels = pixels[:, crop[1] : crop[3], crop[0] : crop[2]]
    pixels = resized(pixels, geometry.size)
    return pixels.flip(2) if geometry.flip else pixels


def picture(image: Image.Image, geometry: Geometry) -> Image.Image:
    """The image after `geometry`, without torch."""
    if geometry.first is not None:
        image = resize(image, geometry.first)
    image = resize(image, geometry.size, geometry.crop)
    if geometry.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image


def apply_boxes(boxes: np.ndarray, size: Size, geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """Carry boxes of an image of `size` through `geometry`.

    Returns:
        The boxes, clipped to the new image, float32[m, 4], and keep, bool[n]: which of the n
        given ones they are. A box with no area left is dropped.
    """
    boxes = boxes.astype(np.float64)
    height, width = size
    if geometry.first is not None:
        boxes = boxes * scale(size, geometry.first)
        height, width = geometry.first
    if geometry.crop is not None:
        left, top, right, bottom = geometry.crop
        boxes = boxes - np.array([left, top, left, top])
        height, width = bottom - top, right - left
    boxes = boxes.clip(0, np.array([width, height, width, height]))
    keep = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(axis=1)
    boxes = boxes[keep] * scale((height, width), geometry.size)
    if geometry.flip:
        boxes = boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [geometry.size[1], 0] * 2
    return boxes.astype(np.float32), keep


def scale(old: Size, new: Size) -> np.ndarray:
    """What (left, top, right, bottom) are multiplied by when `old` becomes `new`."""
    return np.array([new[1] / old[1], new[0] / old[0]] * 2)


def resize(image: Image.Image, size: Size, box: Box | None = None) -> Image.Image:
    """Antialiased bilinear resize of the window `box` (default: all of it)."""
    if box is None and image.size == (size[1], size[0]):
        return image
    if box is not None:  # cropped first: a resize with a window also reads pixels outside it
        image = image.crop(box)
    return image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
