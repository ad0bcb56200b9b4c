"""What an exported file says of itself, in its `metadata_props`.

The same keys as `dino_trainer.model_files.graph_metadata` writes; tests hold the two together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PREFIX, SCHEMA = "dino.", 1
_INT8 = "int8"
_MOST = 1 << 16
_UNREADABLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
_REMEDY = "Take a file that `dino export` or `dino quantize` made."


class NotADetector(ValueError):
    """A file that this package cannot use, in a sentence with what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(f"{message} {_REMEDY}")


@dataclass(frozen=True)
class Description:
    """class_names: by label, "" for labels that stand for nothing. size: (height, width) that the
    graph takes. batch: the one batch it takes, None for any. mean, std: of pixels from 0 to 1.
    select: detections of an image. end_to_end: whether the graph prepares pixels and chooses boxes
    itself. exact: whether ONNX Runtime must be asked to be exact on older x86.
    """

    class_names: tuple[str, ...]
    size: tuple[int, int]
    batch: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    select: int
    end_to_end: bool
    exact: bool


def described(props: Mapping[str, str], where: str) -> Description:
    """Reads them. Raises NotADetector where they are missing, or of a release that is not known."""
    if f"{PREFIX}schema" not in props:
        raise NotADetector(f"{where} does not say what it detects.")
    try:
        return _described(props, where)
    except NotADetector:
        raise
    except _UNREADABLE as error:
        raise NotADetector(
            f"{where} says of itself what cannot be read: {error!r:.200}."
        ) from error


def _described(props: Mapping[str, str], where: str) -> Description:
    metadata = {
        name.removeprefix(PREFIX): json.loads(value)
        for name, value in props.items()
        if name.startswith(PREFIX)
    }
    if metadata["schema"] != SCHEMA:
        raise NotADetector(f"{where} has schema {metadata['schema']!r:.40}, and {SCHEMA} is known.")
    height, width = map(_count, metadata["input_size"])
    pixels, quantized = metadata["preprocessing"], metadata.get("quantization") or {}
    batch, headroom = metadata["batch_size"], quantized.get("headroom") is True
    return Description(
        class_names=tuple(map(str, metadata["class_names"])),
        size=(height, width),
        batch=None if batch is None else _count(batch),
        mean=_channels(pixels["mean"]),
        std=_channels(pixels["std"]),
        select=_count(metadata["num_select"]),
        end_to_end=metadata["variant"] == "end_to_end",
        exact=metadata["precision"] == _INT8 and not headroom,
    )


def _count(value: Any) -> int:
    """Raises ValueError, TypeError, OverflowError."""
    if not 0 < (number := int(value)) <= _MOST:
        raise ValueError(f"{number} is no count")
    return number


def _channels(values: Any) -> tuple[float, ...]:
    """A number for red, green and blue each. Raises ValueError, TypeError."""
    red, green, blue = map(float, values)
    return red, green, blue
