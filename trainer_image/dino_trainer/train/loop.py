"""The training loop. `train` reads from the forward pass to the checkpoint, top to bottom."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import Protocol

import torch
from torch import nn
from torch.utils.data import DataLoader

from dino_api.experiment import ExperimentSpec
from dino_api.names import FailureReason
from dino_api.result import Metrics, Progress
from dino_trainer.data.loader import Batch, normalise
from dino_trainer.data.sampler import STEP, TrainPlan, generator_for, seed_of
from dino_trainer.errors import TrainerError
from dino_trainer.train.ema import Ema
from dino_trainer.train.meter import Meter
from dino_trainer.train.optim import Schedule


class Watcher(Protocol):
    """Who is told how it goes: the part of the reporter that training needs."""

    def progress(self, progress: Progress) -> None: ...

    def validated(self, epoch: int, metrics: Metrics, best: bool) -> None: ...


# Scores a model; None if the stop event cut it short.
Validate = Callable[[nn.Module], Metrics | None]


@dataclass
class Best:
    """The best validation so far. `epoch` counts finished epochs."""

    epoch: int
    metrics: Metrics


@dataclass
class Run:
    """One training in progress: what it is made of, and where it stands."""

    spec: ExperimentSpec
    plan: TrainPlan
    model: nn.Module
    criterion: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    ema: Ema | None
    device: torch.device
    validate: Validate
    save_latest: Callable[["Run"], None]
    save_best: Callable[["Run"], None]
    image_name: Callable[[int], str]
    watcher: Watcher
    stop: Event
    step: int = 0
    validated_step: int = 0
    last: Metrics | None = None
    best: Best | None = None
    meter: Meter = field(init=False)

    def __post_init__(self) -> None:
        self.meter = Meter(self.plan.steps)
        self.trainable = [p for p in self.model.parameters() if p.requires_grad]

    @property
    def epoch(self) -> int:
        """Epochs finished."""
        return self.step // self.plan.steps_per_epoch

    @property
    def finished(self) -> bool:
        return self.step == self.plan.steps

    @property
    def scored(self) -> nn.Module:
        """The weights that are validated and published."""
        return self.ema.model if self.ema else self.model


def train(run: Run, batches: DataLoader) -> None:
    """Train from `run.step` to the end of the plan.

    `batches` begin with the batch of step `run.step`. A step waits for the device twice: once in
    the matcher, once for its own loss, after all of its work was handed over.

    Raises:
        TrainerError: Diverged as soon as the loss or the gradient is not finite, the checkpoint
            before it kept; Preempted when `run.stop` was set, after saving one.
    """
    config, augmentation = run.spec.train, run.spec.dataset.augmentation
    run.model.train()
    after_step(run)  # a run that was stopped between a step and its validation
    for (batch,) in batches:
        rate = run.schedule.apply(run.optimizer, run.step)
        # All that is random in a step depends on its number alone, whatever happened before.
        torch.manual_seed(seed_of(STEP, run.plan.seed, run.step))
        noise = generator_for(STEP, run.plan.seed, run.step, device=run.device)

        on_device = batch.to(run.device)
        pixels = normalise(
            on_device.images, on_device.mask, augmentation.input_mean, augmentation.input_std
        )
        outputs = run.model(pixels, on_device.mask, on_device.targets, noise)
        total = run.criterion(outputs, on_device.targets).total

        run.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(run.trainable, config.clip_grad_norm)
        run.optimizer.step()
        if run.ema:
            run.ema.update()

        loss, norm = torch.stack((total.detach(), norm)).tolist()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise diverged(run, batch, loss, norm, rate)
        run.step += 1
        run.meter.step(loss)
        run.watcher.progress(progress_of(run, rate))
        after_step(run)


def after_step(run: Run) -> None:
    """Validate and save where it is time to, and stop where that was asked for."""
    stopped = False
    if validation_due(run):
        metrics = run.validate(run.scored)
        if metrics is None:
            stopped = True
        else:
            note_validation(run, metrics)
    stopped = (stopped or run.stop.is_set()) and not done(run)
    if run.step and (stopped or checkpoint_due(run)):
        run.save_latest(run)
    if stopped:
        saved = "a checkpoint is saved" if run.step else "there was nothing to save yet"
        raise TrainerError(
            FailureReason.PREEMPTED,
            f"Stopped on request after step {run.step} of {run.plan.steps}; {saved}.",
        )
    run.meter.resume()


def note_validation(run: Run, metrics: Metrics) -> None:
    """Take in a validation's result; save the weights if they are the best so far."""
    run.validated_step, run.last = run.step, metrics
    better = run.best is None or score_of(metrics) > score_of(run.best.metrics)
    if better:
        run.best = Best(run.epoch, metrics)
        run.save_best(run)
    run.watcher.validated(run.epoch, metrics, better)


def score_of(metrics: Metrics) -> float:
    """What "best" means: mAP, and nothing to find is worse than nothing found."""
    return -1.0 if metrics.mAP is None else metrics.mAP


def validation_due(run: Run) -> bool:
    """At the end of every `validation_interval`-th epoch and of the last, once each."""
    if run.step == run.validated_step or run.step % run.plan.steps_per_epoch:
        return False
    return run.finished or run.epoch % run.spec.train.validation_interval == 0


def checkpoint_due(run: Run) -> bool:
    config = run.spec.train
    if run.finished:
        return True
    if config.checkpoint_interval_unit == "step":
        return run.step % config.checkpoint_interval == 0
    whole_epoch = run.step % run.plan.steps_per_epoch == 0
    return whole_epoch and run.epoch % config.checkpoint_interval == 0


def done(run: Run) -> bool:
    """Nothing is left to do, so that a request to stop changes nothing."""
    return run.finished and run.validated_step == run.step


def progress_of(run: Run, rate: float) -> Progress:
    """Where the run stands, for people and for the resource's status."""
    speed = run.meter.step_seconds
    return Progress(
        epoch=run.epoch,
        epochs=run.plan.epochs,
        step=run.step,
        steps=run.plan.steps,
        percent=100 * run.step // run.plan.steps,
        eta_seconds=run.meter.eta_seconds(run.step),
        loss=run.meter.loss,
        learning_rate=rate,
        images_per_second=run.plan.batch_size / speed if speed else None,
        mAP=run.last.mAP if run.last else None,
        mAP50=run.last.mAP50 if run.last else None,
    )


def diverged(run: Run, batch: Batch, loss: float, norm: float, rate: float) -> TrainerError:
    """Names the step and its images: one of them may be the cause."""
    what = f"loss is {loss}" if not math.isfinite(loss) else f"gradient's norm is {norm}"
    names = ", ".join(run.image_name(index) for index in batch.indices)
    return TrainerError(
        FailureReason.DIVERGED,
        f"The {what} at epoch {run.epoch + 1}, step {run.step + 1} of {run.plan.steps} (learning "
        f"rate {rate:.3g}), on the images {names}. The last checkpoint is from before this step.",
    )
