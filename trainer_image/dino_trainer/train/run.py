"""One training in progress: what it is made of, and where it stands."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import Protocol

import torch
from torch import nn

from dino_api.experiment import ExperimentSpec
from dino_api.result import Metrics, Progress
from dino_trainer.data.sampler import TrainPlan
from dino_trainer.distributed import World
from dino_trainer.model.precision import grad_scaler
from dino_trainer.report.meter import NO_PARTS, LossParts, Meter
from dino_trainer.train.best import KeptValidation, Standing
from dino_trainer.train.ema import Ema
from dino_trainer.train.loss import LossOf
from dino_trainer.train.optim import Schedule


class Watcher(Protocol):
    """Who is told how it goes: the part of the reporter that training needs."""

    def progress(self, progress: Progress, parts: LossParts = NO_PARTS) -> None: ...

    def validated(self, epoch: int, metrics: Metrics, best: bool) -> None: ...


class Keeper(Protocol):
    """Who writes checkpoints; asked on the first of several processes alone."""

    def latest(self, run: "Run") -> None:
        """All that resuming needs."""

    def best(self, run: "Run") -> None:
        """The weights that were validated last."""

    def epoch(self, run: "Run", kept: KeptValidation) -> None:
        """The same, as one of the k best."""

    def drop(self, kept: KeptValidation) -> None:
        """Drops what is not one of the k best any more."""


# Scores a model; None if the stop event cut it short. All processes take part, all get the result.
Validate = Callable[[nn.Module], Metrics | None]


@dataclass
class Run:
    """One training in progress: what it is made of, and where it stands.

    step: the number of the next step in `plan`, whose epoch e begins at e x `steps_per_epoch`.
    validated: epochs after which the last validation was. saved: (step, validated) of the last
    checkpoint. skipped: steps in a row that changed nothing, because gradients of fp16 overflowed.
    loss: the model with what it is trained for; all that trains.
    loggers: what services that record trainings call this one.
    """

    spec: ExperimentSpec
    plan: TrainPlan
    model: nn.Module
    loss: LossOf
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    ema: Ema | None
    device: torch.device
    validate: Validate
    keeper: Keeper
    image_name: Callable[[int], str]
    watcher: Watcher
    stop: Event
    world: World = field(default_factory=World.alone)
    step: int = 0
    validated: int = 0
    saved: tuple[int, int] | None = None
    skipped: int = 0
    loggers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.meter = Meter(self.plan.steps)
        self.standing = Standing(self.spec.train)
        self.scaler = grad_scaler(self.spec.train.precision, self.device)
        self.trainable = [p for p in self.loss.parameters() if p.requires_grad]
        self.parallel = self.world.wrap(self.loss)

    @property
    def epoch(self) -> int:
        """Epochs finished."""
        return self.step // self.plan.steps_per_epoch

    @property
    def finished(self) -> bool:
        return self.step == self.plan.steps

    @property
    def over(self) -> bool:
        """Nothing is left to do, so that a request to stop changes nothing."""
        whole_epoch = self.step == self.validated * self.plan.steps_per_epoch
        return whole_epoch and (self.finished or self.standing.hopeless)

    @property
    def scored(self) -> nn.Module:
        """The weights that are validated and published."""
        return self.ema.model if self.ema else self.model
