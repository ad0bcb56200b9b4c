"""The kinds of model files: their endings, and what they are called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Final, Literal

Format = Literal["checkpoint", "onnx", "engine"]
INT8: Final = "int8"
"""The precision of what `quantize` left. Also stands for the format of a checkpoint in it, which
evaluate and inference alone take."""
PACKED: Final = "int8_weights"
"""Where a checkpoint has weights in INT8: they serve to find objects, not to train from."""
ENDINGS: Mapping[str, Format] = MappingProxyType(
    {
        ".pth": "checkpoint",
        ".tlt": "checkpoint",
        ".ckpt": "checkpoint",
        ".pt": "checkpoint",
        ".bin": "checkpoint",
        ".pkl": "checkpoint",
        ".safetensors": "checkpoint",
        ".onnx": "onnx",
        ".engine": "engine",
    }
)
"""What the trainer opens, and so what `spec.parent.uri` may name."""
CALLED: Mapping[str, str] = MappingProxyType(
    {
        "checkpoint": "a checkpoint",
        INT8: "a checkpoint of INT8 weights",
        "onnx": "an ONNX file",
        "engine": "a TensorRT engine",
    }
)

ARCHIVES = (".tar.gz", ".tgz", ".tar")
"""Endings of archives of images; the first is that of those which are written."""


def format_of(uri: str) -> Format | None:
    """The format, by the ending of the file; None for another ending."""
    return ENDINGS.get(PurePosixPath(uri).suffix.lower())


def endings(*formats: str) -> tuple[str, ...]:
    """The endings of files of these formats; of all where none is named."""
    return tuple(end for end, known in ENDINGS.items() if not formats or known in formats)
