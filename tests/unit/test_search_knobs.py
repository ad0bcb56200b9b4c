"""Keys without effect: each knob in an experiment where it counts, and in one where it does not."""

from __future__ import annotations

from typing import Any

import pytest

from dino_api.experiment import ExperimentSpec
from dino_api.experiment.paths import put
from dino_api.rules.experiment.train import is_vit
from dino_api.search.knobs import BY_PATH

OPTIM, AUGMENT = "train.optim", "dataset.augmentation"
SQUARE = (f"{AUGMENT}.fixed_random_crop", 640)
EXACT = (f"{AUGMENT}.fixed_size", [64, 64])
EARLY = ("train.early_stopping.enabled", True)
NO_DN = ("model.use_dn", False)
CPU = ("train.num_gpus", 0)
VIT = ("model.backbone", "vit_large_dinov2")

# knob: what makes it count, and what makes it dead; None is the defaults
CASES: dict[str, tuple[tuple[str, Any] | None, tuple[str, Any] | None]] = {
    f"{OPTIM}.momentum": ((f"{OPTIM}.optimizer", "SGD"), None),
    f"{OPTIM}.lr_step_size": ((f"{OPTIM}.lr_scheduler", "StepLR"), None),
    f"{OPTIM}.lr_decay": ((f"{OPTIM}.lr_steps", [5]), None),
    f"{OPTIM}.lr_decay_start": ((f"{OPTIM}.lr_scheduler", "Linear"), None),
    f"{OPTIM}.layer_decay_rate": (VIT, ("model.backbone", "efficientvit_b0")),
    f"{OPTIM}.lr_backbone": (None, ("train.freeze", ["backbone"])),
    "train.ema.decay": (("train.ema.enabled", True), None),
    "train.early_stopping.patience": (EARLY, None),
    "train.early_stopping.min_delta": (EARLY, None),
    "model.dn_number": (None, NO_DN),
    "model.dn_label_noise_ratio": (None, NO_DN),
    "model.dn_box_noise_scale": (None, NO_DN),
    "model.no_interm_box_loss": (None, ("model.interm_loss_coef", 0)),
    "model.aux_loss": (None, ("model.dec_layers", 1)),
    f"{AUGMENT}.train_random_crop_min": (None, SQUARE),
    f"{AUGMENT}.train_random_crop_max": (None, EXACT),
    f"{AUGMENT}.planned_sizes": (None, SQUARE),
    f"{AUGMENT}.test_random_resize": (SQUARE, EXACT),
    f"{AUGMENT}.random_resize_max_size": (SQUARE, EXACT),
    f"{AUGMENT}.fixed_padding": (SQUARE, EXACT),
    "train.cudnn.benchmark": (None, CPU),
    "train.cudnn.deterministic": (None, CPU),
}


def spec(change: tuple[str, Any] | None) -> ExperimentSpec:
    mapping: dict[str, Any] = {}
    if change is not None:
        put(mapping, *change)
    return ExperimentSpec.model_validate(mapping)


def test_every_knob_has_a_case() -> None:
    assert set(CASES) == set(BY_PATH)


@pytest.mark.parametrize("path", CASES)
def test_a_knob_counts_where_it_is_switched_on(path: str) -> None:
    live, dead = CASES[path]
    assert BY_PATH[path].live(spec(live))
    assert not BY_PATH[path].live(spec(dead))


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("vit_large_nvdinov2", True),
        ("timm/vit_base_patch14_dinov2", True),
        ("gc_vit_tiny", False),
        ("efficientvit_b0", False),
        ("swin_tiny_224_1k", False),
    ],
)
def test_only_plain_vits_have_rates_by_layer(name: str, plain: bool) -> None:
    assert is_vit(name) is plain
