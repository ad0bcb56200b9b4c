"""Rules about `train.*` and the root."""

from __future__ import annotations

import re

from dino_api.experiment.spec import ExperimentSpec
from dino_api.rules.experiment.rule import (
    NAME_S3,
    ONE_PROCESS,
    PATH_OR_S3,
    Check,
    Rule,
    breaks,
    fixed,
    names_store,
    where_set,
)

_EPOCHS = "must not exceed num_epochs"
# Which keys each choice reads; the others have no effect beside it.
_READ_BY = {
    "momentum": ("optimizer", "SGD"),
    "lr_steps": ("lr_scheduler", "MultiStep"),
    "lr_step_size": ("lr_scheduler", "StepLR"),
    "lr_decay_start": ("lr_scheduler", "Linear"),
}


def _validation(spec: ExperimentSpec) -> object:
    train = spec.train
    return breaks(train.validation_interval > train.num_epochs, train.validation_interval)


def _checkpoint(spec: ExperimentSpec) -> object:
    train = spec.train
    epochs = train.checkpoint_interval_unit == "epoch"
    return breaks(
        epochs and train.checkpoint_interval > train.num_epochs, train.checkpoint_interval
    )


def _never_drops(spec: ExperimentSpec) -> object:
    optim, epochs = spec.train.optim, spec.train.num_epochs
    first = {"MultiStep": min(optim.lr_steps, default=epochs), "StepLR": optim.lr_step_size}
    return breaks(first.get(optim.lr_scheduler, 0) >= epochs, optim.lr_scheduler)


def _steps_rise(spec: ExperimentSpec) -> object:
    steps = spec.train.optim.lr_steps
    return breaks(steps != sorted(set(steps)), steps)


def _unread(leaf: str) -> Check:
    choice, value = _READ_BY[leaf]

    def check(spec: ExperimentSpec) -> object:
        optim = spec.train.optim
        given = leaf in optim.model_fields_set
        return breaks(given and getattr(optim, choice) != value, getattr(optim, leaf))

    return check


def is_vit(backbone: str) -> bool:
    """Whether the backbone is a plain ViT, whose layers have rates of their own."""
    return re.match(r"(timm/)?(vit|deit|eva|beit)", backbone) is not None


def _decay_unread(spec: ExperimentSpec) -> object:
    optim = spec.train.optim
    given = "layer_decay_rate" in optim.model_fields_set
    return breaks(given and not is_vit(spec.model.backbone), optim.layer_decay_rate)


def _half_on_cpu(spec: ExperimentSpec) -> object:
    train = spec.train
    return breaks(train.precision == "fp16" and train.num_gpus == 0, train.precision)


def _processes(spec: ExperimentSpec) -> object:
    train = spec.train
    return breaks(train.num_processes > 1 and train.num_gpus > 0, train.num_processes)


def _stops_early(spec: ExperimentSpec) -> object:
    train, early = spec.train, spec.train.early_stopping
    first = train.validation_interval * (1 + early.patience)
    return breaks(early.enabled and first >= train.num_epochs, early.patience)


def _early_unread(spec: ExperimentSpec) -> object:
    early = spec.train.early_stopping
    given = early.model_fields_set & {"patience", "min_delta"}
    return breaks(bool(given) and not early.enabled, False)


def _store(section: str, leaf: str) -> Rule:
    """A path or an s3:// URI. The CRD needs no CEL where the resource decides the key."""
    path = f"{section}.{leaf}" if section else leaf
    cel = where_set(leaf, f"!self.{leaf}.contains('://') || self.{leaf}.startsWith('s3://')")
    refused = leaf != "pretrained_model_path"
    return Rule(
        f"{leaf.replace('_', '-')}-uri" if section else "root-results-dir-uri",
        path,
        PATH_OR_S3,
        NAME_S3,
        names_store(path),
        cel="" if refused else cel,
    )


TRAIN_RULES = (
    Rule(
        "validation-in-time",
        "train.validation_interval",
        _EPOCHS,
        "Otherwise nothing is ever validated, and no best checkpoint exists.",
        _validation,
        cel="{validation_interval} <= {num_epochs}",
    ),
    Rule(
        "checkpoint-in-time",
        "train.checkpoint_interval",
        f"{_EPOCHS} where checkpoint_interval_unit is epoch",
        "Otherwise no checkpoint is saved before the end.",
        _checkpoint,
        cel="{checkpoint_interval_unit} != 'epoch' || {checkpoint_interval} <= {num_epochs}",
    ),
    Rule(
        "rate-drops",
        "train.optim.lr_scheduler",
        "never lowers the learning rate: its first drop is not before train.num_epochs",
        "Put lr_steps (MultiStep) or lr_step_size (StepLR) below train.num_epochs, or use Cosine.",
        _never_drops,
        severity="warning",
    ),
    Rule(
        "steps-rise",
        "train.optim.lr_steps",
        "must rise without repeats",
        "Write them like [8, 11].",
        _steps_rise,
        cel=where_set(
            "lr_steps",
            "(self.lr_steps.isSorted() && "
            "self.lr_steps.all(a, self.lr_steps.exists_one(b, b == a)))",
        ),
    ),
    *(
        Rule(
            f"{leaf.replace('_', '-')}-unread",
            f"train.optim.{leaf}",
            f"has no effect unless {choice} is {value}",
            "Leave it out.",
            _unread(leaf),
            severity="warning",
        )
        for leaf, (choice, value) in _READ_BY.items()
    ),
    Rule(
        "layer-decay-rate-unread",
        "train.optim.layer_decay_rate",
        "has no effect unless model.backbone is a ViT",
        "Leave it out.",
        _decay_unread,
        severity="warning",
    ),
    Rule(
        "early-stopping-in-time",
        "train.early_stopping.patience",
        "is too long for early stopping to happen: the first validation and patience more take "
        "all of train.num_epochs",
        "Lower patience or train.validation_interval.",
        _stops_early,
        severity="warning",
    ),
    Rule(
        "early-stopping-off",
        "train.early_stopping.enabled",
        "is false, so that patience and min_delta have no effect",
        "Add enabled: true, or leave them out.",
        _early_unread,
        severity="warning",
    ),
    Rule(
        "half-on-cpu",
        "train.precision",
        "is slower than fp32 on a CPU",
        "Use bf16, which recent CPUs compute fast, or fp32.",
        _half_on_cpu,
        severity="warning",
    ),
    fixed(
        "strategy",
        "train.distributed_strategy",
        "ddp",
        "fsdp is not built; leave it out.",
    ),
    fixed(
        "dry-run",
        "train.is_dry_run",
        False,
        "Leave it out; train.num_epochs: 1 on a few images is the nearest.",
    ),
    Rule(
        "processes-on-cpu",
        "train.num_processes",
        ONE_PROCESS,
        "Leave it out, or set the number of GPUs to 0.",
        _processes,
        cel="{experiment.train.num_processes} == 1 || "
        "(has(self.resources) && has(self.resources.gpus) && self.resources.gpus == 0)",
        scope="spec",
    ),
    _store("train", "pretrained_model_path"),
    _store("train", "resume_training_checkpoint_path"),
    _store("train", "results_dir"),
    _store("", "results_dir"),
)
