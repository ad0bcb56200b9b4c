"""The size that an exported file takes."""

from __future__ import annotations

from dino_api.experiment import ExperimentSpec
from dino_trainer.errors import invalid_spec

DEFAULT_SIDE = 640  # TAO's default


def input_size(spec: ExperimentSpec, trained: ExperimentSpec) -> tuple[int, int]:
    """Height and width of the input: the section's, else the training's fixed size, else 640.

    Raises:
        TrainerError: InvalidSpec where only one of the two is set.
    """
    asked = spec.export.input_height, spec.export.input_width
    if asked[0] is not None and asked[1] is not None:
        return asked[0], asked[1]
    if asked != (None, None):
        raise invalid_spec(
            "Of export.input_width and export.input_height only one is set.",
            "Set both, or leave both out.",
        )
    fixed = spec.dataset.augmentation.fixed_size or trained.dataset.augmentation.fixed_size
    return (fixed[0], fixed[1]) if fixed else (DEFAULT_SIDE, DEFAULT_SIDE)
