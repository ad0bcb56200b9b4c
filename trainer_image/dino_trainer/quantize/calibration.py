"""Images to take ranges from: prepared exactly as an evaluation prepares them, one after another.

TAO's calibration hands the model a fourth channel that it does not have, and takes every image of
the data set. Here at most 500 are read, evenly spread: extremes are found early, and the gate
measures on all of the test data what they are worth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from threading import Event
from typing import Any

from numpy.typing import NDArray

from dino_api.experiment import DatasetConfig
from dino_api.names import FailureReason
from dino_trainer.data.coco import CocoDataset
from dino_trainer.data.loader import cut, eval_loader, normalise
from dino_trainer.detectors.onnx_detector import OnnxDetector
from dino_trainer.errors import TrainerError, invalid_dataset
from dino_trainer.report.pace import Counted

MOST_CALIBRATION_IMAGES = 500
# On BCCD, whose photographs are much alike, ranges of 3 images lose 0.0007 of mAP, those of 10 and
# of 64 none. Other data is less alike, and without test data the gate would measure the loss on
# the very images that the ranges come from: of a few it would see none. Hence FEWEST. Below WISE
# rare objects are easily missed, and with them what the layers answer to them.
FEWEST, WISE = 10, 50


def check_count(images: int) -> str | None:
    """A warning about few images, None where they suffice.

    Raises:
        TrainerError: InvalidDataset below FEWEST.
    """
    if images < FEWEST:
        raise invalid_dataset(
            f"The calibration data has {images} {'image' if images == 1 else 'images'}, and "
            f"{FEWEST} are needed: what the layers' values range over is taken from them, and "
            "what they never show is cut off.",
            f"Name {WISE} or more as dataset.quant_calibration_data_sources (datasets.calibration "
            "of a DinoJob); some of the training images are good ones.",
        )
    if images < WISE:
        return (
            f"Warning: ranges are taken from {images} images; {WISE} or more make them depend less "
            "on which images these are."
        )
    return None


def spread(dataset: CocoDataset, most: int = MOST_CALIBRATION_IMAGES) -> CocoDataset:
    """Keeps at most so many of its images, evenly spread."""
    total = len(dataset.images)
    if total <= most:
        return dataset
    chosen = tuple(dataset.images[place * total // most] for place in range(most))
    return replace(dataset, images=chosen)


def calibration_inputs(
    detector: OnnxDetector,
    dataset: CocoDataset,
    config: DatasetConfig,
    stop: Event,
    progress: Counted,
) -> Iterator[NDArray[Any]]:
    """The graph's input for each image, [1, 3, h, w].

    float32 and normalised; uint8 for a file that does that itself. Raises Preempted at a stop;
    InvalidDataset for an image that cannot be read.
    """
    total, augmentation = len(dataset.images), config.augmentation
    for done, batch in enumerate(eval_loader(dataset, config, cut(total, 1), pin=False), start=1):
        if stop.is_set():
            raise TrainerError(
                FailureReason.PREEMPTED,
                f"Stopped on request after {done - 1} of {total} calibration images.",
            )
        pixels = batch.images
        if detector.variant == "raw":
            mean, std = augmentation.input_mean, augmentation.input_std
            pixels = normalise(pixels, batch.mask, mean, std)
        yield pixels.contiguous().numpy()
        progress(done, total)
