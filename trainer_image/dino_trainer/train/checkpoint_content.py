"""What our own checkpoints hold, key by key; `model_files.checkpoint` reads and writes them."""

from __future__ import annotations

from typing import Any, TypedDict

from dino_trainer.data.plan import PositionContent
from dino_trainer.train.best import MetricsContent, StandingContent

# What torch makes of a module or an optimiser, and reads again.
State = dict[str, Any]


class About(TypedDict):
    """What every checkpoint of a training says about itself. spec: resolved, as JSON types."""

    spec: dict[str, Any]
    spec_digest: str
    class_names: list[str]
    versions: dict[str, str]


class ReadData(TypedDict):
    """What a training reads. dataset_digest, validation_digest: of the data. left_out: the names of
    images that are left out, by the key of the data and by source."""

    dataset_digest: str
    validation_digest: str
    left_out: dict[str, list[list[str]]]


class ValidatedWeights(About):
    """The weights that were validated, and how they did."""

    step: int
    epoch: int
    metrics: MetricsContent | None
    model: State


class OptionalContent(TypedDict, total=False):
    """What a checkpoint to resume from may lack. extra: what was trained beside the model.
    validation_digest, left_out: as of `ReadData`."""

    spec: dict[str, Any]
    class_names: list[str]
    versions: dict[str, str]
    epoch: int
    extra: State
    validation_digest: str
    left_out: dict[str, list[list[str]]]


class Resumable(OptionalContent, StandingContent):
    """All that exact resume needs. ema: None where no average is kept."""

    spec_digest: str
    dataset_digest: str
    seed: int
    step: int
    position: PositionContent
    validated: int
    model: State
    ema: State | None
    optimizer: State
    scaler: State
    skipped: int
    loggers: dict[str, str]


NEEDED = Resumable.__required_keys__
