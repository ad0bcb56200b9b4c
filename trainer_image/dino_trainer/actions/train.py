"""`dino train`: from a resolved spec to a trained, scored and published detector."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from dino_api.experiment import DataSource, ExperimentSpec
from dino_api.names import FailureReason
from dino_api.result import Artifact, Checkpoint, Dataset, Metrics, Result
from dino_trainer.data.coco import CocoDataset, load_coco
from dino_trainer.data.loader import train_loader
from dino_trainer.data.sampler import INIT, TrainPlan, seed_of
from dino_trainer.data.stage import stage
from dino_trainer.errors import TrainerError, invalid_dataset, invalid_spec
from dino_trainer.evaluate import Scorer, detect
from dino_trainer.model import Criterion, build_dino
from dino_trainer.run import RunContext
from dino_trainer.storage import sha256_of
from dino_trainer.train import checkpoint, loop, machine, state, weights
from dino_trainer.train.checkpoint import BEST, LATEST, PREVIOUS, Content
from dino_trainer.train.ema import Ema
from dino_trainer.train.optim import Schedule, build_optimizer
from dino_trainer.train.picture import draw_grid

PICTURE = "validation.png"
PICTURED = 12


@dataclass(frozen=True)
class Data:
    """Both splits. `warnings` is what is odd and was not an error."""

    train: CocoDataset
    validation: CocoDataset
    num_classes: int
    warnings: list[str]


def run(spec: ExperimentSpec, context: RunContext) -> Result:
    """Train to the end, from the latest checkpoint in the output if there is one.

    Raises:
        TrainerError: with the reason that the failure catalogue has for it.
    """
    machine.tune(spec.train.cudnn)
    data = load_data(spec, context)
    saved = state.find(spec, context, data.train.digest)
    training = prepare(spec, context, data, saved)
    pin = training.device.type == "cuda"
    position = training.plan.position(training.step)
    batches = train_loader(data.train, spec.dataset, training.plan, position=position, pin=pin)
    context.reporter.event(
        f"Training {training.plan.steps - training.step} of {training.plan.steps} steps, "
        f"{training.plan.steps_per_epoch} an epoch, on {machine.describe(training.device)}."
    )
    loop.train(training, batches)
    return conclude(training, context, data)


def load_data(spec: ExperimentSpec, context: RunContext) -> Data:
    """Stage and read both splits; without validation data, training data stands in for it."""
    train = read_split(spec.dataset.train_data_sources, "train_data_sources", context)
    warnings = list(train.warnings)
    if spec.dataset.val_data_sources:
        validation = read_split(spec.dataset.val_data_sources, "val_data_sources", context)
        warnings += [text for text in validation.warnings if text not in warnings]
    else:
        validation = train
        warnings.append("There is no validation data: metrics are those of the training data.")
    num_classes = count_classes(spec.dataset.num_classes, train)
    for text in warnings:
        context.reporter.event(f"Warning: {text}")
    return Data(train, validation, num_classes, warnings)


def read_split(sources: Sequence[DataSource] | None, key: str, context: RunContext) -> CocoDataset:
    """One split, copied to this machine if it is elsewhere."""
    if not sources:
        raise invalid_spec(f"dataset.{key} is empty.", "Name a folder and an annotation file.")
    into = context.work_dir / "data"
    return load_coco(stage(sources, into, context.reporter.say, context.stop))


def count_classes(asked: int | None, train: CocoDataset) -> int:
    """The number of classes: what the spec says, or what the data needs.

    Raises:
        TrainerError: InvalidDataset if the spec says less than the data needs.
    """
    needed = train.num_classes
    if asked is None:
        return needed
    if asked < needed:
        raise invalid_dataset(
            f"dataset.num_classes is {asked}, but the largest category id is {needed - 1}, which "
            f"takes {needed}.",
            f"Set it to {needed} (numClasses of a DinoJob), or leave it out.",
        )
    return asked


def prepare(
    spec: ExperimentSpec, context: RunContext, data: Data, saved: Content | None
) -> loop.Run:
    """Build everything that training needs and put it where `saved` left off."""
    seed = saved["seed"] if saved else spec.train.seed
    if seed < 0:
        seed = secrets.randbelow(2**31)
    plan = plan_for(spec, data.train, seed)
    device = machine.pick_device(spec.train.num_gpus)
    model = build_model(spec, context, data.num_classes, seed, fresh=saved is None).to(device)
    about = state.describe(spec, context.digest, class_names(data))

    def save_latest(run: loop.Run) -> None:
        content = state.whole(run, about, data.train.digest)
        folder = context.output.dir
        checkpoint.write(content, folder / LATEST, folder / PREVIOUS)
        context.output.publish_soon(LATEST, PREVIOUS)

    def save_best(run: loop.Run) -> None:
        checkpoint.write(state.weights_only(run, about), context.output.dir / BEST)
        context.output.publish_soon(BEST)

    training = loop.Run(
        spec=spec,
        plan=plan,
        model=model,
        criterion=Criterion(spec.model).to(device),
        optimizer=build_optimizer(model, spec.train.optim),
        schedule=Schedule(spec.train.optim, plan.steps_per_epoch, plan.steps),
        ema=Ema(model, spec.train.ema.decay) if spec.train.ema.enabled else None,
        device=device,
        validate=validator(spec, context, data),
        save_latest=save_latest,
        save_best=save_best,
        image_name=lambda index: data.train.images[index].path.name,
        watcher=context.reporter,
        stop=context.stop,
    )
    if saved:
        state.restore(training, saved, best_is_here=context.output.fetch(BEST) is not None)
    return training


def plan_for(spec: ExperimentSpec, train: CocoDataset, seed: int) -> TrainPlan:
    """The order of training. Raises InvalidDataset where there is not one batch of images."""
    try:
        return TrainPlan(len(train.images), spec.dataset.batch_size, spec.train.num_epochs, seed)
    except ValueError as error:
        raise invalid_dataset(str(error)) from error


def build_model(
    spec: ExperimentSpec, context: RunContext, num_classes: int, seed: int, fresh: bool
) -> nn.Module:
    """The model with its first weights, unless a checkpoint is going to replace them anyway."""
    torch.manual_seed(seed_of(INIT, seed))
    try:
        model = build_dino(spec.model, num_classes)
    except ValueError as error:
        raise invalid_spec(str(error)) from error
    if fresh:
        for text in weights.load_initial(model, spec, context.work_dir):
            context.reporter.event(f"Warning: {text}")
    weights.freeze(model, spec.train.freeze)
    return model


def validator(spec: ExperimentSpec, context: RunContext, data: Data) -> loop.Validate:
    """What scores a model on the validation data, in TAO's way or in all categories."""
    scorer = Scorer(data.validation, spec.dataset.eval_class_ids)

    def validate(model: nn.Module) -> Metrics | None:
        found = detect(model, data.validation, spec, stop=context.stop)
        return None if found is None else Metrics.from_coco(scorer.score(found))

    return validate


def class_names(data: Data) -> list[str]:
    """Name by label, "" where none is known, for all `num_classes`."""
    return [data.train.categories.get(label, "") for label in range(data.num_classes)]


def conclude(run: loop.Run, context: RunContext, data: Data) -> Result:
    """Publish the picture and say what came out."""
    best = published(context, BEST)
    picture = draw_picture(run, context, data)
    context.output.remove(PREVIOUS)  # nothing is left to resume
    metrics = run.best.metrics if run.best else Metrics()
    return Result(
        spec_digest=context.digest,
        metrics=metrics,
        checkpoint=Checkpoint(
            uri=best.uri,
            latest_uri=context.output.uri(LATEST),
            epoch=run.best.epoch if run.best else run.epoch,
            metric=metrics.mAP,
            sha256=best.sha256,
            bytes=best.bytes,
        ),
        artifacts=[best, picture],
        dataset=Dataset(
            num_classes=data.num_classes,
            images=len(data.train.images),
            annotations=data.train.annotations,
            class_names=class_names(data),
            digest=data.train.digest,
            warnings=data.warnings,
        ),
    )


def published(context: RunContext, name: str) -> Artifact:
    """A file that this run, or the one it resumed, has published; it is local afterwards."""
    path = context.output.fetch(name)
    if path is None:
        raise TrainerError(
            FailureReason.INPUT_NOT_FOUND, f"{context.output.uri(name)} was there and is gone."
        )
    size = path.stat().st_size
    return Artifact(name=name, uri=context.output.uri(name), sha256=sha256_of(path), bytes=size)


def draw_picture(run: loop.Run, context: RunContext, data: Data) -> Artifact:
    """Draw what the best weights find in the first validation images, and publish it."""
    run.scored.load_state_dict(checkpoint.read(context.output.dir / BEST)["model"])
    shown = replace(data.validation, images=data.validation.images[:PICTURED])
    found = detect(run.scored, shown, run.spec)
    draw_grid(shown.images, found, class_names(data), context.output.dir / PICTURE)
    stored = context.output.publish(PICTURE)
    return Artifact(name=PICTURE, uri=stored.uri, sha256=stored.sha256, bytes=stored.bytes)
