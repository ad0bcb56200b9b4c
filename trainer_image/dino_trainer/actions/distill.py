"""`dino distill`: trains a student beside a teacher, in all else as `dino train` does."""

from __future__ import annotations

from functools import partial

import torch

from dino_api.experiment import ExperimentSpec
from dino_api.result import Result
from dino_trainer.actions import train
from dino_trainer.data.sampler import INIT, TrainPlan, seed_of
from dino_trainer.data.splits import TrainingData
from dino_trainer.distill.bindings import Bindings, read_bindings
from dino_trainer.distill.objective import Distillation
from dino_trainer.distill.teacher import Teacher, open_teacher
from dino_trainer.model import Dino
from dino_trainer.run import RunContext
from dino_trainer.train.setup import Objective

# The stream of the projections' first weights; the student's are those of a training alone.
PROJECTIONS = 1


def run(spec: ExperimentSpec, context: RunContext) -> Result:
    """Distil to the end, from the latest checkpoint in the output if there is one.

    Raises:
        TrainerError: with the reason that the failure catalogue has for it.
    """
    return train.run(spec, context, partial(aim, spec, context))


def aim(spec: ExperimentSpec, context: RunContext, data: TrainingData) -> Objective:
    """What the student learns from: the teacher, checked against the data, and the bindings."""
    teacher = open_teacher(spec, context, data.class_names)

    def objective(student: Dino, plan: TrainPlan) -> Distillation:
        bindings = read_bindings(spec.distill.bindings, student, teacher.model)
        torch.manual_seed(seed_of(INIT, plan.seed, PROJECTIONS))
        share = plan.global_batch / context.world.size
        context.reporter.event(described(teacher, bindings))
        return Distillation(student, teacher, bindings, spec, share)

    return objective


def described(teacher: Teacher, bindings: Bindings) -> str:
    """Who teaches what, in a sentence."""
    parts = [f"{one.name} ({one.criterion} x {one.weight:g})" for one in bindings.predicted]
    for inner in bindings.inner:
        names = ", ".join(
            mine if mine == theirs else f"{mine} from {theirs}" for mine, theirs in inner.pairs
        )
        parts.append(f"{names} ({inner.criterion} x {inner.weight:g})")
    info = teacher.info
    return (
        f"The teacher is {info.file.uri}, a {info.spec.model.backbone}. Bound: {'; '.join(parts)}."
    )
