"""`dino train` where its output is damaged or another's, and where a step goes wrong."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from dino_api.experiment import ExperimentSpec
from dino_api.names import MANIFEST_FILE
from dino_trainer.actions import train
from dino_trainer.model_files import checkpoint
from dino_trainer.model_files.checkpoint import BEST, LATEST, PREVIOUS
from dino_trainer.results.output import Output
from dino_trainer.train import loss as loss_module
from tests.unit.durability import Place, said_by
from tests.unit.durable_runs import EVERY_TWO, Dino, checkpoint_of, context_at, spec_at, train_at
from tests.unit.training_builders import (
    Killed,
    Recorder,
    assert_same,
    interrupted,
    killed_at,
    latest,
    run,
    spec_for,
)

DAMAGE = {
    "a truncated upload": (LATEST, lambda data: data[:4000], 2),
    "a missing object": (LATEST, lambda _: None, 2),
    "a manifest that is gone": (MANIFEST_FILE, lambda _: None, 4),
    "a manifest that is cut": (MANIFEST_FILE, lambda data: data[:50], 4),
    "a damaged one before": (PREVIOUS, lambda data: data[:4000], 4),
}


def killed(place: Place, spec: ExperimentSpec, at: int) -> None:
    """Train until the end of this step. What was saved before it is published."""
    context = context_at(place, spec, killed_at(at))
    with pytest.raises(Killed):
        train.run(spec, context)
    context.output.settle()


@pytest.mark.parametrize("case", DAMAGE)
def test_what_is_damaged_costs_two_steps_at_most(
    case: str, s3_place: Place, tmp_path: Path, straight: dict[str, Any]
) -> None:
    name, damage, resumed = DAMAGE[case]
    spec = spec_at(s3_place, tmp_path, *EVERY_TWO)
    killed(s3_place, spec, 5)
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
    spec = spec_at(s3_place, tmp_path, *EVERY_TWO)
    killed(s3_place, spec, 3)
    s3_place.write(LATEST, b"")
    recorder = Recorder()
    train_at(s3_place, spec, recorder)
    assert recorder.steps[0].step == 1
    assert said_by(recorder.events, "training starts again from its first step")


@pytest.mark.parametrize("manifest", ["there", "lost"])
def test_a_checkpoint_of_another_spec_is_never_resumed(
    manifest: str, place: Place, tmp_path: Path, dino: Dino
) -> None:
    """Neither by the manifest's word nor without it; what a preflight left is no checkpoint."""
    spec = spec_at(place, tmp_path)
    assert dino.run(spec)[0] == 0
    if manifest == "lost":
        place.write(MANIFEST_FILE, None)
        place.write("result.json", None)
    before = place.read(LATEST)
    code, said = dino.run(spec, "train.optim.lr=1e-5")
    assert code == 64, said
    assert "another experiment" in said
    assert place.read(LATEST) == before


def test_what_a_preflight_of_another_spec_left_is_in_nobodys_way(
    place: Place, tmp_path: Path, dino: Dino
) -> None:
    checked = Output(f"{place.results_dir}/preflight", tmp_path / "preflight")
    checked.claim("of another spec")
    (checked.dir / "report.json").write_text("{}")
    checked.publish("report.json")
    code, said = dino.run(spec_at(place, tmp_path, "train.num_epochs=1"))
    assert code == 0, said
    assert "Resuming" not in said
    assert checked.fetch("report.json")


def test_divergence_keeps_the_last_good_checkpoint(
    s3_place: Place, tmp_path: Path, dino: Dino, monkeypatch: pytest.MonkeyPatch
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
    tmp_path: Path, dino: Dino, monkeypatch: pytest.MonkeyPatch
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
    forward, count = loss_module.LossOf.forward, iter(range(1, 1000))

    def poisoned(self: Any, *arguments: Any) -> Any:
        loss = forward(self, *arguments)
        return change(loss) if next(count) == number else loss

    monkeypatch.setattr(loss_module.LossOf, "forward", poisoned)


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
