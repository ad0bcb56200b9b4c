"""The training loop. `train` reads from the first batch to the last checkpoint, top to bottom.

`run.py` holds what a training is made of, `step.py` what happens inside one step, `best.py` what is
made of validations.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from dino_api.names import FailureReason
from dino_api.result import Metrics, Progress
from dino_trainer.data.loader import Batch
from dino_trainer.errors import TrainerError
from dino_trainer.model.precision import OVERFLOWS
from dino_trainer.report.meter import LossParts
from dino_trainer.train.run import Run
from dino_trainer.train.step import accumulate, boxes_in, update

NAMED = 16


def train(run: Run, steps: Iterable[list[Batch]]) -> None:
    """Train from `run.step` to the end of the plan, or until early stopping.

    `steps` begin with the micro-batches that this process has in step `run.step`. A step waits for
    the device once in each micro-batch's matcher, and once for its own loss, after all of its work
    was handed over.

    Raises:
        TrainerError: Diverged as soon as the loss or the gradient is not finite, the checkpoint
            before it kept; Preempted when `run.stop` was set, after saving one.
    """
    run.model.train()
    after_step(run)  # a run that was stopped between a step and its validation
    if run.over:
        return
    for batches in steps:
        boxes, stop = run.world.reduce([boxes_in(batches), run.stop.is_set()])
        if stop:
            raise stopped(run)
        lr = run.schedule.apply(run.optimizer, run.step)
        pending = accumulate(run, batches, boxes / run.world.size)
        losses, sums, norm = pending.fetch(update(run))
        loss, parts = mean_loss(run, losses, sums)
        finite = math.isfinite(loss) and math.isfinite(norm)
        run.skipped = 0 if finite else run.skipped + 1
        if not finite and not may_pass(run):
            raise diverged(run, batches, losses, norm, lr)
        run.meter.step(loss if finite else None, parts)
        run.step += 1
        if run.world.is_main:
            run.watcher.progress(progress_of(run, lr), run.meter.parts)
        after_step(run)
        if run.over:
            return


def mean_loss(
    run: Run, losses: Sequence[float], sums: Mapping[str, float]
) -> tuple[float, LossParts]:
    """The step's loss and its parts: means over all processes.

    losses: of this process's micro-batches. sums: parts of all of them, by name.
    """
    names = (*run.loss.terms, *run.loss.shares)
    values = run.world.reduce([sum(losses), *(sums[name] for name in names)])
    loss, *parts = (value / run.world.size for value in values)
    means = dict(zip(names, parts, strict=True))
    return loss, LossParts(
        {name: means[name] for name in run.loss.terms},
        {name: means[name] for name in run.loss.shares},
    )


def after_step(run: Run) -> None:
    """Validate and save where it is time to."""
    if validation_due(run):
        metrics = run.validate(run.scored)
        if metrics is None:
            raise stopped(run)
        note_validation(run, metrics)
    if run.step and checkpoint_due(run):
        save(run)
    run.meter.resume()


def note_validation(run: Run, metrics: Metrics) -> None:
    """Take in a validation's result; save the weights if they are worth it."""
    run.validated = run.epoch
    better = run.standing.enter(run.epoch, metrics)
    new, dropped = run.standing.rank(run.epoch)
    if not run.world.is_main:
        return
    if better:
        run.keeper.best(run)
    if new:
        run.keeper.epoch(run, new)
    for kept in dropped:
        run.keeper.drop(kept)
    run.watcher.validated(run.epoch, metrics, better)


def save(run: Run) -> None:
    """Make what was done so far safe, unless it is."""
    if run.saved == (run.step, run.validated):
        return
    run.saved = (run.step, run.validated)
    if run.world.is_main:
        run.keeper.latest(run)


def stopped(run: Run) -> TrainerError:
    """Save, and say where the training stopped."""
    if run.step:
        save(run)
    state = "a checkpoint is saved" if run.step else "there was nothing to save yet"
    return TrainerError(
        FailureReason.PREEMPTED,
        f"Stopped on request after step {run.step} of {run.plan.steps}; {state}.",
    )


def validation_due(run: Run) -> bool:
    """Whether it is the end of a `validation_interval`-th epoch, or of the last; once each."""
    if run.epoch == run.validated or run.step % run.plan.steps_per_epoch:
        return False
    return run.finished or run.epoch % run.spec.train.validation_interval == 0


def checkpoint_due(run: Run) -> bool:
    config = run.spec.train
    if run.over:
        return True
    if config.checkpoint_interval_unit == "step":
        return run.step % config.checkpoint_interval == 0
    whole_epoch = run.step % run.plan.steps_per_epoch == 0
    return whole_epoch and run.epoch % config.checkpoint_interval == 0


def progress_of(run: Run, lr: float | None = None) -> Progress:
    """The progress of the run, for people and for the resource's status.

    lr: learning rate of the last step, None before this attempt's first.
    """
    speed, last = run.meter.step_seconds, run.standing.last
    return Progress(
        epoch=run.epoch,
        epochs=run.plan.epochs,
        step=run.step,
        steps=run.plan.steps,
        percent=100 * run.step // run.plan.steps,
        eta_seconds=run.meter.eta_seconds(run.step),
        loss=run.meter.loss,
        distillation_loss=run.meter.parts.distillation,
        learning_rate=lr,
        images_per_second=run.plan.global_batch / speed if speed else None,
        mAP=last.mAP if last else None,
        mAP50=last.mAP50 if last else None,
    )


def may_pass(run: Run) -> bool:
    """Whether a step without a finite result was only one whose gradients did not fit fp16."""
    return run.scaler.is_enabled() and run.skipped < OVERFLOWS


def diverged(
    run: Run, batches: Sequence[Batch], losses: Sequence[float], norm: float, lr: float
) -> TrainerError:
    """Names the step and its images: one of them may be the cause.

    All processes see the same loss and norm, so they all come here in the same step.
    """
    names = suspects(run, batches, losses)
    loss = run.world.reduce([sum(losses)])[0]
    what = f"loss is {loss}" if not math.isfinite(loss) else f"gradient's norm is {norm}"
    return TrainerError(
        FailureReason.DIVERGED,
        f"The {what} at epoch {run.epoch + 1}, step {run.step + 1} of {run.plan.steps} (learning "
        f"rate {lr:.3g}), on the images {names}. The last checkpoint is from before this step.",
    )


def suspects(run: Run, batches: Sequence[Batch], losses: Sequence[float]) -> str:
    """The images, of all processes, of the micro-batches whose loss is not finite, else all."""
    bad = [batch for batch, loss in zip(batches, losses, strict=True) if not math.isfinite(loss)]
    own = [[run.image_name(i) for batch in some for i in batch.indices] for some in (bad, batches)]
    gathered = run.world.gather(own)
    names: list[str] = []
    if gathered:  # rank 0
        broken, every = (list(chain.from_iterable(each)) for each in zip(*gathered, strict=True))
        names = broken or every
    names = run.world.broadcast(names)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
