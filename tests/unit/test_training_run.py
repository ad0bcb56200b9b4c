"""`dino train` from folders to results: resume, stops, divergence, what is published."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from threading import Event

import pytest
import torch
from PIL import Image
from training_builders import Recorder, a_context, a_dataset, a_spec

from dino_api.experiment import ExperimentSpec
from dino_api.result import Result
from dino_trainer.actions import train
from dino_trainer.errors import TrainerError, failure_of
from dino_trainer.train import checkpoint
from dino_trainer.train.checkpoint import BEST, LATEST, PREVIOUS


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def spec(tmp_path: Path) -> ExperimentSpec:
    """8 steps: 2 epochs of 4."""
    return spec_for(tmp_path)


def spec_for(folder: Path, *overrides: str) -> ExperimentSpec:
    """A spec over data sets in `folder`, made once."""
    if not (folder / "train").exists():
        a_dataset(folder / "train", 8, seed=0)
        a_dataset(folder / "val", 4, seed=1)
    return a_spec(folder / "train", folder / "val", *overrides)


def run(spec: ExperimentSpec, recorder: Recorder | None = None) -> Result:
    recorder = recorder or Recorder()
    return train.run(spec, a_context(spec, recorder))


def interrupted(spec: ExperimentSpec, at: int) -> Recorder:
    """Train until the stop event is set during step `at`."""
    stop = Event()
    recorder = Recorder(lambda step: stop.set() if step == at else None)
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


def test_a_run_from_start_to_end(spec: ExperimentSpec) -> None:
    recorder = Recorder()
    result = run(spec, recorder)
    folder = Path(spec.results_dir) / "train"

    assert [p.step for p in recorder.steps] == list(range(1, 9))
    last = recorder.steps[-1]
    assert (last.epoch, last.epochs, last.steps, last.percent) == (2, 2, 8, 100)
    assert last.eta_seconds == 0
    assert last.images_per_second > 0
    assert math.isfinite(last.loss)
    assert [epoch for epoch, _, _ in recorder.validations] == [1, 2]

    best = checkpoint.read(folder / BEST)
    assert best["class_names"] == ["", "red", "", "blue"]
    assert best["spec"]["model"]["hidden_dim"] == 32
    assert "optimizer" not in best
    assert result.checkpoint.uri == str(folder / BEST)
    assert result.checkpoint.bytes == (folder / BEST).stat().st_size
    assert result.metrics == max((m for _, m, _ in recorder.validations), key=lambda m: m.mAP)
    assert result.dataset.num_classes == 4
    assert result.dataset.images == 8
    assert {a.name for a in result.artifacts} == {BEST, "validation.png"}
    assert Image.open(folder / "validation.png").size == (1600, 322)


@pytest.mark.parametrize("at", [1, 4, 6])
def test_a_resumed_run_ends_in_the_same_bits(tmp_path: Path, at: int) -> None:
    """In the first epoch, between two, and in the second; also with loader workers."""
    straight, broken = Recorder(), Recorder()
    run(spec_for(tmp_path, "results_dir=" + str(tmp_path / "straight")), straight)
    again = "results_dir=" + str(tmp_path / "broken")
    before = interrupted(spec_for(tmp_path, again), at)
    run(spec_for(tmp_path, again, "dataset.workers=1"), broken)
    assert [p.step for p in broken.steps] == list(range(at + 1, 9))

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
    assert latest(spec)["validated_step"] == 4
    recorder = Recorder()
    result = run(spec, recorder)
    assert recorder.steps == []
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
    with pytest.raises(TrainerError, match="lacks dataset_digest, optimizer, seed"):
        run(spec_for(tmp_path, "results_dir=" + str(tmp_path / "third"), named))


def test_weights_are_taken_over_from_another_training(tmp_path: Path) -> None:
    run(spec_for(tmp_path))
    best = tmp_path / "results" / "train" / BEST
    spec = spec_for(
        tmp_path,
        "results_dir=" + str(tmp_path / "second"),
        f"train.pretrained_model_path={best}",
        "train.optim.lr=1e-9",
        "train.optim.lr_backbone=1e-9",
        "train.num_epochs=1",
    )
    run(spec)
    before, after = checkpoint.read(best)["model"], latest(spec)["model"]
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, atol=1e-5, rtol=0)


def test_frozen_parts_stay_as_they_were(tmp_path: Path) -> None:
    spec = spec_for(
        tmp_path, "train.freeze=[backbone, encoder.layers.0]", "train.ema.enabled=false"
    )
    interrupted(spec, 1)
    before = latest(spec)["model"]
    run(spec)
    after = latest(spec)["model"]
    for name, value in before.items():
        frozen = name.startswith(("backbone.", "encoder.layers.0."))
        assert not frozen or torch.equal(after[name], value), name
    assert not torch.equal(after["query_embed.weight"], before["query_embed.weight"])


def test_a_rate_that_explodes_stops_at_once(tmp_path: Path) -> None:
    spec = spec_for(
        tmp_path,
        "train.optim.optimizer=SGD",
        "train.optim.lr=1.0",
        "train.optim.lr_backbone=1.0",
        "train.clip_grad_norm=1000000",
        "train.optim.warmup_steps=0",
        "train.num_epochs=20",
        "train.validation_interval=20",
        "train.checkpoint_interval=1",
        "train.checkpoint_interval_unit=step",
    )
    recorder = Recorder()
    with pytest.raises(TrainerError, match=r"at epoch \d+, step \d+ of 80") as caught:
        run(spec, recorder)
    assert caught.value.reason == "Diverged"
    assert ".png" in caught.value.message
    saved = latest(spec)
    assert saved["step"] == len(recorder.steps)
    assert all(value.isfinite().all() for value in saved["model"].values())


REFUSED = {
    "too few classes": ("dataset.num_classes=3", r"is 3, but the largest category id is 3"),
    "a batch larger than the data": ("dataset.batch_size=9", r"8 image\(s\), fewer than one batch"),
    "a part that does not exist": ("train.freeze=[enkoder]", "train.freeze names enkoder"),
    "no such backbone": ("model.backbone=timm/test_eficientnet", "test_efficientnet"),
    "no such checkpoint": ("train.pretrained_model_path=/nowhere.pth", "no file /nowhere.pth"),
    "no such backbone weights": ("model.pretrained_backbone_path=/no.pth", "no file /no.pth"),
}


@pytest.mark.parametrize("override, message", REFUSED.values(), ids=REFUSED)
def test_refused_before_the_first_step(tmp_path: Path, override: str, message: str) -> None:
    recorder = Recorder()
    with pytest.raises(TrainerError, match=message) as caught:
        run(spec_for(tmp_path, override), recorder)
    assert caught.value.reason in ("InvalidSpec", "InvalidDataset", "InputNotFound")
    assert recorder.steps == []


def test_without_validation_data_the_result_says_so(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, "train.num_epochs=1")
    spec.dataset.val_data_sources = None
    result = run(spec)
    assert "no validation data" in result.dataset.warnings[-1]


def test_more_classes_than_the_data_has(tmp_path: Path) -> None:
    result = run(spec_for(tmp_path, "dataset.num_classes=6", "train.num_epochs=1"))
    assert result.dataset.class_names == ["", "red", "", "blue", "", ""]


def test_an_unreadable_image_ends_the_training_with_its_name(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, "dataset.workers=1")
    (tmp_path / "train" / "images" / "5.png").write_bytes(b"nothing")
    with pytest.raises(Exception, match=r"5\.png cannot be read as an image") as caught:
        run(spec)
    failure = failure_of(caught.value)  # it crossed the border of a process
    assert failure.reason == "InvalidDataset"
    assert failure.message.startswith("5.png cannot be read as an image")


def test_the_published_augmentation_trains(tmp_path: Path) -> None:
    spec = spec_for(
        tmp_path,
        "dataset.augmentation.fixed_size=null",
        "dataset.augmentation.zoom_crop=null",
        "dataset.augmentation.scales=[64, 80]",
        "dataset.augmentation.train_random_resize=[64]",
        "dataset.augmentation.train_random_crop_min=48",
        "dataset.augmentation.train_random_crop_max=64",
        "dataset.augmentation.test_random_resize=64",
        "dataset.augmentation.random_resize_max_size=128",
        "train.ema.enabled=false",
        "train.optim.lr_scheduler=MultiStep",
    )
    result = run(spec)
    assert result.metrics.mAP is not None
    assert latest(spec)["ema"] is None


def test_a_data_set_with_boxless_images(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, "dataset.batch_size=1")
    path = tmp_path / "train" / "annotations.json"
    document = json.loads(path.read_text())
    document["annotations"] = [a for a in document["annotations"] if a["image_id"] == 1]
    path.write_text(json.dumps(document))
    recorder = Recorder()
    run(spec, recorder)
    assert len(recorder.steps) == 16
