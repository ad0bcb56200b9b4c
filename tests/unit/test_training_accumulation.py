"""One step of several batches, or of several processes, is the step of one large batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from dino_api.experiment import ExperimentSpec
from dino_trainer.data.loader import train_loader
from dino_trainer.data.sampler import TrainPlan
from dino_trainer.data.splits import TrainingData, load_data
from dino_trainer.distributed import World
from dino_trainer.errors import TrainerError
from dino_trainer.spec.micro_batch import micro_batch_size
from dino_trainer.train import step
from dino_trainer.train.run import Run
from dino_trainer.train.setup import prepare_run
from tests.unit.training_builders import Recorder, a_context, interrupted, latest, run, spec_for

# Denoising draws its noise batch by batch. Plain SGD keeps small differences small.
PLAIN = ("model.use_dn=false", "train.optim.optimizer=SGD", "train.num_epochs=1")
ONE_LARGE = ("dataset.batch_size=4",)
TWO_SMALL = ("dataset.batch_size=2", "train.accumulate_grad_batches=2")


def final(spec: ExperimentSpec) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Smoothed losses of all steps, and the weights at the end."""
    recorder = Recorder()
    run(spec, recorder)
    return [progress.loss for progress in recorder.steps], latest(spec)["model"]


def assert_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-4, atol=2e-6, msg=name)


@pytest.mark.parametrize("micro", [None, "1"])
def test_small_batches_add_up_to_a_large_one(
    tmp_path: Path, micro: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As accumulated batches, and as what is left of a batch after memory ran out."""
    losses, weights = final(spec_for(tmp_path, *PLAIN, *ONE_LARGE))
    if micro:
        monkeypatch.setenv("DINO_MICRO_BATCH", micro)
    again = "results_dir=" + str(tmp_path / "parts")
    parts, same = final(spec_for(tmp_path, *PLAIN, *(ONE_LARGE if micro else TWO_SMALL), again))
    assert len(parts) == 2
    assert parts == pytest.approx(losses, rel=1e-4)
    assert_close(weights, same)


@dataclass(frozen=True)
class Peer(World):
    """One of two ranks whose peer is not there; `boxes` are those of both."""

    boxes: float = 0.0

    def reduce(self, values: Sequence[float]) -> list[float]:
        return [self.boxes, 0.0]


def a_run(spec: ExperimentSpec, world: World) -> tuple[Run, TrainingData]:
    context = a_context(spec, Recorder())
    data = load_data(spec, context)
    built = prepare_run(spec, context, data, None)
    built.world = world
    return built, data


def gradients(built: Run, data: TrainingData, plan: TrainPlan) -> list[torch.Tensor]:
    """Of the first step, before clipping."""
    batches = next(iter(train_loader(data.train, built.spec.dataset, plan, built.world.rank)))
    boxes, _ = built.world.reduce([step.boxes_in(batches), 0])
    step.accumulate(built, batches, boxes / built.world.size)
    return [p.grad.clone() for p in built.trainable if p.grad is not None]


def test_averaged_gradients_of_two_processes_are_those_of_one(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, *PLAIN, "train.accumulate_grad_batches=2")
    alone, data = a_run(spec, World.alone())
    plan = alone.plan
    want = gradients(alone, data, plan)
    boxes = step.boxes_in(next(iter(train_loader(data.train, spec.dataset, plan))))
    shared = TrainPlan(plan.images, plan.batch_size, plan.epochs, plan.seed, world=2)
    ranks = [gradients(a_run(spec, Peer(r, 2, boxes=boxes))[0], data, shared) for r in (0, 1)]
    assert len(want) > 50
    for one, first, second in zip(want, *ranks, strict=True):
        torch.testing.assert_close((first + second) / 2, one, rtol=1e-3, atol=1e-5)


def test_accumulation_resumes_to_the_bit(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, "dataset.batch_size=1", "train.accumulate_grad_batches=2")
    _, straight = final(spec)
    again = "results_dir=" + str(tmp_path / "broken")
    broken = spec_for(tmp_path, "dataset.batch_size=1", "train.accumulate_grad_batches=2", again)
    interrupted(broken, 3)
    run(broken)
    for name, value in straight.items():
        assert torch.equal(value, latest(broken)["model"][name]), name


def test_another_number_of_images_a_step_goes_on_in_the_same_epoch(tmp_path: Path) -> None:
    """4 of 8 images are seen: with 4 a step, one step of the epoch is left."""
    interrupted(spec_for(tmp_path), 2)
    path = tmp_path / "results" / "train" / "dino_model_latest.pth"
    elsewhere = "results_dir=" + str(tmp_path / "wider")
    named = f"train.resume_training_checkpoint_path={path}"
    recorder = Recorder()
    run(spec_for(tmp_path, *ONE_LARGE, elsewhere, named), recorder)
    assert [(p.step, p.epoch, p.steps) for p in recorder.steps] == [(2, 1, 4), (3, 1, 4), (4, 2, 4)]


def test_more_images_a_step_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match=r"fewer than the 12 of one step \(2 a batch, 6 batches"):
        run(spec_for(tmp_path, "train.accumulate_grad_batches=6"))


@pytest.mark.parametrize("text", ["0", "5", "two", "-1"])
def test_a_micro_batch_is_a_part_of_a_batch(text: str) -> None:
    assert micro_batch_size(4, {"DINO_MICRO_BATCH": "4"}) == 4
    assert micro_batch_size(4, {}) is None
    with pytest.raises(TrainerError, match=r"not a number from 1 to dataset\.batch_size") as caught:
        micro_batch_size(4, {"DINO_MICRO_BATCH": text})
    assert caught.value.reason == "InvalidSpec"


def test_validation_keeps_to_the_micro_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or each attempt would run out of memory again at the end of its first epoch."""
    monkeypatch.setenv("DINO_MICRO_BATCH", "1")
    built, _ = a_run(spec_for(tmp_path, *PLAIN, *ONE_LARGE), World.alone())
    seen: set[int] = set()
    built.model.register_forward_pre_hook(lambda _, given: seen.add(len(given[0])))
    built.validate(built.model)
    assert seen == {1}
