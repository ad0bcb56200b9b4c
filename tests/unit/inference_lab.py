"""Images, a detector that is no model, and `dino inference` on them."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch
from PIL import Image

from dino_api.experiment import ExperimentSpec
from dino_api.loading import load
from dino_api.names import Action
from dino_api.result import ModelFile, Result
from dino_trainer.actions import inference
from dino_trainer.data.loader import Batch
from dino_trainer.model import Detections
from dino_trainer.model_files.info import ModelInfo
from dino_trainer.run import RunContext
from tests.unit.training_builders import Recorder, a_context

NAMES = ("", "red", "", "blue")
ORIENTATION = 0x0112


def image_bytes(size: tuple[int, int] = (40, 30), kind: str = "JPEG", turned: int = 1) -> bytes:
    content = io.BytesIO()
    exif = Image.Exif()
    exif[ORIENTATION] = turned
    Image.new("RGB", size, (90, 90, 90)).save(content, kind, exif=exif)
    return content.getvalue()


def an_image(path: Path, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image_bytes(**options))
    return path


@dataclass
class HalfDetector:
    """Finds the left half of every image as `red` (0.9), and what `also` says."""

    info: ModelInfo
    also: tuple[tuple[int, float], ...] = ()
    device = torch.device("cpu")

    def __post_init__(self) -> None:
        self.batches: list[tuple[int, ...]] = []

    def __call__(self, batch: Batch, sizes: torch.Tensor) -> list[Detections]:
        assert batch.images.dtype == torch.uint8
        self.batches.append(tuple(batch.images.shape))
        rows = [(1, 0.9), *self.also]
        labels, scores = torch.tensor([r[0] for r in rows]), torch.tensor([r[1] for r in rows])
        return [
            Detections(scores, labels, torch.tensor([[0.0, 0.0, w / 2, h]]).repeat(len(rows), 1))
            for h, w in sizes.tolist()
        ]


@dataclass
class InferenceLab:
    """A spec over folders of images, and the action with a detector that is no model."""

    folder: Path
    patch: pytest.MonkeyPatch

    def __post_init__(self) -> None:
        self.detector: HalfDetector | None = None
        self.recorder = Recorder()
        self.stop = Event()
        (self.folder / "classmap.txt").write_text("red\n\nblue\n")

    def spec(self, sources: list[str], *overrides: str) -> ExperimentSpec:
        data = {"image_dir": sources, "classmap": str(self.folder / "classmap.txt")}
        content = {
            "results_dir": str(self.folder / "results"),
            "dataset": {
                "infer_data_sources": data,
                "batch_size": 4,
                "workers": 0,
                "augmentation": {"fixed_size": [32, 48]},
            },
            "inference": {"checkpoint": str(self.folder / "model.pth"), "num_gpus": 0},
        }
        return load(content, overrides, Action.INFERENCE)[0]

    def finds(self, *also: tuple[int, float], spec: ExperimentSpec) -> None:
        info = ModelInfo(ModelFile(uri="model.pth", format="checkpoint", sha256="abc"), spec,
                         NAMES, None, None, 10)  # fmt: skip
        self.detector = HalfDetector(info, also)
        self.patch.setattr(inference, "open_detector", lambda *_: self.detector)

    def run(
        self, sources: list[Path | str], *overrides: str, also: tuple[tuple[int, float], ...] = ()
    ) -> Result:
        spec = self.spec([str(source) for source in sources], *overrides)
        self.finds(*also, spec=spec)
        return inference.run(spec, self.context(spec))

    def context(self, spec: ExperimentSpec) -> RunContext:
        work = self.folder / "work"
        return a_context(spec, self.recorder, self.stop, Action.INFERENCE, work)

    @property
    def results(self) -> Path:
        return self.folder / "results" / "inference"

    def written(self, name: str) -> set[str]:
        root = self.results / name
        return {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}

    @property
    def predictions(self) -> dict[str, Any]:
        return json.loads((self.results / "predictions.json").read_text())
