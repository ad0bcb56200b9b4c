"""Teachers, students and distillations for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from dino_api.experiment import ExperimentSpec, digest
from dino_api.experiment.actions import DistillBinding
from dino_api.loading import load
from dino_api.names import Action
from dino_api.result import Result
from dino_trainer.actions import distill, train
from dino_trainer.data.loader import Batch
from dino_trainer.model import Dino, Targets, build_dino
from dino_trainer.model_files.checkpoint import write
from dino_trainer.train import state
from tests.unit.training_builders import Recorder, a_context, source

NAMES = ["", "red", "", "blue"]
TINY: dict[str, Any] = {
    "backbone": "timm/test_efficientnet",
    "return_interm_indices": [2, 3],
    "num_feature_levels": 2,
    "hidden_dim": 32,
    "nheads": 2,
    "enc_layers": 1,
    "dec_layers": 2,
    "dim_feedforward": 32,
    "num_queries": 10,
    "num_select": 10,
    "dn_number": 5,
}
PREDICTIONS = [("pred_logits", "KL", 1.0), ("pred_boxes", "L1", 5.0)]


def bindings(*rows: tuple[str, str, float] | tuple[str, str, str, float]) -> list[DistillBinding]:
    """(name of both, criterion, weight), or (student's, teacher's, criterion, weight)."""
    return [
        DistillBinding(
            student_module_name=row[0],
            teacher_module_name=row[-3],
            criterion=row[-2],  # type: ignore[arg-type]
            weight=row[-1],
        )
        for row in rows
    ]


def a_model(seed: int = 0, classes: int = 4, **changes: Any) -> Dino:
    """A tiny detector with the same random weights for the same seed."""
    torch.manual_seed(seed)
    model = build_dino(load({"model": TINY | changes})[0].model, classes)
    torch.nn.init.normal_(model.decoder.class_head[0].bias, std=1.0)  # scores worth learning
    return model


def save_teacher(at: Path, model: Dino, names: Sequence[str] = NAMES, **changes: Any) -> Path:
    """A checkpoint of `model`, as its training would have left it; `changes` as for `a_model`."""
    spec, _ = load({"model": TINY | changes})
    content = {**state.about_run(spec, digest(spec), list(names)), "model": model.state_dict()}
    write(content, at)
    return at


def a_batch(images: int = 2) -> Batch:
    """Random pictures of 64 x 96 pixels, the last one padded, with a box each."""
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randint(0, 256, (images, 3, 64, 96), dtype=torch.uint8, generator=generator)
    sizes = torch.tensor([[64, 96]] * images, dtype=torch.int32)
    sizes[-1] = torch.tensor([48, 64])
    pixels[-1, :, 48:], pixels[-1, :, :, 64:] = 0, 0
    boxes = torch.tensor([[0.5, 0.5, 0.3, 0.4]]).repeat(images, 1)
    return Batch(
        tuple(range(images)),
        pixels,
        sizes,
        Targets(torch.tensor([1] * images), boxes, (1,) * images),
    )


def a_spec(folder: Path, teacher: Path, *overrides: str, **sections: Any) -> ExperimentSpec:
    """Distils 10 epochs of 2 steps on the data sets in `folder`; `sections` replaces parts."""
    spec: dict[str, Any] = {
        "results_dir": str(folder / "results"),
        "model": TINY,
        "dataset": {
            "train_data_sources": [source(folder / "train")],
            "val_data_sources": [source(folder / "val")],
            "batch_size": 2,
            "workers": 0,
            "augmentation": {"fixed_size": [64, 96]},
        },
        "train": {
            "num_gpus": 0,
            "num_epochs": 10,
            "validation_interval": 10,
            "checkpoint_interval": 10,
            "checkpoint_interval_unit": "step",
            "tensorboard": False,
            "ema": {"enabled": True, "decay": 0.9},
        },
        "distill": {"pretrained_teacher_model_path": str(teacher)},
    }
    return load(spec | sections, overrides, Action.DISTILL)[0]


def run(spec: ExperimentSpec, recorder: Recorder | None = None) -> Result:
    """Distil."""
    return run_action(spec, Action.DISTILL, recorder)


def run_action(spec: ExperimentSpec, action: Action, recorder: Recorder | None = None) -> Result:
    """Distil, or train the same student without its teacher."""
    actions = {Action.DISTILL: distill.run, Action.TRAIN: train.run}
    return actions[action](spec, a_context(spec, recorder or Recorder(), action=action))
