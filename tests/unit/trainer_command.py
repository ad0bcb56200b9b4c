"""The `dino` command inside the test's own process, with real data to train on."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dino_api.experiment import digest
from dino_api.loading import load
from dino_api.result import Result
from dino_trainer.command import launch
from dino_trainer.command.cli import main
from dino_trainer.run import RunContext
from tests.unit.coco_builders import a_folder


class Command:
    """A spec with real data, and the command in this process."""

    def __init__(
        self, folder: Path, capture: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch
    ) -> None:
        self.folder, self.capture, self._patch = folder, capture, patch
        self.termination = folder / "termination-log"
        self.termination.touch()
        data = a_folder(folder / "data")
        source = {"image_dir": f"{data}/images", "json_file": f"{data}/annotations.json"}
        self.spec: dict[str, Any] = {
            "results_dir": str(folder / "results"),
            "dataset": {"train_data_sources": [source], "val_data_sources": [source]},
            "train": {"num_gpus": 0},
        }
        self.out = self.err = ""

    @property
    def spec_path(self) -> Path:
        path = self.folder / "spec.yaml"
        path.write_text(yaml.safe_dump(self.spec))
        return path

    @property
    def digest(self) -> str:
        return digest(load(self.spec)[0])

    @property
    def results(self) -> Path:
        return self.folder / "results" / "train"

    def run(self, *overrides: str) -> int:
        """`dino train -e spec.yaml …`; returns the exit code."""
        code = main(["train", "-e", str(self.spec_path), *overrides])
        self.out, self.err = self.capture.readouterr()
        assert "Traceback" not in self.out + self.err, self.err
        return code

    @property
    def reported(self) -> Result | None:
        """What the operator would read."""
        return Result.from_termination_message(self.termination.read_text())

    def acts(self, run: Callable[[Any, RunContext], Result]) -> None:
        """Puts `run` in the place of the action: what follows it is what is tested."""
        self._patch.setattr(launch, "import_module", lambda _: types.SimpleNamespace(run=run))
