"""NaN ends a training at its step, with the images and the last good checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dino_trainer.errors import TrainerError
from dino_trainer.train import loss as loss_module
from dino_trainer.train import step
from tests.unit.training_builders import Recorder, latest, run, spec_for

EVERY_STEP = ("train.checkpoint_interval=1", "train.checkpoint_interval_unit=step")


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sixth image, 6.png, is not a number."""
    forward = loss_module.LossOf.forward

    def loss(self, batch, noise, num_boxes):
        found = forward(self, batch, noise, num_boxes)
        return found * float("nan") if 5 in batch.indices else found

    monkeypatch.setattr(loss_module.LossOf, "forward", loss)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_micro_batch_is_named(tmp_path: Path, precision: str) -> None:
    """One image of four: the others of its step are innocent."""
    spec = spec_for(
        tmp_path,
        "dataset.batch_size=1",
        "train.accumulate_grad_batches=4",
        "train.num_epochs=3",
        f"train.precision={precision}",
        *EVERY_STEP,
    )
    recorder = Recorder()
    with pytest.raises(TrainerError, match=r"on the images 6\.png\. The last") as caught:
        run(spec, recorder)
    assert caught.value.reason == "Diverged"
    assert "loss is nan at epoch 1" in caught.value.message
    assert len(recorder.steps) < 2
    if recorder.steps:  # by the seed, the image is in the first step of an epoch or in the second
        assert all(value.isfinite().all() for value in latest(spec)["model"].values())


def test_a_gradient_that_is_no_number_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is fine, so all images of the step may be the cause."""
    clip = torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(step.nn.utils, "clip_grad_norm_", lambda *a: clip(*a) * float("inf"))
    with pytest.raises(TrainerError, match=r"norm is inf at epoch 1, step 1 .*\.png, \d\.png"):
        run(spec_for(tmp_path))
