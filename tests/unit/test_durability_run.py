"""`dino train` where storage is slow, away, full or damaged, or the step goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from dino_process import Dino
from durability import Place, said_by
from training_builders import (
    Recorder,
    a_context,
    assert_same,
    interrupted,
    latest,
    run,
    spec_for,
)

from dino_api.experiment import ExperimentSpec
from dino_trainer import cli
from dino_trainer.actions import train
from dino_trainer.errors import TrainerError
from dino_trainer.manifest import MANIFEST
from dino_trainer.output import Output
from dino_trainer.report import reporter as reporter_module
from dino_trainer.train import checkpoint, step
from dino_trainer.train.checkpoint import BEST, LATEST, PREVIOUS

EVERY_STEP = ("train.checkpoint_interval=1", "train.checkpoint_interval_unit=step")
EVERY_TWO = ("train.checkpoint_interval=2", "train.checkpoint_interval_unit=step")


def spec_at(place: Place, tmp_path: Path, *overrides: str) -> ExperimentSpec:
    """8 steps: 2 epochs of 4, results in `place`."""
    return spec_for(tmp_path, f"results_dir={place.results_dir}", *overrides)


def train_at(place: Place, spec: ExperimentSpec, recorder: Recorder) -> None:
    """As a new pod does: with an empty disk."""
    context = a_context(spec, recorder)
    output = place.open(recorder.events)
    train.run(spec, type(context)(**{**vars(context), "output": output}))
    output.settle()


def checkpoint_of(place: Place, tmp_path: Path, name: str) -> dict[str, Any] | None:
    """What the next pod would find."""
    path = Output(place.results_dir, "train", tmp_path / "look").fetch(name)
    return checkpoint.read(path) if path else None


def test_steps_go_on_while_an_upload_hangs(slow_place: Place, tmp_path: Path) -> None:
    """The first upload is let through by the seventh step: were it waited for, that never came."""
    proxy = slow_place.proxy

    def at(number: int) -> None:
        if number == 2:
            assert proxy.holding.wait(20)
        if number == 7:
            assert not proxy.released.is_set()
            proxy.release()

    recorder = Recorder(at)
    train_at(slow_place, spec_at(slow_place, tmp_path, *EVERY_STEP), recorder)
    assert len(recorder.steps) == 8
    found = checkpoint_of(slow_place, tmp_path, LATEST)
    assert found is not None
    assert found["step"] == 8
    assert checkpoint_of(slow_place, tmp_path, PREVIOUS) is None, "nothing is left to resume"


def test_a_server_that_is_away_for_a_while(
    slow_place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps go on, the upload is tried again, and all is there in the end."""
    monkeypatch.setenv("DINO_STORAGE_PATIENCE", "60")
    proxy = slow_place.proxy
    proxy.release()

    class Lines(list[str]):
        def append(self, line: str) -> None:
            super().append(line)
            if "Trying again in 2 s" in line:
                proxy.refusing.clear()

    recorder = Recorder(lambda number: proxy.refusing.set() if number == 3 else None)
    recorder.events = Lines()
    train_at(slow_place, spec_at(slow_place, tmp_path, *EVERY_TWO), recorder)
    assert said_by(recorder.events, "Trying again in 1 s")
    found = checkpoint_of(slow_place, tmp_path, LATEST)
    assert found is not None
    assert found["step"] == 8


class Command:
    """`dino train` in this process, with the termination message of a pod."""

    def __init__(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._path, self._capture = tmp_path / "spec.yaml", capsys
        self.message = tmp_path / "termination-log"
        self.message.touch()

    def run(self, spec: ExperimentSpec, *overrides: str) -> tuple[int, str]:
        """The exit code, and what was said."""
        self._path.write_text(yaml.safe_dump(spec.model_dump(mode="json", exclude_defaults=True)))
        code = cli.main(["train", "-e", str(self._path), *overrides])
        said = self._capture.readouterr()
        return code, said.out + said.err


@pytest.fixture
def dino(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Command]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    made = Command(tmp_path, capsys)
    monkeypatch.setenv("DINO_WORK_DIR", str(tmp_path / "work"))
    monkeypatch.setattr(reporter_module, "TERMINATION_LOG", made.message)
    yield made
    for number, handler in before.items():
        signal.signal(number, handler)


def at_step(monkeypatch: pytest.MonkeyPatch, number: int, act: Any) -> None:
    """Calls `act()` after this step of a training."""
    progress = reporter_module.Reporter.progress

    def acting(self: Any, now: Any) -> None:
        progress(self, now)
        if now.step == number and now.loss is not None:
            act()

    monkeypatch.setattr(reporter_module.Reporter, "progress", acting)


def test_a_server_that_is_away_for_good(
    slow_place: Place, tmp_path: Path, dino: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DINO_STORAGE_PATIENCE", "1")
    slow_place.proxy.release()
    at_step(monkeypatch, 5, slow_place.proxy.refusing.set)
    code, said = dino.run(spec_at(slow_place, tmp_path, *EVERY_TWO))
    assert code == 69, said
    assert "StorageUnavailable" in dino.message.read_text()
    [kept] = (tmp_path / "work" / "output").glob(f"*/train/{LATEST}")
    assert f"is kept at {kept}" in said
    assert checkpoint.read(kept)["step"] >= 6
    slow_place.proxy.refusing.clear()
    found = checkpoint_of(slow_place, tmp_path, LATEST)
    assert found is not None
    assert found["step"] in (2, 4)


def test_a_stop_waits_for_the_last_upload_no_longer_than_it_may(
    slow_place: Place, tmp_path: Path
) -> None:
    """The exit code is that of a stop, though a thread hangs in the upload."""
    spec = spec_at(slow_place, tmp_path, *EVERY_TWO)
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(spec.model_dump(mode="json", exclude_defaults=True)))
    dino = Dino(tmp_path / "dino", ["train", "-e", str(path)], pause_at=5, stop_seconds=0.5)
    dino.paused()
    assert slow_place.proxy.holding.wait(20)
    dino.signal(signal.SIGTERM)
    dino.go()
    assert dino.wait() == 143, dino.log
    assert "Stopped on request after step 5 of 8; a checkpoint is saved." in dino.log
    assert f"{LATEST}, {BEST} could not be published within" in dino.log


def test_a_full_disk_keeps_the_last_good_checkpoint(
    small_disk: Path, tmp_path: Path, dino: Command
) -> None:
    """It has room for one checkpoint and a part of the next."""
    spec = spec_for(tmp_path, f"results_dir={small_disk}", *EVERY_TWO)
    code, said = dino.run(spec)
    assert code == 74, said
    assert "No space left" in said
    assert "DiskFull" in dino.message.read_text()
    assert latest(spec)["step"] == 2
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    recorder = Recorder()
    run(spec, recorder)
    assert recorder.steps[0].step == 3


DAMAGE = {
    "a truncated upload": (LATEST, lambda data: data[:4000], 2),
    "a missing object": (LATEST, lambda _: None, 2),
    "a manifest that is gone": (MANIFEST, lambda _: None, 4),
    "a manifest that is cut": (MANIFEST, lambda data: data[:50], 4),
    "a damaged one before": (PREVIOUS, lambda data: data[:4000], 4),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_what_is_damaged_costs_two_steps_at_most(
    case: str, s3_place: Place, tmp_path: Path, straight: dict[str, Any]
) -> None:
    name, damage, resumed = DAMAGE[case]
    spec = spec_at(s3_place, tmp_path, *EVERY_TWO)

    class Killed(BaseException):
        pass

    def kill(number: int) -> None:
        if number == 5:
            raise Killed

    context = a_context(spec, Recorder(kill))
    with pytest.raises(Killed):
        train.run(spec, context)
    context.output.settle()
    s3_place.write(name, damage(s3_place.read(name)))
    recorder = Recorder()
    train_at(s3_place, spec, recorder)
    assert recorder.steps[0].step == resumed + 1
    assert said_by(recorder.events, f"Resuming after step {resumed}.")
    assert said_by(recorder.events, "Looking for the one before it.") == (resumed == 2)
    found = checkpoint_of(s3_place, tmp_path, LATEST)
    assert found is not None
    assert_same(found["model"], straight["model"])


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The latest checkpoint of a run that nothing happened to."""
    spec = spec_for(tmp_path_factory.mktemp("straight"), *EVERY_TWO)
    run(spec)
    return latest(spec)


def test_where_nothing_is_whole_it_says_that_it_starts_anew(
    s3_place: Place, tmp_path: Path
) -> None:
    spec = spec_at(s3_place, tmp_path)
    interrupted(spec, 2)
    s3_place.write(LATEST, b"")
    recorder = Recorder()
    train_at(s3_place, spec, recorder)
    assert recorder.steps[0].step == 1
    assert said_by(recorder.events, "training starts again from its first step")


@pytest.mark.parametrize("manifest", ["there", "lost"])
def test_a_checkpoint_of_another_spec_is_never_resumed(
    manifest: str, place: Place, tmp_path: Path, dino: Command
) -> None:
    """Neither by the manifest's word nor without it; what a preflight left is no checkpoint."""
    spec = spec_at(place, tmp_path)
    assert dino.run(spec)[0] == 0
    if manifest == "lost":
        place.write(MANIFEST, None)
        place.write("result.json", None)
    before = place.read(LATEST)
    code, said = dino.run(spec, "train.optim.lr=1e-5")
    assert code == 64, said
    assert "another experiment" in said
    assert place.read(LATEST) == before


def test_what_a_preflight_of_another_spec_left_is_in_nobodys_way(
    place: Place, tmp_path: Path, dino: Command
) -> None:
    checked = Output(place.results_dir, "preflight", tmp_path / "preflight")
    checked.claim("of another spec")
    (checked.dir / "report.json").write_text("{}")
    checked.publish("report.json")
    code, said = dino.run(spec_at(place, tmp_path, "train.num_epochs=1"))
    assert code == 0, said
    assert "Resuming" not in said
    assert checked.fetch("report.json")


def test_divergence_keeps_the_last_good_checkpoint(
    s3_place: Place, tmp_path: Path, dino: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_at(s3_place, tmp_path, *EVERY_TWO)
    poison(monkeypatch, 6, lambda loss: loss * float("nan"))
    code, said = dino.run(spec)
    assert code == 76, said
    assert "step 6 of 8" in said
    assert ".png" in said
    found = checkpoint_of(s3_place, tmp_path, LATEST)
    assert found is not None
    assert found["step"] == 4
    assert all(value.isfinite().all() for value in found["model"].values())


def test_a_device_without_memory(
    tmp_path: Path, dino: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    poison(monkeypatch, 4, full)
    spec = spec_for(tmp_path, *EVERY_TWO)
    code, said = dino.run(spec)
    assert code == 71, said
    assert "DeviceOutOfMemory: The GPU ran out of memory" in said
    assert "DINO_MICRO_BATCH" in said
    assert latest(spec)["step"] == 2


def poison(monkeypatch: pytest.MonkeyPatch, number: int, change: Any) -> None:
    """The loss of this step is what `change` makes of it."""
    forward, count = step.LossOf.forward, iter(range(1, 1000))

    def poisoned(self: Any, *arguments: Any) -> Any:
        loss = forward(self, *arguments)
        return change(loss) if next(count) == number else loss

    monkeypatch.setattr(step.LossOf, "forward", poisoned)


def test_the_best_of_a_resumed_run_is_that_of_its_latest(tmp_path: Path) -> None:
    """A best checkpoint that is damaged is found anew, not reported as it was."""
    spec = spec_for(tmp_path, "train.checkpoint_interval=1")
    interrupted(spec, 5)
    path = Path(spec.results_dir) / "train" / BEST
    times = path.stat()
    path.write_bytes(path.read_bytes()[:-100])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    result = run(spec)
    assert checkpoint.read(path)["epoch"] == result.checkpoint.epoch


def test_a_lost_bucket_is_said(s3_place: Place, tmp_path: Path) -> None:
    """What cannot be published for another reason than absence ends the run too."""
    spec = spec_for(tmp_path, "results_dir=s3://no-such-bucket/x", *EVERY_STEP)
    with pytest.raises(TrainerError, match="no bucket no-such-bucket") as caught:
        run(spec)
    assert caught.value.exit_code == 66
