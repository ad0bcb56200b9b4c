"""Small real data sets and small real experiments for tests of training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from dino_api.experiment import ExperimentSpec, digest
from dino_api.loading import load
from dino_api.names import Action
from dino_api.result import Metrics, Progress, Result
from dino_trainer.actions import train
from dino_trainer.data.coco import CocoDataset, load_coco
from dino_trainer.data.image_store import Folder
from dino_trainer.data.stage import StagedSource
from dino_trainer.errors import TrainerError
from dino_trainer.model_files import checkpoint
from dino_trainer.model_files.checkpoint import LATEST
from dino_trainer.report.meter import NO_PARTS, LossParts
from dino_trainer.results.output import Output
from dino_trainer.run import RunContext
from dino_trainer.spec.sections import output_folder

SIZE = (96, 64)  # width, height
COLOURS = {1: (220, 40, 40), 3: (40, 40, 220)}


def a_dataset(at: Path, images: int = 8, seed: int = 0) -> Path:
    """`at`/images/*.png with one to three coloured rectangles each, and `at`/annotations.json."""
    rng = np.random.default_rng(seed)
    (at / "images").mkdir(parents=True)
    entries, annotations = [], []
    for number in range(1, images + 1):
        picture = Image.new("RGB", SIZE, (128, 128, 128))
        for _ in range(rng.integers(1, 4)):
            w, h = rng.integers(12, 40, 2).tolist()
            x, y = int(rng.integers(0, SIZE[0] - w)), int(rng.integers(0, SIZE[1] - h))
            label = int(rng.choice([1, 3]))
            ImageDraw.Draw(picture).rectangle((x, y, x + w - 1, y + h - 1), fill=COLOURS[label])
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": label,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                }
            )
        picture.save(at / "images" / f"{number}.png")
        name = f"{number}.png"
        entries.append({"id": number, "file_name": name, "width": SIZE[0], "height": SIZE[1]})
    categories = [{"id": 1, "name": "red"}, {"id": 3, "name": "blue"}]
    document = {"images": entries, "annotations": annotations, "categories": categories}
    (at / "annotations.json").write_text(json.dumps(document))
    return at


def load_folder(folder: Path) -> CocoDataset:
    """The data set that `a_dataset` made."""
    images, annotations = Folder(folder / "images"), folder / "annotations.json"
    return load_coco([StagedSource(images, annotations, "digest")])


def damage(folder: Path, *names: str) -> None:
    """What is there instead has the same size as before, as a block of a bad disk would."""
    for name in names:
        path = folder / "images" / name
        path.write_bytes(f"no {name}".encode().ljust(path.stat().st_size))


def source(folder: Path) -> dict[str, str]:
    """The folder as an entry of a spec's data sources."""
    return {"image_dir": str(folder / "images"), "json_file": str(folder / "annotations.json")}


def a_spec(train: Path, validation: Path, *overrides: str) -> ExperimentSpec:
    """A very small model, and 2 epochs of 4 steps on 8 images; `overrides` as for the command."""
    spec: dict[str, Any] = {
        "results_dir": str(train.parent / "results"),
        "model": {
            "backbone": "timm/test_efficientnet",
            "return_interm_indices": [2, 3],
            "num_feature_levels": 2,
            "hidden_dim": 32,
            "nheads": 2,
            "enc_layers": 1,
            "dec_layers": 1,
            "dim_feedforward": 32,
            "num_queries": 10,
            "num_select": 10,
            "dn_number": 50,
        },
        "dataset": {
            "train_data_sources": [source(train)],
            "val_data_sources": [source(validation)],
            "batch_size": 2,
            "workers": 0,
            "augmentation": {"fixed_size": [64, 96], "zoom_crop": [0.7, 1.0]},
        },
        "train": {
            "num_gpus": 0,
            "num_epochs": 2,
            "optim": {"lr_scheduler": "Linear", "warmup_steps": 2},
            "ema": {"enabled": True, "decay": 0.9},
        },
    }
    return load(spec, overrides)[0]


class Recorder:
    """A reporter that remembers. `at_step` is called with every step's number."""

    def __init__(self, at_step: Any = None) -> None:
        self.at_step = at_step
        self.steps: list[Progress] = []
        self.parts: list[LossParts] = []
        self.positions: list[Progress] = []
        self.validations: list[tuple[int, Metrics, bool]] = []
        self.events: list[str] = []
        self.stagings: list[float] = []

    def staged(self, seconds: float) -> None:
        self.stagings.append(seconds)

    def progress(self, progress: Progress, parts: LossParts = NO_PARTS) -> None:
        self.steps.append(progress)
        self.parts.append(parts)
        if self.at_step:
            self.at_step(progress.step)

    def resumed(self, progress: Progress) -> None:
        self.positions.append(progress)

    def validated(self, epoch: int, metrics: Metrics, best: bool) -> None:
        self.validations.append((epoch, metrics, best))

    def tested(self, metrics: Metrics) -> None:
        self.events.append(f"mAP {metrics.mAP}")

    def event(self, message: str, status: str = "RUNNING") -> None:
        self.events.append(message)

    def say(self, text: str) -> None:
        self.events.append(text)


class Killed(BaseException):
    """The process ends here, and nothing in it hears of that."""


def killed_at(step: int) -> Recorder:
    """Ends the training that reports to it after this step."""

    def kill(number: int) -> None:
        if number == step:
            raise Killed

    return Recorder(kill)


def a_context(
    spec: ExperimentSpec,
    recorder: Recorder,
    stop: Event | None = None,
    action: Action = Action.TRAIN,
    work: Path | None = None,
) -> RunContext:
    """The context that the command would give an action. work: beside the results, else."""
    assert work or "://" not in spec.results_dir, "there is no folder beside them"
    work = work or Path(spec.results_dir).parent / "work"
    return RunContext(
        output=Output(output_folder(spec, action), work),
        reporter=recorder,  # type: ignore[arg-type]  # the part of it that actions use
        work_dir=work,
        stop=stop or Event(),
        digest=digest(spec, action),
        run_id="test",
        action=action,
    )


def spec_for(folder: Path, *overrides: str) -> ExperimentSpec:
    """A spec over data sets in `folder`, made once."""
    if not (folder / "train").exists():
        a_dataset(folder / "train", 8, seed=0)
        a_dataset(folder / "val", 4, seed=1)
    return a_spec(folder / "train", folder / "val", *overrides)


@pytest.fixture
def spec(tmp_path: Path) -> ExperimentSpec:
    """8 steps: 2 epochs of 4."""
    return spec_for(tmp_path)


def run(spec: ExperimentSpec, recorder: Recorder | None = None) -> Result:
    recorder = recorder or Recorder()
    return train.run(spec, a_context(spec, recorder))


def interrupted(
    spec: ExperimentSpec, at: int, ready: Callable[[], object] = lambda: None
) -> Recorder:
    """Train until the stop event is set during step `at`, once `ready` has returned."""
    stop = Event()

    def end(step: int) -> None:
        if step == at:
            ready()
            stop.set()

    recorder = Recorder(end)
    with pytest.raises(TrainerError, match=rf"after step {at} of 8; a checkpoint is saved") as why:
        train.run(spec, a_context(spec, recorder, stop))
    assert why.value.reason == "Preempted"
    assert recorder.steps[-1].step == at
    return recorder


def latest(spec: ExperimentSpec, name: str = LATEST) -> dict:
    return checkpoint.read(Path(spec.results_dir) / "train" / name)


def assert_same(one: object, other: object, where: str = "") -> None:
    """Equal to the last bit, tensors and all."""
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key, value in one.items():
            assert_same(value, other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for place, value in enumerate(one):
            assert_same(value, other[place], f"{where}[{place}]")
    else:
        assert one == other, where
