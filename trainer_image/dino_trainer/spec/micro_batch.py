"""DINO_MICRO_BATCH: images of a forward pass where an attempt before this one ran out of memory."""

from __future__ import annotations

import os
from collections.abc import Mapping

from dino_api.experiment import DatasetConfig
from dino_api.names import Env
from dino_trainer.errors import invalid_spec


def in_batches_of(images: int | None, config: DatasetConfig) -> DatasetConfig:
    """The same data, so many images at once; None: as many as it says itself."""
    return config if images is None else config.model_copy(update={"batch_size": images})


def micro_batch_size(
    batch_size: int | None = None, env: Mapping[str, str] = os.environ
) -> int | None:
    """The number that the operator sets; None where it sets none: a batch stays whole.

    batch_size: that of a training, of which a micro-batch is a part; None for other actions, whose
    models may take fewer images than that anyway.

    Raises InvalidSpec for what is not a number from 1 (to `batch_size`).
    """
    text = env.get(Env.MICRO_BATCH)
    if not text:
        return None
    images = int(text) if text.isascii() and text.isdecimal() else 0
    if images < 1 or (batch_size and images > batch_size):
        end = f" to dataset.batch_size ({batch_size})" if batch_size else ""
        raise invalid_spec(
            f"{Env.MICRO_BATCH} is {text}, not a number from 1{end}.",
            "Leave it out; the operator sets it.",
        )
    return images
