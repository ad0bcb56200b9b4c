"""`dino train` from folders to results: resume, stops, divergence, what is published."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image

from dino_api.experiment import ExperimentSpec
from dino_trainer.errors import TrainerError, failure_of
from dino_trainer.model_files import checkpoint
from dino_trainer.model_files.checkpoint import BEST, LATEST
from tests.unit.training_builders import Recorder, interrupted, latest, run, spec, spec_for

__all__ = ["spec"]


def test_a_run_from_start_to_end(spec: ExperimentSpec) -> None:
    recorder = Recorder()
    result = run(spec, recorder)
    folder = Path(spec.results_dir) / "train"

    assert len(recorder.stagings) == 2, "of both splits"
    assert [p.step for p in recorder.steps] == list(range(1, 9))
    last = recorder.steps[-1]
    assert (last.epoch, last.epochs, last.steps, last.percent) == (2, 2, 8, 100)
    assert last.eta_seconds == 0
    assert last.images_per_second > 0
    assert math.isfinite(last.loss)
    assert [epoch for epoch, _, _ in recorder.validations] == [1, 2]

    names = {path.name for path in folder.glob("*.pth")}
    assert names == {BEST, LATEST}

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
