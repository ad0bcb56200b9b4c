"""TensorBoard's files and MLflow's runs: whole across interruptions, and never in the way."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dino_api.experiment import ExperimentSpec
from dino_api.result import Metrics, Progress
from dino_trainer.distributed import World
from dino_trainer.errors import TrainerError
from dino_trainer.recorders import mlflow_sink
from dino_trainer.recorders.mlflow_sink import MlflowSink, parameters
from dino_trainer.recorders.sinks import recorded
from dino_trainer.recorders.tensorboard_sink import TensorBoardSink
from dino_trainer.report.meter import LossParts
from tests.patience import LONG, Patience
from tests.unit.training_builders import (
    Killed,
    Recorder,
    a_context,
    interrupted,
    killed_at,
    latest,
    run,
    spec_for,
)

TAUGHT = LossParts(shares={"detection": 1.25, "encoder": 0.25})


def folder_of(spec: ExperimentSpec) -> Path:
    return Path(spec.results_dir) / "train" / "tensorboard"


def scalars(spec: ExperimentSpec, tag: str) -> dict[int, float]:
    """Value by step, as TensorBoard shows it."""
    shown = EventAccumulator(str(folder_of(spec)))
    shown.Reload()
    events = shown.Scalars(tag)
    assert len({event.step for event in events}) == len(events)
    return {event.step: event.value for event in events}


def test_tensorboard_shows_a_training_once(tmp_path: Path) -> None:
    """Six steps, of which the last two are lost with the process, then a second attempt."""
    spec = spec_for(tmp_path)
    with pytest.raises(Killed):
        run(spec, killed_at(6))
    assert latest(spec)["step"] == 4
    second = Recorder()
    run(spec, second)
    assert len(list(folder_of(spec).iterdir())) == 2
    assert sorted(scalars(spec, "train/loss")) == list(range(1, 9))
    assert scalars(spec, "train/loss_giou")[8] == pytest.approx(second.parts[-1].terms["loss_giou"])
    assert sorted(scalars(spec, "train/images_per_second")) == list(range(1, 9))
    rates = scalars(spec, "train/learning_rate")
    assert rates[8] == pytest.approx(second.steps[-1].learning_rate)
    assert scalars(spec, "val/mAP50")[8] == pytest.approx(second.validations[-1][1].mAP50)
    assert sorted(scalars(spec, "val/mAP")) == [4, 8]


def test_tensorboard_is_published_at_validations(tmp_path: Path) -> None:
    spec = spec_for(tmp_path)
    context = a_context(spec, Recorder())
    sink = TensorBoardSink(context.output, context.reporter.say, 0)
    sink.progress(Progress(step=1, loss=2.0))
    assert not (context.output.dir / sink.name).exists()
    sink.validated(1, Metrics(mAP=0.5), best=True)
    first = context.output.published()[sink.name]
    assert first.bytes == (context.output.dir / sink.name).stat().st_size
    sink.progress(Progress(step=2, loss=1.0), TAUGHT)
    sink.close("FINISHED")
    assert context.output.published()[sink.name].bytes > first.bytes
    assert scalars(spec, "train/loss") == {1: 2.0, 2: 1.0}
    assert scalars(spec, "train/loss_distillation") == {2: 0.25}
    assert scalars(spec, "train/loss_encoder") == {2: 0.25}


def test_without_tensorboard_there_is_no_file(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, "train.tensorboard=false", "train.num_epochs=1")
    run(spec)
    assert not folder_of(spec).exists()


def test_a_folder_that_cannot_be_written_is_said_once(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, "train.num_epochs=2")
    folder_of(spec).parent.mkdir(parents=True)
    folder_of(spec).write_text("in the way")
    recorder = Recorder()
    assert run(spec, recorder).metrics is not None
    said = [event for event in recorder.events if "going on without TensorBoard" in event]
    assert len(said) == 1


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of an MLflow server."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path / 'mlflow'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("DINO_JOB_NAME", "chips")
    monkeypatch.setattr(mlflow_sink, "_SECONDS", 0.05)
    monkeypatch.setattr(mlflow_sink, "_LAST_SECONDS", LONG)
    return tmp_path / "mlflow"


def runs_of(experiment: str = "dino") -> list[Any]:
    client = MlflowClient()
    known = client.get_experiment_by_name(experiment)
    return client.search_runs([known.experiment_id]) if known else []


def described() -> None:
    """Waits until MLflow has the run with its parameters: only then is its id surely known."""
    patience = Patience(LONG)
    while not any(one.data.params for one in runs_of()):
        assert patience.lasts(), "no run"
        time.sleep(0.05)


def metric(run_id: str, name: str) -> dict[int, float]:
    return {point.step: point.value for point in MlflowClient().get_metric_history(run_id, name)}


@pytest.mark.usefixtures("store")
def test_an_interrupted_training_is_one_mlflow_run(tmp_path: Path) -> None:
    spec = spec_for(tmp_path)
    first = interrupted(spec, 5, described)
    (only,) = runs_of()
    assert only.info.status == "KILLED"
    assert latest(spec)["loggers"] == {"mlflow": only.info.run_id}

    second = Recorder()
    run(spec, second)
    (again,) = runs_of()
    assert (again.info.run_id, again.info.status) == (only.info.run_id, "FINISHED")
    assert again.info.run_name == "chips"
    assert again.data.params["train.optim.lr_scheduler"] == "Linear"
    assert again.data.params["model.return_interm_indices"] == "[2, 3]"
    assert again.data.tags["output"] == str(tmp_path / "results" / "train")
    rates = {p.step: p.learning_rate for p in (*first.steps, *second.steps)}
    assert metric(again.info.run_id, "learning_rate") == pytest.approx(rates)
    assert sorted(metric(again.info.run_id, "val_mAP")) == [4, 8]


@pytest.mark.usefixtures("store")
def test_a_run_that_was_deleted_there_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    loggers = {"mlflow": "0" * 32}
    sink = MlflowSink(spec_for(tmp_path), a_context(spec_for(tmp_path), Recorder()), loggers, 3)
    sink.validated(1, Metrics(mAP=0.5), best=True)
    sink.close("FINISHED")
    (only,) = runs_of("mine")
    assert loggers == {"mlflow": only.info.run_id}
    assert only.data.params["train.num_epochs"] == "2"
    assert metric(only.info.run_id, "val_mAP") == {3: 0.5}


@pytest.mark.usefixtures("store")
def test_a_training_that_fails_is_said_to_have_failed(tmp_path: Path) -> None:
    spec = spec_for(tmp_path)
    with pytest.raises(ZeroDivisionError), recorded(spec, a_context(spec, Recorder()), {}, 0):
        raise ZeroDivisionError
    assert [one.info.status for one in runs_of()] == ["FAILED"]


@pytest.mark.usefixtures("store")
def test_a_server_that_is_away_for_a_while_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, refusals, back = MlflowSink._connect, iter(range(2)), Event()

    def sometimes(self: MlflowSink) -> Any:
        if next(refusals, None) is not None:
            raise ConnectionError("refused\nand a long story")
        back.set()
        return connect(self)

    monkeypatch.setattr(MlflowSink, "_connect", sometimes)
    recorder = Recorder()
    spec = spec_for(tmp_path)
    sink = MlflowSink(spec, a_context(spec, recorder), {}, 0)
    for step in range(1, 4):
        sink.progress(Progress(step=step, loss=1.0 / step), TAUGHT)
    assert back.wait(LONG)
    sink.close("FINISHED")
    (only,) = runs_of()
    assert sorted(metric(only.info.run_id, "loss")) == [1, 2, 3]
    assert metric(only.info.run_id, "loss_detection") == dict.fromkeys((1, 2, 3), 1.25)
    assert recorder.events[0] == "MLflow is not told how it goes (refused); going on."
    assert sum("MLflow is not told" in event for event in recorder.events) == 1


def test_no_server_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://nowhere")
    monkeypatch.setattr(mlflow_sink, "_LAST_SECONDS", LONG)  # to import MLflow alone takes seconds
    recorder = Recorder()
    assert run(spec_for(tmp_path, "train.num_epochs=1"), recorder).metrics is not None
    assert sum("MLflow is not told" in event for event in recorder.events) == 1


def test_parameters_are_the_spec_s_leaves(tmp_path: Path) -> None:
    named = dict(parameters(spec_for(tmp_path)))
    assert named["train.ema.enabled"] == "true"
    assert named["dataset.augmentation.fixed_size"] == "[64, 96]"
    assert all(len(value) <= 500 for value in named.values())
    assert not any(name.startswith("encryption") for name in named)


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, "train.num_epochs=1")
    context = replace(a_context(spec, Recorder()), world=World(1, 2, 1))
    with recorded(spec, context, {}, 0) as watcher:
        watcher.validated(1, Metrics(mAP=0.1), True)
    assert not folder_of(spec).exists()
    with pytest.raises(TrainerError), recorded(spec, context, {}, 0):
        raise TrainerError("Preempted", "stop")
