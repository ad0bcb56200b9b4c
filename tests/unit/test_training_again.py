"""A training whose process is gone begins again by the same command, and says what is true."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dino_trainer.errors import TrainerError
from dino_trainer.model_files import checkpoint
from dino_trainer.model_files.checkpoint import BEST, LATEST
from tests.unit.durable_runs import EVERY_TWO
from tests.unit.training_builders import (
    Killed,
    Recorder,
    a_dataset,
    interrupted,
    killed_at,
    latest,
    run,
    spec_for,
)


def test_a_resumed_training_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    """The same command names the checkpoint of the first training, whose steps are long past."""
    first = spec_for(tmp_path, f"results_dir={tmp_path}/first")
    interrupted(first, 2)
    named = f"train.resume_training_checkpoint_path={tmp_path}/first/train/{LATEST}"
    second = spec_for(tmp_path, f"results_dir={tmp_path}/second", named, *EVERY_TWO)
    with pytest.raises(Killed):
        run(second, killed_at(7))
    assert latest(second)["step"] == 6
    recorder = Recorder()
    run(second, recorder)
    assert [each.step for each in recorder.steps] == [7, 8]
    assert (
        f"{tmp_path}/first/train/{LATEST} (train.resume_training_checkpoint_path) is not read: "
        f"{tmp_path}/second/train/{LATEST} goes on from it, and is farther." in recorder.events
    )


def test_the_named_checkpoint_is_resumed_where_it_is_farther(tmp_path: Path) -> None:
    first = spec_for(tmp_path, f"results_dir={tmp_path}/first")
    interrupted(first, 6)
    interrupted(spec_for(tmp_path, f"results_dir={tmp_path}/second"), 2)
    named = f"train.resume_training_checkpoint_path={tmp_path}/first/train/{LATEST}"
    recorder = Recorder()
    run(spec_for(tmp_path, f"results_dir={tmp_path}/second", named), recorder)
    assert recorder.steps[0].step == 7


def test_other_validation_data_is_not_scored_beside_the_best_so_far(tmp_path: Path) -> None:
    """An easier set would be the best for ever, and a harder one never."""
    spec = spec_for(tmp_path)
    interrupted(spec, 5)
    shutil.rmtree(tmp_path / "val")
    a_dataset(tmp_path / "val", 4, seed=7)
    with pytest.raises(TrainerError, match="validation data is not the data that the") as caught:
        run(spec)
    assert caught.value.reason == "InvalidDataset"
    other = f"results_dir={tmp_path}/other"
    named = f"train.resume_training_checkpoint_path={spec.results_dir}/train/{LATEST}"
    assert run(spec_for(tmp_path, other, named)).metrics is not None


def test_the_best_checkpoint_is_called_what_it_is(tmp_path: Path) -> None:
    """A killed attempt has published weights that validated better than what this one finds."""
    spec = spec_for(tmp_path)
    interrupted(spec, 6)
    path = Path(spec.results_dir) / "train" / BEST
    content = checkpoint.read(path)
    assert (content["epoch"], latest(spec)["best"]["epoch"]) == (1, 1)
    checkpoint.write(
        {**content, "epoch": 2, "step": 8, "metrics": {**content["metrics"], "mAP": 0.9}}, path
    )
    result = run(spec)
    assert checkpoint.read(path)["epoch"] == 2
    assert result.checkpoint is not None
    assert result.metrics is not None
    assert (result.checkpoint.epoch, result.checkpoint.metric, result.metrics.mAP) == (2, 0.9, 0.9)


@pytest.mark.parametrize("odd", ["of another experiment", "not validated", "damaged"])
def test_a_best_checkpoint_that_says_nothing_is_found_anew(tmp_path: Path, odd: str) -> None:
    spec = spec_for(tmp_path)
    interrupted(spec, 6)
    path = Path(spec.results_dir) / "train" / BEST
    content = checkpoint.read(path)
    if odd == "damaged":
        path.write_bytes(path.read_bytes()[:5000])
    else:
        changes = {
            "of another experiment": {"spec_digest": "x"},
            "not validated": {"metrics": None},
        }
        checkpoint.write({**content, **changes[odd]}, path)
    recorder = Recorder()
    result = run(spec, recorder)
    assert result.metrics == recorder.validations[-1][1]
    assert checkpoint.read(path)["epoch"] == 2
