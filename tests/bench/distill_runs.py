"""Students alone and beside a teacher: real handwriting in small scenes, and paired trainings."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from PIL import Image

from dino_api.experiment import digest
from dino_api.loading import load
from dino_api.names import Action
from dino_api.result import Metrics
from dino_trainer.actions import distill, train
from dino_trainer.report.quiet_reporter import QuietReporter
from dino_trainer.results.output import Output
from dino_trainer.run import RunContext
from dino_trainer.spec.sections import output_folder

SIDE = 64
DIGITS = (0, 1)
WRITERS = 1400  # of 1797 digits: those before are for training, those after for validation
MANY, FEW, UNSEEN = 256, 32, 48  # scenes of the teacher, of the students, of validation
GAP = 2  # pixels between two digits
MODEL: dict[str, Any] = {
    "backbone": "timm/test_efficientnet",
    "return_interm_indices": [2, 3],
    "num_feature_levels": 2,
    "hidden_dim": 32,
    "nheads": 4,
    "enc_layers": 1,
    "dec_layers": 1,
    "dim_feedforward": 64,
    "num_queries": 12,
    "num_select": 12,
    "dn_number": 6,
}


def make_data(folder: Path) -> None:
    """`many`, `few` and `val` below `folder`; other people wrote the digits of `val`."""
    from sklearn.datasets import load_digits

    known: Any = load_digits()
    training = known.images[:WRITERS], known.target[:WRITERS]
    _write(folder / "many", MANY, *training, seed=0)
    _write(folder / "few", FEW, *training, seed=1)
    _write(folder / "val", UNSEEN, known.images[WRITERS:], known.target[WRITERS:], seed=2)


def _write(at: Path, count: int, pixels: np.ndarray, digits: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    (at / "images").mkdir(parents=True)
    images, annotations = [], []
    for number in range(1, count + 1):
        picture, boxes = _scene(pixels, digits, rng)
        picture.save(at / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": SIDE, "height": SIDE})
        for label, (x, y, w, h) in boxes:
            box = {"bbox": [x, y, w, h], "area": w * h, "iscrowd": 0, "category_id": label + 1}
            annotations.append({"id": len(annotations) + 1, "image_id": number, **box})
    categories = [{"id": n + 1, "name": str(digit)} for n, digit in enumerate(DIGITS)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (at / "annotations.json").write_text(json.dumps(document))


Boxes = list[tuple[int, tuple[int, int, int, int]]]  # label, (x, y, width, height)


def _scene(
    pixels: np.ndarray, digits: np.ndarray, rng: np.random.Generator
) -> tuple[Image.Image, Boxes]:
    """A sheet of paper with one to three handwritten digits that do not touch."""
    paper = rng.uniform(170, 250) + rng.normal(0, 6, (SIDE, SIDE))
    boxes: Boxes = []
    for _ in range(int(rng.integers(1, 4))):
        label = int(rng.integers(len(DIGITS)))
        ink = _ink(pixels[rng.choice(np.flatnonzero(digits == DIGITS[label]))], rng)
        h, w = ink.shape
        x, y = int(rng.integers(0, SIDE - w)), int(rng.integers(0, SIDE - h))
        if any(
            x < a + c + GAP and a < x + w + GAP and y < b + d + GAP and b < y + h + GAP
            for _, (a, b, c, d) in boxes
        ):
            continue
        boxes.append((label, (x, y, w, h)))
        paper[y : y + h, x : x + w] *= 1 - 0.85 * ink
    return Image.fromarray(paper.clip(0, 255).astype(np.uint8)).convert("RGB"), boxes


def _ink(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One digit, 20 to 36 pixels high, cropped to what is written: float[h, w] in 0..1."""
    side = int(rng.integers(20, 37))
    small = Image.fromarray((pixels * 255 / 16).astype(np.uint8))
    large = np.asarray(small.resize((side, side), Image.Resampling.BICUBIC)) / 255.0
    rows, columns = np.where(large > 0.35)
    return large[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def learn(
    folder: Path, name: str, data: str, epochs: int, seed: int, teacher: Path | None = None
) -> Metrics:
    """What a training on `data` scores on `val`; beside a teacher where there is one."""
    action = Action.DISTILL if teacher else Action.TRAIN
    spec, _ = load(_spec(folder, name, data, epochs, seed, teacher), (), action)
    work = folder / name / "work"
    context = RunContext(
        output=Output(output_folder(spec, action), work),
        reporter=QuietReporter(),
        work_dir=work,
        stop=Event(),
        digest=digest(spec, action),
        run_id=name,
        action=action,
    )
    result = (distill if teacher else train).run(spec, context)
    assert result.metrics is not None
    return result.metrics


def best_of(folder: Path, name: str) -> Path:
    """The checkpoint that `learn` without a teacher left."""
    return folder / name / "train" / "dino_model_best.pth"


def _spec(
    folder: Path, name: str, data: str, epochs: int, seed: int, teacher: Path | None
) -> dict[str, Any]:
    sources = {
        key: [
            {
                "image_dir": str(folder / split / "images"),
                "json_file": str(folder / split / "annotations.json"),
            }
        ]
        for key, split in (("train_data_sources", data), ("val_data_sources", "val"))
    }
    optim = {"lr": 2e-3, "lr_backbone": 2e-3, "lr_scheduler": "Linear", "warmup_steps": 10}
    return {
        "results_dir": str(folder / name),
        "model": MODEL,
        "dataset": {
            **sources,
            "batch_size": 4,
            "workers": 0,
            "augmentation": {"fixed_size": [SIDE, SIDE]},
        },
        "train": {
            "num_gpus": 0,
            "num_epochs": epochs,
            "seed": seed,
            "validation_interval": epochs,
            "checkpoint_interval": epochs,
            "tensorboard": False,
            "optim": optim,
            "ema": {"enabled": True, "decay": 0.95},
        },
        "distill": {"pretrained_teacher_model_path": str(teacher or "")},
    }
