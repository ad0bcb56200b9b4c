"""16 bits where it helps, float32 where it must be, and gradients that do not fit fp16."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dino_api.experiment import TrainConfig
from dino_trainer.errors import TrainerError
from dino_trainer.model import Criterion, Dino, precision
from dino_trainer.model.precision import doubts, grad_scaler
from dino_trainer.train import loop
from tests.unit.training_builders import Recorder, assert_same, interrupted, latest, run, spec_for

CPU = torch.device("cpu")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> set[tuple[bool, torch.dtype]]:
    """(training, dtype) of what a projection inside the model gives, and of the losses' inputs."""
    found: set[tuple[bool, torch.dtype]] = set()
    forward, compare = Dino.forward, Criterion.forward

    def watched(self, *args, **kwargs):
        project = self.input_proj[0][0]
        hook = project.register_forward_hook(
            lambda module, inputs, output: found.add((self.training, output.dtype))
        )
        try:
            return forward(self, *args, **kwargs)
        finally:
            hook.remove()

    def criterion(self, outputs, targets, num_boxes):
        assert not torch.is_autocast_enabled("cpu")
        losses = compare(self, outputs, targets, num_boxes)
        assert losses.total.dtype == torch.float32
        return losses

    monkeypatch.setattr(Dino, "forward", watched)
    monkeypatch.setattr(Criterion, "forward", criterion)
    return found


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_training_and_validation_compute_in_half_precision(
    tmp_path: Path, name: str, seen: set[tuple[bool, torch.dtype]]
) -> None:
    recorder = Recorder()
    spec = spec_for(tmp_path, f"train.precision={name}", "train.num_epochs=1")
    result = run(spec, recorder)
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}[name]
    assert seen == {(True, half), (False, half)}
    saved = latest(spec)
    for part in ("model", "ema"):
        assert {v.dtype for v in saved[part].values() if v.is_floating_point()} == {torch.float32}
    assert result.metrics.mAP is not None
    slow = [event for event in recorder.events if "slower than fp32 on a CPU" in event]
    assert len(slow) == (name == "fp16")


def test_half_precision_takes_nearly_the_same_way(tmp_path: Path) -> None:
    losses = {}
    for name in ("fp32", "bf16"):
        recorder = Recorder()
        there = f"results_dir={tmp_path / name}"
        run(spec_for(tmp_path, f"train.precision={name}", "train.num_epochs=1", there), recorder)
        losses[name] = [progress.loss for progress in recorder.steps]
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.05)


def scaled(scale: float):
    """A scaler that begins at `scale`."""
    return lambda name, device: torch.amp.GradScaler(
        device.type, init_scale=scale, enabled=name == "fp16"
    )


def test_a_gradient_that_does_not_fit_costs_one_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scaled by 2**120 gradients overflow; each time the scale is halved, and nothing changes."""
    monkeypatch.setattr("dino_trainer.train.run.grad_scaler", scaled(2.0**120))
    spec = spec_for(
        tmp_path,
        "train.precision=fp16",
        "train.num_epochs=1",
        "train.optim.weight_decay=0.1",
        "train.ema.enabled=false",
    )
    recorder = Recorder()
    run(spec, recorder)
    assert len(recorder.steps) == 4
    assert {progress.loss for progress in recorder.steps} == {None}
    saved = latest(spec)
    assert saved["scaler"]["scale"] == 2.0**116
    assert saved["skipped"] == 4
    assert all(not state["step"].any() for state in saved["optimizer"]["state"].values())


def test_a_gradient_that_never_fits_ends_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dino_trainer.train.run.grad_scaler", scaled(2.0**120))
    monkeypatch.setattr(loop, "OVERFLOWS", 3)
    recorder = Recorder()
    with pytest.raises(TrainerError, match="at epoch 1, step 3 of 8") as caught:
        run(spec_for(tmp_path, "train.precision=fp16"), recorder)
    assert caught.value.reason == "Diverged"
    assert len(recorder.steps) == 2


def test_fp16_resumes_to_the_bit(tmp_path: Path) -> None:
    """The scale, which the first steps have lowered, is in the checkpoint."""
    half = "train.precision=fp16"
    straight = spec_for(tmp_path, half)
    run(straight)
    broken = spec_for(tmp_path, half, f"results_dir={tmp_path / 'broken'}")
    interrupted(broken, 3)
    assert latest(broken)["scaler"]["scale"] < 2**16
    run(broken)
    for part in ("model", "ema", "optimizer", "scaler", "best"):
        assert_same(latest(straight)[part], latest(broken)[part], part)


def test_other_formats_need_no_scaler() -> None:
    assert not grad_scaler("bf16", CPU).is_enabled()
    assert not grad_scaler("fp32", CPU).is_enabled()
    assert doubts(TrainConfig(precision="bf16"), CPU) is None


@pytest.mark.parametrize("native, said", [(True, None), (False, "only emulated by this GPU")])
def test_bf16_on_an_older_gpu(native: bool, said: str | None, monkeypatch) -> None:
    monkeypatch.setattr(
        precision.torch.cuda, "is_bf16_supported", lambda including_emulation: native
    )
    doubt = doubts(TrainConfig(precision="bf16"), torch.device("cuda"))
    assert doubt is None if said is None else said in str(doubt)
