"""Checkpoints that survive a kill at any moment.

Two files. `dino_model_latest.pth` holds all that exact resume needs. `dino_model_best.pth` holds
the weights that validated best and what is needed to use them, without the optimiser. Both carry
the resolved spec and the class names, and load with `weights_only=True`: no code is run.

Random numbers need no place in a checkpoint: every draw is a function of (seed, step).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dino_api import names
from dino_trainer.model import read_state
from dino_trainer.model.file_kind import kind_of_file, refuse_inflated
from dino_trainer.model.weights import UNREADABLE
from dino_trainer.storage.files import named, replacing

LATEST, PREVIOUS, BEST = names.LATEST_CHECKPOINT, names.PREVIOUS_CHECKPOINT, names.BEST_CHECKPOINT
FORMAT = 1

# Of any file, ours or not; train.checkpoint_content says what ours hold.
Content = dict[str, Any]


def write(content: Mapping[str, object], path: Path, previous: Path | None = None) -> None:
    """Write a checkpoint so that `path` is always a whole one: aside, flushed, then renamed.

    Args:
        content: tensors and plain Python values only.
        path: replaced in one move.
        previous: where the file now at `path` is kept, if anywhere.

    Raises:
        TrainerError: DiskFull or AccessDenied; what was at `path` is still there.
    """
    with named(path), replacing(path, previous) as aside:
        _save({"format": FORMAT, **content}, aside)


def _save(content: Mapping[str, object], path: Path) -> None:
    """`torch.save`, but a full disk is the OSError that it is.

    Torch's own writer knows no errno, and closing a half-written file hides Python's.
    """
    with path.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def _why(path: Path) -> str:
    """Torch's own words are long, of several lines and coloured."""
    kind = kind_of_file(path)
    if kind.what:
        return f"it is {kind.what}"
    try:
        read_state(path)
    except ValueError:
        return "its content is damaged or cut off"
    return (
        "another program wrote it, and it has nothing to resume from. Its weights can be taken "
        "over by train.pretrained_model_path"
    )


def read(path: Path) -> Content:
    """A checkpoint's content, on the CPU.

    Raises:
        ValueError: if the file is truncated, damaged or not a checkpoint.
        TrainerError: InputNotFound or AccessDenied.
    """
    with named(path), path.open("rb") as file:
        try:
            refuse_inflated(path)
            content = torch.load(file, map_location="cpu", weights_only=True)
        # What torch raises depends on where the file was cut.
        except UNREADABLE as error:
            raise ValueError(f"{path.name} is not a whole checkpoint: {_why(path)}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} holds no checkpoint, but a {type(content).__name__}.")
    return content
