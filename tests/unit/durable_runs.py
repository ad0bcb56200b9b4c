"""Trainings whose results lie in a `Place`, in this process."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import yaml

from dino_api.experiment import ExperimentSpec, digest
from dino_trainer.actions import train
from dino_trainer.command import cli
from dino_trainer.model_files import checkpoint
from dino_trainer.report import reporter as reporter_module
from dino_trainer.results.output import Output
from dino_trainer.run import RunContext
from tests.unit.durability import Place
from tests.unit.training_builders import Recorder, spec_for

EVERY_STEP = ("train.checkpoint_interval=1", "train.checkpoint_interval_unit=step")
EVERY_TWO = ("train.checkpoint_interval=2", "train.checkpoint_interval_unit=step")


def spec_at(place: Place, tmp_path: Path, *overrides: str) -> ExperimentSpec:
    """8 steps: 2 epochs of 4, results in `place`."""
    return spec_for(tmp_path, f"results_dir={place.results_dir}", *overrides)


def context_at(place: Place, spec: ExperimentSpec, recorder: Recorder) -> RunContext:
    """As a new pod has it: with an empty disk. `recorder` also hears what the output says."""
    output = place.open(recorder.events)
    return RunContext(
        output=output,
        reporter=recorder,  # type: ignore[arg-type]  # the part of it that actions use
        work_dir=output.dir,
        stop=Event(),
        digest=digest(spec),
        run_id="test",
    )


def train_at(place: Place, spec: ExperimentSpec, recorder: Recorder) -> None:
    """To the end, all of it published."""
    context = context_at(place, spec, recorder)
    train.run(spec, context)
    context.output.settle()


def checkpoint_of(place: Place, tmp_path: Path, name: str) -> dict[str, Any] | None:
    """What the next pod would find."""
    path = Output(f"{place.results_dir}/train", tmp_path / "look").fetch(name)
    return checkpoint.read(path) if path else None


@contextmanager
def signals_kept() -> Iterator[None]:
    """The command's signal handlers are gone afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Dino:
    """`dino train` in this process, with the termination message of a pod."""

    def __init__(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self._path, self._capture = tmp_path / "spec.yaml", capsys
        self.message = tmp_path / "termination-log"
        self.message.touch()
        monkeypatch.setenv("DINO_WORK_DIR", str(tmp_path / "work"))
        monkeypatch.setattr(reporter_module, "TERMINATION_LOG", self.message)

    def run(self, spec: ExperimentSpec, *overrides: str) -> tuple[int, str]:
        """The exit code, and what was said."""
        self._path.write_text(yaml.safe_dump(spec.model_dump(mode="json", exclude_defaults=True)))
        with signals_kept():
            code = cli.main(["train", "-e", str(self._path), *overrides])
        said = self._capture.readouterr()
        return code, said.out + said.err


def at_step(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], object]) -> None:
    """Calls `act()` after this step of a training."""
    progress = reporter_module.Reporter.progress

    def acting(self: Any, now: Any, *parts: Any) -> None:
        progress(self, now, *parts)
        if now.step == number and now.loss is not None:
            act()

    monkeypatch.setattr(reporter_module.Reporter, "progress", acting)
