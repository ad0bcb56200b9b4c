"""Nothing is lost: a training that was interrupted ends in the bits of one that was not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from training_builders import Recorder, a_dataset, assert_same, interrupted, latest, run, spec_for

from dino_api.experiment import ExperimentSpec
from dino_trainer.errors import TrainerError
from dino_trainer.train import checkpoint
from dino_trainer.train.checkpoint import BEST, LATEST, PREVIOUS


@pytest.fixture
def spec(tmp_path: Path) -> ExperimentSpec:
    """8 steps: 2 epochs of 4."""
    return spec_for(tmp_path)


@pytest.mark.parametrize("at", [1, 4, 6])
def test_a_resumed_run_ends_in_the_same_bits(tmp_path: Path, at: int) -> None:
    """In the first epoch, between two, and in the second; also with loader workers."""
    straight, broken = Recorder(), Recorder()
    run(spec_for(tmp_path, "results_dir=" + str(tmp_path / "straight")), straight)
    again = "results_dir=" + str(tmp_path / "broken")
    before = interrupted(spec_for(tmp_path, again), at)
    run(spec_for(tmp_path, again, "dataset.workers=1"), broken)
    assert [p.step for p in broken.steps] == list(range(at + 1, 9))
    assert [(p.step, p.percent) for p in broken.positions] == [(at, 100 * at // 8)]

    for name in (LATEST, BEST):
        whole = checkpoint.read(tmp_path / "straight" / "train" / name)
        parts = checkpoint.read(tmp_path / "broken" / "train" / name)
        for content in (whole, parts):
            content.pop("spec")  # paths and workers differ
        assert_same(whole, parts)
    assert straight.validations == before.validations + broken.validations


def test_a_killed_run_resumes_from_its_last_checkpoint(tmp_path: Path) -> None:
    """A kill leaves what the last interval saved; the steps since are done again, equally."""

    class Killed(BaseException):
        pass

    def kill(step: int) -> None:
        if step == 7:
            raise Killed

    run(spec_for(tmp_path, "results_dir=" + str(tmp_path / "straight")))
    interval = ("train.checkpoint_interval=3", "train.checkpoint_interval_unit=step")
    spec = spec_for(tmp_path, "results_dir=" + str(tmp_path / "broken"), *interval)
    with pytest.raises(Killed):
        run(spec, Recorder(kill))
    assert latest(spec)["step"] == 6
    recorder = Recorder()
    run(spec, recorder)
    assert recorder.steps[0].step == 7
    whole = checkpoint.read(tmp_path / "straight" / "train" / LATEST)
    for key in ("model", "ema", "optimizer", "best"):
        assert_same(whole[key], latest(spec)[key], key)


def test_a_stop_during_validation_validates_again(spec: ExperimentSpec) -> None:
    straight = Recorder()
    run(spec, straight)
    shutil.rmtree(spec.results_dir)
    interrupted(spec, 8)  # the last step is done, its validation is not
    assert latest(spec)["validated"] == 1
    recorder = Recorder()
    result = run(spec, recorder)
    assert recorder.steps == []
    assert [p.step for p in recorder.positions] == [8]
    assert recorder.validations == straight.validations[1:]
    assert result.metrics is not None


def test_a_damaged_checkpoint_gives_way_to_the_one_before(spec: ExperimentSpec) -> None:
    interrupted(spec, 6)
    folder = Path(spec.results_dir) / "train"
    path = folder / LATEST
    assert checkpoint.read(folder / PREVIOUS)["step"] == 4
    path.write_bytes(path.read_bytes()[:5000])
    recorder = Recorder()
    run(spec, recorder)
    assert recorder.steps[0].step == 5
    assert any("Resuming after step 4" in event for event in recorder.events)


def test_a_checkpoint_of_another_spec_is_never_resumed(spec: ExperimentSpec) -> None:
    interrupted(spec, 2)
    other = spec.model_copy(deep=True)
    other.train.optim.lr = 1e-5
    with pytest.raises(TrainerError, match="is of another experiment") as caught:
        run(other)
    assert caught.value.reason == "InvalidSpec"
    assert latest(spec)["step"] == 2


def test_changed_data_is_not_resumed_on(spec: ExperimentSpec, tmp_path: Path) -> None:
    interrupted(spec, 2)
    shutil.rmtree(tmp_path / "train")
    a_dataset(tmp_path / "train", 8, seed=9)
    with pytest.raises(TrainerError, match="not the data that the checkpoint was trained on"):
        run(spec)


def test_a_named_checkpoint_is_resumed(tmp_path: Path) -> None:
    first = spec_for(tmp_path)
    interrupted(first, 6)
    path = Path(first.results_dir) / "train" / LATEST
    elsewhere = str(tmp_path / "elsewhere")
    named = f"train.resume_training_checkpoint_path={path}"
    recorder = Recorder()
    result = run(spec_for(tmp_path, "results_dir=" + elsewhere, named), recorder)
    assert recorder.steps[0].step == 7
    assert result.metrics == recorder.validations[-1][1]  # the best one before lies elsewhere

    named = f"train.resume_training_checkpoint_path={tmp_path}/elsewhere/train/{BEST}"
    with pytest.raises(TrainerError, match="lacks dataset_digest, optimizer, position"):
        run(spec_for(tmp_path, "results_dir=" + str(tmp_path / "third"), named))
