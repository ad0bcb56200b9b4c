"""Several processes leave out the same damaged images: those of the first one's list."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from dino_api.experiment import ExperimentSpec
from dino_trainer.actions import train
from dino_trainer.data import skipping
from dino_trainer.data.splits import load_data
from tests.unit.ranks import World, in_ranks
from tests.unit.training_builders import Recorder, a_context, damage, spec_for

KEY = "dataset.skip_unreadable"


def read_as_rank(
    world: World, specs: list[ExperimentSpec]
) -> tuple[list[list[str]], str, list[str]]:
    """The images of both splits, the digest and the warnings, as one rank reads them.

    Only the first one may look into images: what another would see is not asked for.
    """
    context = replace(a_context(specs[world.rank], Recorder()), world=world)
    blind = mock.patch.object(skipping, "skip_list", side_effect=AssertionError("it looks"))
    with blind if world.rank else nullcontext():
        data = load_data(specs[world.rank], context)
    splits = (data.train, data.validation)
    names = [[image.file.name for image in split.images] for split in splits]
    return names, data.train.digest, data.warnings


def test_all_processes_leave_out_what_the_first_one_lists(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, f"{KEY}=0.25")
    damage(tmp_path / "train", "5.png", "7.png")
    damage(tmp_path / "val", "2.png")
    first, second = in_ranks(2, read_as_rank, [spec, spec])
    assert first == second == read_as_rank(World.alone(), [spec])
    names, _, warnings = first
    assert names[0] == [f"{n}.png" for n in (1, 2, 3, 4, 6, 8)]
    assert names[1] == [f"{n}.png" for n in (1, 3, 4)]
    assert warnings[0].startswith("dataset.train_data_sources: 2 of 8 images are damaged")
    assert warnings[1].startswith("dataset.val_data_sources: 1 of 4 images is damaged")


def test_a_process_with_another_share_ends_them_all(tmp_path: Path) -> None:
    """With a reason: none trains on images of its own, and none waits for the others."""
    spec, strict = spec_for(tmp_path, f"{KEY}=0.25"), spec_for(tmp_path)
    for specs, agreed in (([spec, strict], "0.25"), ([strict, spec], "0")):
        _, (reason, message) = in_ranks(2, read_as_rank, specs)
        assert reason == "InvalidSpec"
        assert message.endswith(f"in process 2 of 2, and {agreed} in the first one.")


@pytest.mark.parametrize("share", [0, 0.25])
def test_a_process_with_other_data_ends_them_all(tmp_path: Path, share: float) -> None:
    """Both say it, whichever is asked first."""
    spec = spec_for(tmp_path, f"{KEY}={share}")
    elsewhere = spec_for(tmp_path / "elsewhere", f"{KEY}={share}")
    (tmp_path / "elsewhere" / "train" / "images" / "8.png").write_bytes(b"shorter")
    for reason, message in in_ranks(2, read_as_rank, [spec, elsewhere]):
        assert reason == "InvalidDataset"
        assert "Process 2 of 2 has read 8 images" in message


def test_too_many_end_all_processes(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, f"{KEY}=0.2")
    damage(tmp_path / "train", "5.png", "7.png")
    (reason, message), (other, _) = in_ranks(2, read_as_rank, [spec, spec])
    assert (reason, other) == ("InvalidDataset", "PeerLost")
    assert "2 of 8 images are damaged" in message


def train_as_rank(world: World, spec: ExperimentSpec) -> int:
    """How many images a whole training says that it had; 0 on all ranks but the first."""
    result = train.run(spec, replace(a_context(spec, Recorder()), world=world))
    return (result.dataset.images or 0) if result.dataset else 0


def test_two_processes_train_to_the_end_without_them(tmp_path: Path) -> None:
    places = ("train.num_epochs=1", "dataset.batch_size=1", "train.tensorboard=false")
    spec = spec_for(tmp_path, f"{KEY}=0.25", *places)
    damage(tmp_path / "train", "5.png", "7.png")
    assert in_ranks(2, train_as_rank, spec) == [6, 0]
    told = json.loads((tmp_path / "results/train/skipped_train_data_sources.json").read_text())
    [one] = told["sources"]
    assert one["listed"] == 8
    assert one["annotations"] == str(tmp_path / "train" / "annotations.json")
    assert one["skipped"] == [
        {"name": "5.png", "why": "it is a text"},
        {"name": "7.png", "why": "it is a text"},
    ]
    told = json.loads((tmp_path / "results/train/skipped_val_data_sources.json").read_text())
    assert told["sources"][0]["skipped"] == []
