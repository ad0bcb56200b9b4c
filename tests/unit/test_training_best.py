"""What becomes of validations: the best, the k best, and the end where nothing gets better."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Event

import pytest

from dino_api.experiment import ExperimentSpec, TrainConfig
from dino_api.names import PICTURE_FILE
from dino_api.result import Metrics
from dino_trainer.actions import train
from dino_trainer.data import scorable
from dino_trainer.errors import TrainerError
from dino_trainer.model_files import checkpoint
from dino_trainer.storage.files import sha256_of
from dino_trainer.train import loop
from dino_trainer.train.best import KeptValidation, Standing
from dino_trainer.train.keeper import OutputKeeper
from tests.unit.training_builders import (
    Recorder,
    a_context,
    assert_same,
    interrupted,
    latest,
    run,
    spec_for,
)

STILL = ("train.optim.lr=1e-9", "train.optim.lr_backbone=1e-9", "train.ema.enabled=false")
PATIENT = ("train.early_stopping.enabled=true", "train.early_stopping.patience=2")


def a_standing(scores: list[float | None], **config: object) -> Standing:
    """After validations with these mAP, one an epoch; mAP50 falls as mAP rises."""
    standing = Standing(TrainConfig.model_validate(config))
    for epoch, score in enumerate(scores, start=1):
        standing.enter(epoch, Metrics(mAP=score, mAP50=None if score is None else 1 - score))
        standing.rank(epoch)
    return standing


def test_the_first_of_equal_ones_is_the_best() -> None:
    assert a_standing([0.1, 0.3, 0.3, 0.2]).best.epoch == 2


def test_nothing_to_find_is_the_worst() -> None:
    assert a_standing([None, 0.0]).best.epoch == 2


def test_a_metric_of_minus_one_is_never_the_best() -> None:
    """Nor among the k best, nor progress over nothing."""
    standing = a_standing([-1.0, -1.0], checkpointer={"save_top_k": 3})
    assert standing.best is None
    assert standing.kept == []
    assert a_standing([-1.0, 0.0, -1.0]).best.epoch == 2


def test_the_best_goes_by_what_is_monitored() -> None:
    standing = a_standing([0.1, 0.3, 0.2], checkpointer={"monitor": "val_mAP50"})
    assert standing.best.epoch == 1
    assert standing.last.mAP50 == 0.8


def test_a_validation_that_had_nothing_to_find_is_not_waited_for() -> None:
    """It is no sign that nothing gets better."""
    early = {"enabled": True, "patience": 2}
    standing = a_standing([-1.0, None, -1.0], early_stopping=early)
    assert (standing.waited, standing.bar, standing.hopeless) == (0, None, False)
    standing = a_standing([0.1, -1.0, 0.1, -1.0, 0.1], early_stopping=early)
    assert (standing.waited, standing.hopeless) == (2, True)


WAITED = {
    "a rise resets": ([0.1, 0.1, 0.2], 0.0, 0),
    "equal is no rise": ([0.1, 0.1, 0.1], 0.0, 2),
    "small steps are none": ([0.1, 0.104, 0.108], 0.01, 2),
    "until they add up": ([0.1, 0.106, 0.112], 0.01, 0),
    "a fall waits for the old height": ([0.3, 0.1, 0.2, 0.3], 0.0, 3),
}


@pytest.mark.parametrize("scores, delta, waited", WAITED.values(), ids=WAITED)
def test_patience_counts_validations_without_progress(scores, delta, waited) -> None:
    early = {"enabled": True, "patience": 2, "min_delta": delta}
    standing = a_standing(scores, early_stopping=early)
    assert standing.waited == waited
    assert standing.hopeless == (waited >= 2)
    assert not a_standing(scores, early_stopping=early | {"enabled": False}).hopeless


def test_the_k_best_are_kept_and_the_others_dropped() -> None:
    standing = a_standing([0.1, 0.3, 0.3], checkpointer={"save_top_k": 2})
    assert standing.kept == [KeptValidation(2, 0.3), KeptValidation(3, 0.3)]
    standing.enter(4, Metrics(mAP=0.5))
    assert standing.rank(4) == (KeptValidation(4, 0.5), [KeptValidation(3, 0.3)])
    standing.enter(5, Metrics(mAP=0.2))
    assert standing.rank(5) == (None, [])
    assert [kept.name for kept in standing.kept] == ["model_epoch_004.pth", "model_epoch_002.pth"]


def test_an_epoch_that_is_done_again_is_not_kept_twice() -> None:
    standing = a_standing([0.1, 0.3], checkpointer={"save_top_k": 3})
    standing.enter(2, Metrics(mAP=0.2))
    assert standing.rank(2) == (KeptValidation(2, 0.2), [])
    assert standing.kept == [KeptValidation(2, 0.2), KeptValidation(1, 0.1)]


def test_a_standing_survives_a_checkpoint() -> None:
    standing = a_standing([0.1, 0.3, 0.2], checkpointer={"save_top_k": 2})
    again = Standing(standing.config)
    again.read(standing.plain())
    assert again == standing


def test_a_training_that_stands_still_ends_early(tmp_path: Path) -> None:
    """Three epochs: one to compare with, and two without a better result."""
    spec = spec_for(tmp_path, *STILL, *PATIENT, "train.num_epochs=9")
    recorder = Recorder()
    result = run(spec, recorder)
    assert [epoch for epoch, _, _ in recorder.validations] == [1, 2, 3]
    assert recorder.steps[-1].step == 12
    assert result.note is not None
    assert result.note.startswith("Stopped early after epoch 3 of 9: none of the last 2 validat")
    assert result.note in recorder.events
    assert (result.checkpoint.epoch, latest(spec)["step"]) == (1, 12)


def unscorable(spec: ExperimentSpec) -> None:
    """COCO counts areas up to 1e10, so none of these boxes is there to be found."""
    path = Path(spec.dataset.val_data_sources[0].json_file)
    told = json.loads(path.read_text())
    for annotation in told["annotations"]:
        annotation["area"] = 1e11
    path.write_text(json.dumps(told))


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data that no scorer counts is taken, as if its check knew less than the scorer."""
    monkeypatch.setattr(scorable, "LARGEST_AREA", float("inf"))


@pytest.mark.usefixtures("taken")
def test_where_no_validation_can_be_the_best_the_last_weights_are_kept(tmp_path: Path) -> None:
    """A whole training's result: early stopping did not end it, and it says what it has not."""
    impatient = ("train.early_stopping.enabled=true", "train.early_stopping.patience=1")
    kept = "train.checkpointer.save_top_k=2"
    spec = spec_for(tmp_path, *impatient, kept, "train.num_epochs=3")
    unscorable(spec)
    recorder = Recorder()
    result = run(spec, recorder)
    assert [(epoch, one.mAP, best) for epoch, one, best in recorder.validations] == [
        (1, -1.0, False), (2, -1.0, False), (3, -1.0, False),
    ]  # fmt: skip
    assert recorder.steps[-1].step == 12
    assert result.note is not None
    assert result.note.startswith("No validation had a box to find, so none is the best: dino_")
    assert result.note in recorder.events
    assert result.metrics == Metrics()
    assert (result.checkpoint.epoch, result.checkpoint.metric) == (3, None)
    best = latest(spec, checkpoint.BEST)
    assert_same(best["model"], latest(spec)["ema"])
    assert (best["epoch"], best["step"]) == (3, 12)
    assert [one.name for one in result.artifacts] == [checkpoint.BEST, PICTURE_FILE]
    assert result.model.uri == result.checkpoint.uri == str(results(spec) / checkpoint.BEST)
    assert result.model.sha256 == sha256_of(results(spec) / checkpoint.BEST)
    assert names(spec) == set()


@pytest.mark.usefixtures("taken")
def test_a_training_without_a_best_one_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    """Killed in the second epoch; then once more after its end, when the file is there."""
    spec = spec_for(tmp_path)
    unscorable(spec)
    interrupted(spec, 6)
    assert run(spec).checkpoint.epoch == 2
    weights = latest(spec, checkpoint.BEST)["model"]
    recorder = Recorder()
    again = run(spec, recorder)
    assert recorder.steps == []
    assert again.note is not None
    assert_same(latest(spec, checkpoint.BEST)["model"], weights)


def results(spec: ExperimentSpec) -> Path:
    return Path(spec.results_dir) / "train"


def test_a_resumed_training_has_waited_already(tmp_path: Path) -> None:
    """Once in the middle of an epoch, and once after its end: there is nothing left to do."""
    spec = spec_for(tmp_path, *STILL, *PATIENT, "train.num_epochs=9")
    stop = Event()
    recorder = Recorder(lambda step: stop.set() if step == 9 else None)
    with pytest.raises(TrainerError, match="after step 9 of 36"):
        train.run(spec, a_context(spec, recorder, stop))
    recorder = Recorder()
    run(spec, recorder)
    assert [epoch for epoch, _, _ in recorder.validations] == [3]
    recorder = Recorder()
    assert run(spec, recorder).note
    assert recorder.steps == []
    assert recorder.validations == []


def names(spec) -> set[str]:
    return {path.name for path in results(spec).glob("model_epoch_*")}


def test_files_of_the_k_best(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, *STILL, "train.num_epochs=4", "train.checkpointer.save_top_k=2")
    result = run(spec)
    assert names(spec) == {"model_epoch_001.pth", "model_epoch_002.pth"}
    listed = {artifact.name: artifact for artifact in result.artifacts}
    assert names(spec) <= listed.keys()
    second = Path(listed["model_epoch_002.pth"].uri)
    assert listed["model_epoch_002.pth"].bytes == second.stat().st_size
    saved = checkpoint.read(second)
    assert saved["epoch"] == 2
    assert saved["metrics"] == latest(spec)["best"]["metrics"]  # weights stood still
    assert "optimizer" not in saved


def test_worse_ones_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of the first epoch goes when the third is better."""
    rising = iter([0.1, 0.2, 0.3, 0.0])
    note = loop.note_validation
    monkeypatch.setattr(loop, "note_validation", lambda r, m: note(r, Metrics(mAP=next(rising))))
    spec = spec_for(tmp_path, "train.num_epochs=4", "train.checkpointer.save_top_k=2")
    result = run(spec)
    assert names(spec) == {"model_epoch_003.pth", "model_epoch_002.pth"}
    assert result.checkpoint.epoch == 3


def test_files_and_list_agree_after_a_kill(tmp_path: Path) -> None:
    """Dropped after the last checkpoint, or written after it: both are made good."""
    spec = spec_for(tmp_path, *STILL, "train.num_epochs=2", "train.checkpointer.save_top_k=2")
    interrupted(spec, 6)
    output = a_context(spec, Recorder()).output
    (output.dir / "model_epoch_009.pth").write_bytes(b"of a later epoch")
    output.publish("model_epoch_009.pth")
    keeper = OutputKeeper(
        output, {}, {"dataset_digest": "", "validation_digest": "", "left_out": {}}
    )
    standing = a_standing([0.1, 0.2], checkpointer={"save_top_k": 2})
    assert names(spec) == {"model_epoch_001.pth", "model_epoch_009.pth"}
    keeper.tidy(standing)
    assert [kept.epoch for kept in standing.kept] == [1]
    assert names(spec) == {"model_epoch_001.pth"}
