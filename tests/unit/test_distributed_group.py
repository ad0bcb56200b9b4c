"""What processes say to each other, and what they make of the same model together."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dino_api.experiment import DatasetConfig
from dino_trainer.data.coco import CocoDataset
from dino_trainer.detectors.torch_detector import in_training
from dino_trainer.errors import TrainerError
from dino_trainer.machine.devices import pick_device
from dino_trainer.model import build_dino
from dino_trainer.model_files.info import Detector
from dino_trainer.report.pace import Watch
from dino_trainer.scoring.detection import DetectionSet, detect
from tests.unit.ranks import World, in_ranks
from tests.unit.training_builders import a_dataset, a_spec, load_folder


def talk(world: World, folder: Path) -> object:
    with world.first_here():
        if not world.local_rank:
            time.sleep(0.2)
            (folder / "staged").touch()
        there = (folder / "staged").exists()
    sums = world.reduce([1.5, world.rank])
    shared = world.broadcast({"seed": 7 + world.rank})
    world.barrier()
    return there, sums, shared, world.gather(np.arange(world.rank))


def test_ranks_talk(tmp_path: Path) -> None:
    first, second = in_ranks(2, talk, tmp_path)
    assert first[:3] == second[:3] == (True, [3.0, 1.0], {"seed": 7})
    assert [part.tolist() for part in first[3]] == [[], [0]]
    assert second[3] is None


def test_alone_all_of_it_is_free(tmp_path: Path) -> None:
    there, sums, shared, gathered = talk(World.alone(), tmp_path)  # type: ignore[misc]
    assert (there, sums, shared) == (True, [1.5, 0.0], {"seed": 7})
    assert [part.tolist() for part in gathered] == [[]]
    model = nn.Linear(1, 1)
    assert World.alone().wrap(model) is model


class Parts(nn.Module):
    """All that is odd about the detector's parameters, in small."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, 4)
        self.labels = nn.Embedding(3, 4)
        self.frozen, self.unused = nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, 4)

    def forward(self, x: Tensor, has_boxes: bool) -> Tensor:
        x = checkpoint(lambda x: self.layer(x).relu(), self.frozen(x), use_reentrant=False)
        x = self.head(x) + self.head(self.head(x))  # shared by all layers
        weight = self.labels.weight
        x = x + weight[1] if has_boxes else x + weight[0, 0] * 0.0
        return x.square().sum()


def train_parts(world: World, passes: int) -> float:
    """Train wrapped on this rank's share, and unwrapped on all shares; the largest difference."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    model, whole = Parts(), Parts()
    whole.load_state_dict(model.state_dict())
    wrapped = world.wrap(model)
    worst = 0.0
    for step in range(3):
        shares = torch.randn(world.size, passes, 5, 4)
        model.zero_grad(set_to_none=True)
        whole.zero_grad(set_to_none=True)
        for i in range(passes):
            last = i == passes - 1
            with nullcontext() if last else world.no_sync(wrapped):
                wrapped(shares[world.rank, i], (step + world.rank + i) % 2 == 0).backward()
        for rank in range(world.size):
            for i in range(passes):
                (whole(shares[rank, i], (step + rank + i) % 2 == 0) / world.size).backward()
        for own, want in zip(model.parameters(), whole.parameters(), strict=True):
            assert (own.grad is None) == (want.grad is None)
            if own.grad is not None:
                worst = max(worst, (own.grad - want.grad).abs().max().item())
    return worst


def test_gradients_are_those_of_all_shares_together() -> None:
    """Frozen, shared, unused and recomputed parts; passes without boxes; also accumulated."""
    assert max(in_ranks(2, train_parts, 1)) < 1e-10
    assert max(in_ranks(2, train_parts, 3)) < 1e-10


@pytest.mark.parametrize(
    "gpus, found, pod, want",
    [
        (0, 0, True, "cpu"),
        (1, 0, False, "cpu"),
        (2, 0, False, "cpu"),
        (1, 1, True, "cuda"),
        (2, 2, True, "cuda:1"),
        (1, 0, True, "finds no GPU here"),
        (2, 1, False, "finds 1 GPU here"),
    ],
)
def test_each_process_has_its_own_gpu_or_says_that_there_is_none(
    gpus: int, found: int, pod: bool, want: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: found)
    monkeypatch.setenv("DINO_JOB_NAME", "job" if pod else "")
    if not want.startswith("finds"):
        assert str(pick_device(gpus, 1)) == want
        return
    with pytest.raises(TrainerError, match=want) as caught:
        pick_device(gpus, 1)
    assert (caught.value.reason, caught.value.exit_code) == ("NoGPU", 78)


def lose(world: World, while_training: bool) -> str:
    wrapped = world.wrap(nn.Linear(2, 2))
    world.barrier()
    if world.rank == 1:
        os._exit(1)
    if while_training:
        wrapped(torch.ones(1, 2)).sum().backward()
    else:
        world.reduce([1.0])
    return "went on"


def test_who_loses_a_peer_says_so() -> None:
    for while_training in (False, True):
        (reason, message), dead = in_ranks(2, lose, while_training)
        assert dead is None
        assert reason == "PeerLost"
        assert message.startswith("Another process of the job is gone: ")


def find(world: World, folder: Path) -> tuple[DetectionSet | None, DetectionSet | None, bool]:
    """What all ranks find together, what one finds, and whether one's stop stops all."""
    data, spec = load_folder(folder), a_spec(folder, folder)
    torch.manual_seed(0)
    model = build_dino(spec.model, 4)
    with in_training(model, spec) as detector:
        return find_with(detector, data, spec.dataset, world)


def find_with(
    detector: Detector, data: CocoDataset, config: DatasetConfig, world: World
) -> tuple[DetectionSet | None, DetectionSet | None, bool]:
    together = detect(detector, data, config, world=world)
    stop = Event()
    if world.rank == world.size - 1:
        stop.set()
    stopped = detect(detector, data, config, world, Watch(stop)) is None
    alone = detect(detector, data, config) if world.is_main else None
    return together, alone, stopped


def test_validation_does_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    """To the last bit, with as many batches as ranks, with fewer, and with a short last one."""
    folder = a_dataset(tmp_path / "data", images=5)
    for size in (2, 4):
        (together, alone, _), *others = results = in_ranks(size, find, folder)
        assert together is not None
        assert alone is not None
        assert together.images.tolist() == [image for image in range(5) for _ in range(10)]
        for name in ("images", "labels", "scores", "boxes"):
            np.testing.assert_array_equal(getattr(together, name), getattr(alone, name))
            assert getattr(together, name).dtype == getattr(alone, name).dtype
        assert all(other[0] is None for other in others)
        assert all(result[2] for result in results)
