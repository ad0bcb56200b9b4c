"""`dino train`: from a resolved spec to a trained, scored and published detector."""

from collections.abc import Callable
from dataclasses import replace

from dino_api.experiment import ExperimentSpec
from dino_api.names import PICTURE_FILE, FailureReason
from dino_api.result import Artifact, Checkpoint, Dataset, Metrics, ModelFile, Result
from dino_trainer.data.loader import train_loader
from dino_trainer.data.splits import TrainingData, load_data, tell_left_out
from dino_trainer.detectors.torch_detector import in_training
from dino_trainer.errors import TrainerError
from dino_trainer.evaluation.grid import draw_grid
from dino_trainer.machine import devices
from dino_trainer.model.precision import doubts
from dino_trainer.model_files import checkpoint
from dino_trainer.model_files.checkpoint import BEST, LATEST, PREVIOUS
from dino_trainer.recorders.sinks import recorded
from dino_trainer.run import RunContext
from dino_trainer.scoring.detection import detect
from dino_trainer.spec.micro_batch import in_batches_of
from dino_trainer.storage.files import sha256_of
from dino_trainer.storage.store import StoredFile
from dino_trainer.train import loop, state
from dino_trainer.train.checkpoint_content import Resumable
from dino_trainer.train.run import Run
from dino_trainer.train.setup import Objective, prepare_run

PICTURED = 12


def run(
    spec: ExperimentSpec,
    context: RunContext,
    aim: Callable[[TrainingData], Objective] | None = None,
) -> Result:
    """Train to the end, from the latest checkpoint in the output if there is one.

    aim: chooses what is minimised once the data is known; None: the detector's own loss.

    Raises:
        TrainerError: with the reason that the failure catalogue has for it.
    """
    devices.tune(spec.train.cudnn)
    world = context.world
    data = load_data(spec, context)
    objective = aim(data) if aim else None
    saved = saved_state(spec, context, data)
    tell_left_out(data, context)
    training = prepare_run(spec, context, data, saved, objective)
    announce_training(training, context)
    pin = training.device.type == "cuda"
    steps = train_loader(data.train, spec.dataset, training.plan, world.rank, pin=pin)
    with recorded(spec, context, training.loggers, training.step) as training.watcher:
        loop.train(training, steps)
    if note := noted(training):
        context.reporter.event(note)
    if not world.is_main:
        return Result(spec_digest=context.digest)
    return conclude(training, context, data)


def saved_state(spec: ExperimentSpec, context: RunContext, data: TrainingData) -> Resumable | None:
    """The checkpoint to go on from, read by one process for all."""
    world = context.world
    saved = state.find_resumable(spec, context, data) if world.is_main else None
    return world.broadcast(saved)


def announce_training(run: Run, context: RunContext) -> None:
    """What is going to be trained, where, and what is doubtful about it."""
    plan, processes = run.plan, run.world.size
    each = f" in each of {processes} processes" if processes > 1 else ""
    context.reporter.event(
        f"Training {plan.steps - run.step} of {plan.steps} steps, {plan.steps_per_epoch} an epoch, "
        f"{plan.global_batch} images a step, on {devices.device_in_words(run.device)}{each}."
    )
    if run.step:
        context.reporter.resumed(loop.progress_of(run))
    if padding := plan.padding():
        context.reporter.event(
            f"Planned sizes: batches of {padding.shapes} shapes in an epoch, "
            f"{100 * padding.share:.1f} % of their pixels padding."
        )
    if doubt := doubts(run.spec.train, run.device):
        context.reporter.event(f"Warning: {doubt}")


def noted(run: Run) -> str | None:
    """What is to be known of the end of a training."""
    if run.standing.best is None:
        return (
            f"No validation had a box to find, so none is the best: {BEST} has the last weights, "
            f"after epoch {run.epoch}. Look at the validation data: area and iscrowd of its boxes."
        )
    return stopped_early(run)


def stopped_early(run: Run) -> str | None:
    """Says in a sentence that early stopping ended the training, and why."""
    best, early = run.standing.best, run.spec.train.early_stopping
    if run.finished or best is None:
        return None
    return (
        f"Stopped early after epoch {run.epoch} of {run.plan.epochs}: none of the last "
        f"{early.patience} validations was better than that after epoch {best.epoch}"
        + (f" by more than {early.min_delta:g}." if early.min_delta else ".")
    )


def conclude(run: Run, context: RunContext, data: TrainingData) -> Result:
    """Publish the picture and say what came out."""
    top = run.standing.best
    if top is None:  # no validation had anything to find: the last weights are as good as any
        run.keeper.best(run)
        context.output.settle()
    best = published_artifact(context, BEST)
    listed = context.output.published()
    kept = [listed[one.name].artifact(one.name) for one in run.standing.kept]
    picture = draw_picture(run, context, data)
    context.output.remove(PREVIOUS)  # nothing is left to resume
    metrics = top.metrics if top else Metrics()
    return Result(
        spec_digest=context.digest,
        note=noted(run),
        metrics=metrics,
        checkpoint=Checkpoint(
            uri=best.uri,
            latest_uri=context.output.uri(LATEST),
            epoch=top.epoch if top else run.epoch,
            metric=metrics.mAP,
            sha256=best.sha256,
            bytes=best.bytes,
        ),
        model=ModelFile(
            uri=best.uri,
            format="checkpoint",
            precision=run.spec.train.precision,
            sha256=best.sha256,
            bytes=best.bytes,
        ),
        artifacts=[best, *kept, picture],
        dataset=Dataset(
            num_classes=data.num_classes,
            images=len(data.train.images),
            annotations=data.train.annotations,
            class_names=data.class_names,
            digest=data.train.digest,
            warnings=data.warnings,
        ),
    )


def published_artifact(context: RunContext, name: str) -> Artifact:
    """A file that this run, or the one it resumed, has published; it is local afterwards."""
    path = context.output.fetch(name)
    if path is None:
        raise TrainerError(
            FailureReason.INPUT_NOT_FOUND, f"{context.output.uri(name)} was there and is gone."
        )
    size = path.stat().st_size
    return StoredFile(context.output.uri(name), sha256_of(path), size).artifact(name)


def draw_picture(run: Run, context: RunContext, data: TrainingData) -> Artifact:
    """Draw what the best weights find in the first validation images, and publish it."""
    run.scored.load_state_dict(checkpoint.read(context.output.dir / BEST)["model"])
    shown = replace(data.validation, images=data.validation.images[:PICTURED])
    with in_training(run.scored, run.spec, data.class_names) as detector:
        detections = detect(detector, shown, in_batches_of(run.plan.micro_batch, run.spec.dataset))
    assert detections is not None  # nobody stops it
    draw_grid(shown.images, detections, data.class_names, context.output.dir / PICTURE_FILE)
    return context.output.publish(PICTURE_FILE).artifact(PICTURE_FILE)
