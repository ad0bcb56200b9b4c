"""Schedules, optimiser groups, average, checkpoints, meter, machine: the parts of training."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dino_api.experiment import OptimConfig
from dino_trainer.errors import TrainerError
from dino_trainer.machine import cores, devices
from dino_trainer.model_files import checkpoint
from dino_trainer.report.meter import LossParts, Meter
from dino_trainer.train.ema import Ema
from dino_trainer.train.loss import Parts
from dino_trainer.train.optim import Schedule, build_optimizer
from dino_trainer.train.step import StepLosses
from dino_trainer.train.weights import freeze
from tests.bench.train_step_counts import Count, copies_to_host

EPOCHS, STEPS = 9, 7


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential()
        self.backbone.body = nn.Linear(2, 2)
        self.encoder = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        self.register_buffer("constant", torch.ones(1))


def rates(config: OptimConfig) -> list[float]:
    schedule = Schedule(config, STEPS, EPOCHS * STEPS)
    return [schedule.factor(step) for step in range(EPOCHS * STEPS)]


def torch_rates(make, per_epoch: bool) -> list[float]:
    """What one of torch's schedulers does with a base rate of 1."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    seen = []
    for step in range(EPOCHS * STEPS):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if not per_epoch or (step + 1) % STEPS == 0:
            scheduler.step()
    return seen


def test_multistep_equals_torch() -> None:
    config = OptimConfig(lr_scheduler="MultiStep", lr_steps=[7, 3], lr_decay=0.2)
    want = torch_rates(
        lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [3, 7], gamma=0.2), per_epoch=True
    )
    np.testing.assert_allclose(rates(config), want)


def test_step_equals_torch() -> None:
    config = OptimConfig(lr_scheduler="StepLR", lr_step_size=4, lr_decay=0.3)
    want = torch_rates(lambda o: torch.optim.lr_scheduler.StepLR(o, 4, gamma=0.3), per_epoch=True)
    np.testing.assert_allclose(rates(config), want)


def test_linear_is_flat_then_falls_to_zero() -> None:
    config = OptimConfig(lr_scheduler="Linear", lr_decay_start=2 / 3)
    flat, total = 42, EPOCHS * STEPS
    falling = [(total - step) / (total - flat) for step in range(flat, total)]
    np.testing.assert_allclose(rates(config), [1.0] * flat + falling)


def test_cosine_equals_torch() -> None:
    want = torch_rates(
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, EPOCHS * STEPS), per_epoch=False
    )
    np.testing.assert_allclose(rates(OptimConfig(lr_scheduler="Cosine")), want)


def test_a_wider_plan_keeps_the_rate_of_an_epoch() -> None:
    """Twice as many processes, half as many steps: epochs begin at the rates they had."""
    for name in ("MultiStep", "StepLR", "Linear", "Cosine"):
        config = OptimConfig(lr_scheduler=name, lr_steps=[3, 7], lr_step_size=4)
        narrow, wide = Schedule(config, 8, 8 * EPOCHS), Schedule(config, 4, 4 * EPOCHS)
        for epoch in range(EPOCHS):
            assert narrow.factor(8 * epoch) == pytest.approx(wide.factor(4 * epoch))


def test_warmup_multiplies_as_torch_does() -> None:
    config = OptimConfig(lr_scheduler="MultiStep", lr_steps=[100], warmup_steps=10)
    want = torch_rates(
        lambda o: torch.optim.lr_scheduler.LinearLR(o, start_factor=0.1, total_iters=9),
        per_epoch=False,
    )
    np.testing.assert_allclose(rates(config), want)


@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_the_backbone_has_its_own_rate(name: str) -> None:
    model = Toy()
    model.encoder[1].requires_grad_(False)
    config = OptimConfig(optimizer=name, lr=0.1, lr_backbone=0.01, warmup_steps=2, momentum=0.5)
    optimizer = build_optimizer(model, config)
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 2]
    assert Schedule(config, STEPS, 100).apply(optimizer, 0) == 0.05
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.005]
    assert {group["weight_decay"] for group in optimizer.param_groups} == {1e-4}


def test_layers_of_a_vit_learn_less_the_farther_they_are_from_the_output() -> None:
    config = OptimConfig(lr=0.1, layer_decay_rate=0.5)
    distances = {"backbone.body.weight": 2, "backbone.body.bias": 1}
    optimizer = build_optimizer(Toy(), config, distances)
    rates = {len(group["params"]): group["lr"] for group in optimizer.param_groups[:1]}
    assert rates == {4: 0.1}
    assert sorted(group["lr"] for group in optimizer.param_groups[1:]) == [0.025, 0.05]


def test_a_model_frozen_whole_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves nothing to train"):
        build_optimizer(Toy().requires_grad_(False), OptimConfig())


def test_the_average_follows_the_weights() -> None:
    model = Toy()
    model.backbone.requires_grad_(False)
    ema = Ema(model, decay=0.75)
    want = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(3):
        with torch.no_grad():
            for parameter in model.encoder.parameters():
                parameter.normal_()
        ema.update()
        for name, value in model.named_parameters():
            want[name] = 0.75 * want[name] + 0.25 * value
    for name, value in ema.model.state_dict().items():
        torch.testing.assert_close(value, want[name].detach())
    assert not any(p.requires_grad for p in ema.model.parameters())


FROZEN = {
    "a module": ("encoder.1", {"encoder.1.weight", "encoder.1.bias"}),
    "a parameter": ("encoder.0.bias", {"encoder.0.bias"}),
    "TAO's name": ("transformer.encoder.0", {"encoder.0.weight", "encoder.0.bias"}),
}


@pytest.mark.parametrize("name, want", FROZEN.values(), ids=FROZEN)
def test_freeze(name: str, want: set[str]) -> None:
    model = Toy()
    freeze(model, [name])
    assert {n for n, p in model.named_parameters() if not p.requires_grad} == want


def test_freezing_what_is_not_there_names_the_nearest() -> None:
    with pytest.raises(TrainerError, match=r"train\.freeze names encodr") as caught:
        freeze(Toy(), ["encodr"])
    assert caught.value.reason == "InvalidSpec"
    assert "encoder" in caught.value.remedy


def test_a_checkpoint_replaces_the_last_and_keeps_it(tmp_path: Path) -> None:
    path, previous = tmp_path / "latest.pth", tmp_path / "previous.pth"
    for step in (1, 2, 3):
        checkpoint.write({"step": step, "weights": torch.ones(3)}, path, previous)
    assert checkpoint.read(path)["step"] == 3
    assert checkpoint.read(previous)["step"] == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest.pth", "previous.pth"]


def test_a_failed_write_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "latest.pth"
    checkpoint.write({"step": 1}, path, tmp_path / "previous.pth")
    with pytest.raises(Exception, match=r"pickle|Can't get"):
        checkpoint.write({"step": lambda: 0}, path, tmp_path / "previous.pth")
    assert checkpoint.read(path)["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["latest.pth"]


@pytest.fixture
def files_of_one_megabyte() -> Iterator[None]:
    """A limit on file sizes stands for a full disk: the write fails in the same place."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("files_of_one_megabyte")
def test_a_full_disk_is_called_so(tmp_path: Path) -> None:
    path = tmp_path / "latest.pth"
    checkpoint.write({"step": 1}, path)
    with pytest.raises(TrainerError) as caught:
        checkpoint.write({"step": 2, "weights": torch.ones(1 << 20)}, path)
    assert caught.value.reason == "DiskFull"
    assert checkpoint.read(path)["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["latest.pth"]


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.99])
def test_a_damaged_checkpoint_is_not_loaded(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "latest.pth"
    checkpoint.write({"weights": torch.ones(1000)}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    with pytest.raises(ValueError, match=r"latest\.pth is not a whole checkpoint"):
        checkpoint.read(path)


def test_other_files_are_no_checkpoints(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="holds no checkpoint, but a list"):
        checkpoint.read(tmp_path / "list.pth")


def test_the_meter_leaves_out_pauses() -> None:
    now = [0.0]
    meter = Meter(steps=100, clock=lambda: now[0])
    now[0] += 60.0  # a validation that an earlier attempt left undone
    meter.resume()
    for loss in (4.0, 2.0):
        now[0] += 2.0
        meter.step(loss, LossParts({"loss_ce": loss / 4}, {"detection": loss - 1, "encoder": 1.0}))
        now[0] += 1.0  # a validation
        meter.resume()
    assert meter.step_seconds == 2.0
    assert meter.loss == 3.0
    assert meter.parts.terms == {"loss_ce": 0.75}
    assert meter.parts.shares == {"detection": 2.0, "encoder": 1.0}
    assert (meter.parts.distillation, LossParts().distillation) == (1.0, None)
    assert meter.eta_seconds(2) == 98 * 3


def test_telling_a_loss_costs_what_moving_it_costs() -> None:
    """One stack, one view, one copy to the host, whatever the loss is made of."""
    step = StepLosses(
        [torch.tensor(3.0), torch.tensor(4.0)],
        [Parts(("a", "b"), torch.tensor([1.0, 2.0])), Parts(("b",), torch.tensor([5.0]))],
    )
    norm_there = torch.tensor(0.5)
    with Count() as count, copies_to_host() as copies:
        losses, sums, norm = step.fetch(norm_there)
    assert (losses, dict(sums), norm) == ([3.0, 4.0], {"a": 1.0, "b": 7.0}, 0.5)
    assert sum(count.seen.values()) == 3
    assert copies == ["tolist"]


QUOTAS = {
    "version 2": ({"cpu.max": "150000 100000\n"}, 1.5),
    "version 1": (
        {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"},
        2.0,
    ),
    "no limit": ({"cpu.max": "max 100000\n"}, None),
    "no control group": ({}, None),
}


@pytest.mark.parametrize("files, want", QUOTAS.values(), ids=QUOTAS)
def test_the_quota_of_a_container(tmp_path: Path, files, want, monkeypatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cores.cpu_quota(tmp_path) == (64.0 if want is None else want)
    assert cores.cores(tmp_path) >= 1


def test_the_device_follows_the_spec() -> None:
    assert devices.pick_device(0).type == "cpu"
    want = "cuda" if torch.cuda.is_available() else "cpu"
    assert devices.pick_device(1).type == want
