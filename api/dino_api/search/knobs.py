"""Keys that only count beside certain values of others, as dino_trainer reads them.

A search that turns a knob which does nothing wastes a dimension: of TAO's 17 searched keys, 5 to 7
have no effect with its defaults (TAO AutoML 0.1.0).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from dino_api.experiment.spec import ExperimentSpec
from dino_api.rules.experiment.train import is_vit


@dataclass(frozen=True)
class Knob:
    """A key with the keys that switch it on.

    live: whether it has an effect in this experiment. needs: the same in words, after `counts only
    where`.
    """

    path: str
    switches: tuple[str, ...]
    live: Callable[[ExperimentSpec], bool]
    needs: str


_OPTIM, _AUGMENT = "train.optim", "dataset.augmentation"
_SIZES = (f"{_AUGMENT}.fixed_size", f"{_AUGMENT}.fixed_random_crop")
_CRITERION = ("model.loss_types", "model.interm_loss_coef")


def _drops(spec: ExperimentSpec) -> bool:
    """Whether lr_decay is ever multiplied with."""
    optim, epochs = spec.train.optim, spec.train.num_epochs
    first = {"MultiStep": min(optim.lr_steps, default=epochs), "StepLR": optim.lr_step_size}
    return first.get(optim.lr_scheduler, epochs) < epochs


def _trains_backbone(spec: ExperimentSpec) -> bool:
    frozen = any(re.match(r"backbone(\.body)?$", name) for name in spec.train.freeze)
    return spec.model.train_backbone and not frozen


def _crops(spec: ExperimentSpec) -> bool:
    augment = spec.dataset.augmentation
    return augment.fixed_size is None and augment.fixed_random_crop is None


def _resizes(spec: ExperimentSpec) -> bool:
    return spec.dataset.augmentation.fixed_size is None


KNOBS: tuple[Knob, ...] = (
    Knob(
        f"{_OPTIM}.momentum",
        (f"{_OPTIM}.optimizer",),
        lambda spec: spec.train.optim.optimizer == "SGD",
        f"{_OPTIM}.optimizer is SGD",
    ),
    Knob(
        f"{_OPTIM}.lr_step_size",
        (f"{_OPTIM}.lr_scheduler",),
        lambda spec: spec.train.optim.lr_scheduler == "StepLR",
        f"{_OPTIM}.lr_scheduler is StepLR",
    ),
    Knob(
        f"{_OPTIM}.lr_decay",
        (f"{_OPTIM}.lr_scheduler", f"{_OPTIM}.lr_step_size", "train.num_epochs"),
        _drops,
        f"{_OPTIM}.lr_scheduler is MultiStep or StepLR and its first drop is before "
        "train.num_epochs",
    ),
    Knob(
        f"{_OPTIM}.lr_decay_start",
        (f"{_OPTIM}.lr_scheduler",),
        lambda spec: spec.train.optim.lr_scheduler == "Linear",
        f"{_OPTIM}.lr_scheduler is Linear",
    ),
    Knob(
        f"{_OPTIM}.layer_decay_rate",
        ("model.backbone", "model.train_backbone"),
        lambda spec: is_vit(spec.model.backbone) and _trains_backbone(spec),
        "model.backbone is a plain ViT that trains",
    ),
    Knob(
        f"{_OPTIM}.lr_backbone",
        ("model.backbone", "model.train_backbone"),
        lambda spec: not is_vit(spec.model.backbone) and _trains_backbone(spec),
        "the backbone trains and is not a plain ViT, which reads layer_decay_rate",
    ),
    Knob(
        "train.ema.decay",
        ("train.ema.enabled",),
        lambda spec: spec.train.ema.enabled,
        "train.ema.enabled is true",
    ),
    *(
        Knob(
            f"train.early_stopping.{leaf}",
            ("train.early_stopping.enabled",),
            lambda spec: spec.train.early_stopping.enabled,
            "train.early_stopping.enabled is true",
        )
        for leaf in ("patience", "min_delta")
    ),
    *(
        Knob(
            f"model.{leaf}",
            ("model.use_dn",),
            lambda spec: spec.model.use_dn,
            "model.use_dn is true",
        )
        for leaf in ("dn_number", "dn_label_noise_ratio", "dn_box_noise_scale")
    ),
    Knob(
        "model.no_interm_box_loss",
        _CRITERION,
        lambda spec: "boxes" in spec.model.loss_types and spec.model.interm_loss_coef > 0,
        "model.loss_types has boxes and model.interm_loss_coef is above 0",
    ),
    Knob(
        "model.aux_loss",
        ("model.dec_layers",),
        lambda spec: spec.model.dec_layers > 1,
        "model.dec_layers is above 1",
    ),
    *(
        Knob(
            f"{_AUGMENT}.{leaf}", _SIZES, _crops, "neither fixed_size nor fixed_random_crop is set"
        )
        for leaf in ("train_random_crop_min", "train_random_crop_max", "planned_sizes")
    ),
    *(
        Knob(f"{_AUGMENT}.{leaf}", _SIZES[:1], _resizes, f"{_AUGMENT}.fixed_size is absent")
        for leaf in ("test_random_resize", "random_resize_max_size", "fixed_padding")
    ),
    *(
        Knob(
            f"train.cudnn.{leaf}",
            ("train.num_gpus",),
            lambda spec: spec.train.num_gpus > 0,
            "resources.gpus is above 0",
        )
        for leaf in ("benchmark", "deterministic")
    ),
)
BY_PATH = {knob.path: knob for knob in KNOBS}
