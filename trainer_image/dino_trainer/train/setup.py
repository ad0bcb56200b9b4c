"""Builds what a training is made of, and puts it where a checkpoint left off."""

import secrets
from collections.abc import Callable
from functools import cache

import torch
from torch import nn

from dino_api.experiment import ExperimentSpec, OptimConfig
from dino_api.result import Metrics
from dino_trainer.data.coco import CocoDataset
from dino_trainer.data.sampler import INIT, Position, TrainPlan, seed_of
from dino_trainer.data.sizes import planned
from dino_trainer.data.splits import TrainingData
from dino_trainer.detectors.torch_detector import in_training
from dino_trainer.errors import invalid_dataset, invalid_spec
from dino_trainer.machine import devices
from dino_trainer.model import Criterion, Dino, build_dino
from dino_trainer.report.pace import Watch
from dino_trainer.run import RunContext
from dino_trainer.scoring.detection import detect
from dino_trainer.scoring.scorer import Scorer
from dino_trainer.spec.micro_batch import in_batches_of, micro_batch_size
from dino_trainer.train import resuming, same_data, state, weights
from dino_trainer.train.checkpoint_content import Resumable
from dino_trainer.train.ema import Ema
from dino_trainer.train.keeper import OutputKeeper
from dino_trainer.train.loss import LossOf
from dino_trainer.train.optim import Schedule, build_optimizer
from dino_trainer.train.run import Run, Validate

# Makes what a training minimises, of its model and the plan of its steps.
Objective = Callable[[Dino, TrainPlan], LossOf]


def prepare_run(
    spec: ExperimentSpec,
    context: RunContext,
    data: TrainingData,
    saved: Resumable | None,
    objective: Objective | None = None,
) -> Run:
    """Build everything that training needs and put it where `saved` left off.

    objective: what is minimised; None: the detector's own loss.
    """
    world = context.world
    before = resuming.spec_of(saved) if saved else None
    if saved:
        for text in resuming.changes_in_words(
            spec, saved, before, data.num_classes, context.action
        ):
            context.reporter.event(text)
    seed = resuming.seed_for(spec, saved) if saved else spec.train.seed
    if seed < 0:
        seed = world.broadcast(secrets.randbelow(2**31))
    start = Position.read(saved["position"]) if saved else Position()
    plan = plan_for(spec, data.train, seed, world.size).resumed(start)
    device = devices.pick_device(spec.train.num_gpus, world.local_rank)
    with world.first_here():
        model = build_model(spec, context, data.num_classes, seed, fresh=saved is None).to(device)
    loss = (objective(model, plan) if objective else LossOf(model, Criterion(spec.model), spec)).to(
        device
    )
    about = state.about_run(spec, context.digest, data.class_names)
    keeper = OutputKeeper(context.output, about, same_data.read(data))
    training = Run(
        spec=spec,
        plan=plan,
        model=model,
        loss=loss,
        optimizer=optimizer_for(loss, spec.train.optim),
        schedule=Schedule(spec.train.optim, plan.steps_per_epoch, plan.steps),
        ema=Ema(model, spec.train.ema.decay) if spec.train.ema.enabled else None,
        device=device,
        validate=validator(spec, context, data),
        keeper=keeper,
        image_name=lambda index: data.train.images[index].file.name,
        watcher=context.reporter,
        stop=context.stop,
        world=world,
        step=plan.first_step,
    )
    if saved:
        best = world.broadcast(state.best_here(context) if world.is_main else None)
        theirs = optimizer_for(loss, resuming.optim_of(before, spec))
        state.restore(training, saved, best, theirs)
        if world.is_main:
            keeper.tidy(training.standing)
    return training


def plan_for(spec: ExperimentSpec, train: CocoDataset, seed: int, world: int) -> TrainPlan:
    """The order of training. Raises InvalidDataset where there is not one batch of images."""
    dataset = spec.dataset
    try:
        return TrainPlan(
            len(train.images),
            dataset.batch_size,
            spec.train.num_epochs,
            seed,
            accumulate=spec.train.accumulate_grad_batches,
            world=world,
            sizes=planned(train.images, dataset.augmentation, seed),
            micro_batch=micro_batch_size(dataset.batch_size),
        )
    except ValueError as error:
        raise invalid_dataset(str(error)) from error


def build_model(
    spec: ExperimentSpec, context: RunContext, num_classes: int, seed: int, fresh: bool
) -> Dino:
    """The model with its first weights, unless a checkpoint is going to replace them anyway."""
    torch.manual_seed(seed_of(INIT, seed))
    try:
        model = build_dino(spec.model, num_classes)
    except ValueError as error:
        raise invalid_spec(str(error)) from error
    model.activation_checkpoint = spec.train.activation_checkpoint
    if fresh:
        for text in weights.load_initial(model, spec, context.work_dir):
            context.reporter.event(f"Warning: {text}")
    weights.freeze(model, spec.train.freeze)
    return model


def optimizer_for(loss: LossOf, config: OptimConfig) -> torch.optim.Optimizer:
    """The optimiser of all that trains."""
    return build_optimizer(loss.model, config, distances_in(loss.model), loss.extra.parameters())


def distances_in(model: Dino) -> dict[str, int]:
    """The layers between each of a ViT's parameters and the output; empty for other backbones."""
    return {f"backbone.{name}": far for name, far in model.backbone.distances().items()}


def validator(spec: ExperimentSpec, context: RunContext, data: TrainingData) -> Validate:
    """What scores a model on the validation data, in TAO's way or in all categories."""

    @cache  # by the one process that scores: the others need no index of all true boxes
    def scorer() -> Scorer:
        return Scorer(data.validation, spec.dataset.eval_class_ids, spec.train.max_detections)

    config = in_batches_of(micro_batch_size(spec.dataset.batch_size), spec.dataset)
    watch = Watch(context.stop)

    def validate(model: nn.Module) -> Metrics | None:
        with in_training(model, spec, data.class_names) as detector:
            detections = detect(detector, data.validation, config, context.world, watch)
        metrics = None if detections is None else Metrics.from_coco(scorer().score(detections))
        return context.world.broadcast(metrics)

    return validate
