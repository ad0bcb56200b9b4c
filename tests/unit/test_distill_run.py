"""`dino distill` from data to checkpoints: a training that survives a kill, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
import torch

from dino_api.experiment import ExperimentSpec
from dino_api.names import Action
from dino_trainer.actions import distill
from dino_trainer.errors import TrainerError
from dino_trainer.model_files import checkpoint
from dino_trainer.model_files.checkpoint import BEST, LATEST
from tests.unit.distill_builders import (
    NAMES,
    a_model,
    a_spec,
    run,
    save_teacher,
)
from tests.unit.ranks import World, in_ranks
from tests.unit.training_builders import (
    Killed,
    Recorder,
    a_context,
    a_dataset,
    assert_same,
    killed_at,
)

WIDER = {"hidden_dim": 64, "num_queries": 14, "backbone": "resnet_18"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data sets, and a teacher of another backbone and another width."""
    at = tmp_path_factory.mktemp("distill")
    a_dataset(at / "train", 4, seed=0)
    a_dataset(at / "val", 2, seed=1)
    save_teacher(at / "teacher.pth", a_model(1, **WIDER), **WIDER)
    return at


def test_a_killed_distillation_ends_in_the_same_bits(folder: Path) -> None:
    """20 steps at once are 10 steps, a kill, and 10 more: weights, average and projections."""
    teacher = folder / "teacher.pth"
    straight = a_spec(folder, teacher, f"results_dir={folder / 'straight'}")
    broken = a_spec(folder, teacher, f"results_dir={folder / 'broken'}")
    result = run(straight)
    with pytest.raises(Killed):
        run(broken, killed_at(13))
    rest = Recorder()
    run(broken, rest)
    assert [progress.step for progress in rest.steps] == list(range(11, 21))
    for progress, parts in zip(rest.steps, rest.parts, strict=True):
        assert sum(parts.shares.values()) == pytest.approx(progress.loss, rel=1e-4)
        taught = progress.loss - parts.shares["detection"]
        assert progress.distillation_loss == pytest.approx(taught, rel=1e-3)

    whole, parts = (
        checkpoint.read(Path(spec.results_dir) / "distill" / LATEST) for spec in (straight, broken)
    )
    for key in ("model", "ema", "extra", "optimizer", "best"):
        assert_same(whole[key], parts[key], key)
    assert any("project" in name for name in whole["extra"])

    best = checkpoint.read(folder / "straight" / "distill" / BEST)
    assert "extra" not in best  # what is published is the student, nothing else
    student = a_model(0)
    for weights in (best["model"], whole["model"]):
        student.load_state_dict(weights)  # strict: nothing of the teacher is in it
    assert result.checkpoint is not None
    assert result.checkpoint.uri.endswith(f"distill/{BEST}")


def rank_of_distilling(world: World, spec: ExperimentSpec) -> list[dict[str, float]]:
    """Distil as one rank; returns what the loss of each step was made of."""
    recorder = Recorder()
    distill.run(spec, replace(a_context(spec, recorder, action=Action.DISTILL), world=world))
    return [parts.named for parts in recorder.parts]


def test_two_processes_do_what_one_does(folder: Path) -> None:
    """Student and projections; only the order in which sums are taken differs."""
    plain = ("model.use_dn=false", "train.optim.optimizer=SGD", "train.optim.lr=0.01")
    short = ("train.num_epochs=2", "train.validation_interval=2")
    made, told = [], []
    for name, batch in (("one", 4), ("two", 2)):
        where = (f"results_dir={folder / name}", f"dataset.batch_size={batch}")
        spec = a_spec(folder, folder / "teacher.pth", *where, *plain, *short)
        if name == "one":
            told.append(rank_of_distilling(World.alone(), spec))
        else:
            first, second = in_ranks(2, rank_of_distilling, spec)
            assert second == []  # the first reports for all
            told.append(first)
        made.append(checkpoint.read(folder / name / "distill" / LATEST))
    assert len(told[0]) == 2
    for one_step, same in zip(*told, strict=True):
        assert same == pytest.approx(one_step, rel=1e-4)
    for part in ("model", "extra"):
        one, two = made[0][part], made[1][part]
        for key, value in one.items():
            if isinstance(value, torch.Tensor):
                torch.testing.assert_close(two[key], value, rtol=1e-4, atol=2e-6, msg=key)


def test_a_teacher_that_changed_is_refused(tmp_path: Path, folder: Path) -> None:
    teacher = save_teacher(tmp_path / "teacher.pth", a_model(1))
    spec = a_spec(folder, teacher, f"results_dir={tmp_path / 'results'}")
    stop = Event()
    recorder = Recorder(lambda step: stop.set())
    with pytest.raises(TrainerError, match="a checkpoint is saved"):
        distill.run(spec, a_context(spec, recorder, stop, Action.DISTILL))
    save_teacher(teacher, a_model(2))
    with pytest.raises(TrainerError, match="its file has changed") as refused:
        run(spec)
    assert refused.value.reason == "InvalidSpec"


@pytest.mark.parametrize(
    ("classes", "names", "message"),
    [
        (5, [*NAMES, "green"], "has 5 classes, the training data 4"),
        (4, ["", "blue", "", "red"], r"1 \(blue and red\), 3 \(red and blue\)"),
    ],
)
def test_a_teacher_of_other_classes_is_refused(
    tmp_path: Path, folder: Path, classes: int, names: list[str], message: str
) -> None:
    teacher = save_teacher(tmp_path / "teacher.pth", a_model(1, classes), names)
    with pytest.raises(TrainerError, match=message) as refused:
        run(a_spec(folder, teacher, f"results_dir={tmp_path / 'results'}"))
    assert refused.value.reason == "InvalidSpec"


def test_a_teacher_that_does_not_know_its_names_teaches(tmp_path: Path, folder: Path) -> None:
    """Its structure is what distill.teacher says, as for TAO's and published checkpoints."""
    teacher = tmp_path / "published.pth"
    torch.save({"model": a_model(1).state_dict()}, teacher)
    one_step = ("train.num_epochs=1", "train.validation_interval=1", "dataset.batch_size=4")
    spec = a_spec(folder, teacher, f"results_dir={tmp_path / 'results'}", *one_step)
    spec.distill.teacher = type(spec.distill.teacher)(**spec.model.model_dump())
    recorder = Recorder()
    run(spec, recorder)
    assert len(recorder.steps) == 1
    assert any("The teacher is" in event and "pred_logits" in event for event in recorder.events)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "teacher.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(TrainerError, match="is no checkpoint") as refused:
        run(a_spec(folder, tmp_path / "teacher.pth", f"results_dir={tmp_path / 'results'}"))
    assert refused.value.reason == "InvalidSpec"
