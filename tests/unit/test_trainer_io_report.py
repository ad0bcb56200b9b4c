"""What a run tells: terminal lines, status.json, result.json, the termination message."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import pty
import threading
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dino_api.result import Checkpoint, Failure, Metrics, Progress, Result, Validation
from dino_trainer.errors import TrainerError
from dino_trainer.report import Reporter
from dino_trainer.report.meter import LossParts
from dino_trainer.report.status_file import StatusFile
from dino_trainer.report.terminal import BarTerminal, PlainTerminal, open_terminal, progress_line
from dino_trainer.results.output import Output
from dino_trainer.storage import byte_meter
from dino_trainer.storage.byte_meter import ByteMeter, human_bytes, human_seconds

METRICS = Metrics(mAP=0.4912345, mAP50=0.7812345, mAP75=0.5)
TAUGHT = LossParts({"loss_ce": 0.75}, {"detection": 1.25, "encoder": 0.25})


class Desk:
    """A reporter whose every ear is at hand."""

    def __init__(self, folder: Path, seconds: float = 0.0) -> None:
        self.output = Output(str(folder / "train"), folder)
        self.stream = io.StringIO()
        self.termination = folder / "termination-log"
        self.termination.touch()
        self.reporter = Reporter(
            self.output,
            4,
            terminal=PlainTerminal(self.stream, seconds),
            termination_log=self.termination,
        )

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()

    @property
    def status(self) -> list[dict[str, Any]]:
        text = (self.output.dir / "status.json").read_text()
        return [json.loads(line) for line in text.splitlines()]

    @property
    def result(self) -> Any:
        return json.loads((self.output.dir / "result.json").read_text())


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_whole_run_in_status_json(desk: Desk) -> None:
    report = desk.reporter
    report.event("Starting DINO train.", "STARTED")
    for step in range(1, 5):
        report.progress(
            Progress(epoch=step // 2, step=step, steps=4, percent=25 * step, loss=9 - step)
        )
    report.validated(2, METRICS, best=True)
    report.finished(Result(metrics=METRICS))
    assert [(line["status"], line["message"]) for line in desk.status] == [
        ("STARTED", "Starting DINO train."),
        ("RUNNING", "Training loop in progress"),
        ("RUNNING", "Training loop in progress"),
        ("RUNNING", "Eval metrics generated."),
        ("SUCCESS", "Train finished successfully."),
    ]
    evaluated = desk.status[3]
    assert evaluated["kpi"] == {
        "train_loss": 5,
        "val_mAP": 0.491235,
        "val_mAP50": 0.781235,
        "val_mAP75": 0.5,
    }
    assert (evaluated["epoch"], evaluated["max_epoch"]) == (2, 4)
    assert (evaluated["step"], evaluated["max_step"]) == (4, 4)
    assert desk.status[4]["kpi"] == evaluated["kpi"], "as in TAO, every line repeats the last kpi"
    assert desk.status[1]["time_per_epoch"] == "0:00:00"
    assert desk.result["metrics"]["mAP50"] == METRICS.mAP50
    assert Result.from_termination_message(desk.termination.read_text()) == Result(
        metrics=METRICS,
        curve=[Validation(epoch=2, mAP50=0.7812)],
        folder=str(desk.output.dir),
    )


def test_status_json_tells_what_a_loss_is_made_of(desk: Desk) -> None:
    """At the end of an epoch, under TAO's names; the line for people has what adds up."""
    desk.reporter.progress(Progress(epoch=0, step=1, loss=1.5), TAUGHT)
    desk.reporter.progress(Progress(epoch=1, step=2, loss=1.5), TAUGHT)
    assert desk.status[-1]["kpi"] == {
        "train_loss": 1.5,
        "train_loss_ce": 0.75,
        "train_loss_detection": 1.25,
        "train_loss_distillation": 0.25,
        "train_loss_encoder": 0.25,
    }
    desk.reporter.validated(1, METRICS, best=True)
    assert "of the loss: detection 1.250, encoder 0.250" in desk.lines[-1]


def test_a_validation_before_the_first_step_keeps_the_position(tmp_path: Path) -> None:
    """A run stopped between a step and its validation: the resource must not lose the step."""
    desk = Desk(tmp_path)
    desk.reporter.resumed(Progress(epoch=2, step=8, steps=16, percent=50))
    desk.reporter.validated(2, METRICS, best=True)
    desk.reporter.progress(Progress(epoch=2, step=9, steps=16))
    assert [line["message"] for line in desk.status] == ["Eval metrics generated."]
    assert desk.lines[0] == "epoch 2/4  step 8/16  50%"
    assert (desk.status[0]["step"], desk.status[0]["max_step"]) == (8, 16)


@pytest.mark.parametrize(("step", "timed"), [(8, True), (9, False)])
def test_a_part_of_an_epoch_is_not_timed_as_a_whole(desk: Desk, step: int, timed: bool) -> None:
    """An attempt that goes on in the middle of an epoch."""
    desk.reporter.resumed(Progress(epoch=2, step=step, steps=16))
    desk.reporter.progress(Progress(epoch=2, step=step + 1, steps=16))
    for epoch in (3, 4):
        desk.reporter.progress(Progress(epoch=epoch, step=4 * epoch, steps=16))
    assert ["time_per_epoch" in line for line in desk.status] == [timed, True]


def test_the_lines_that_tao_prints(desk: Desk) -> None:
    desk.reporter.validated(1, METRICS, best=False)
    assert "Validation mAP : 0.4912" in desk.lines
    assert "Validation mAP50 : 0.7812" in desk.lines


def test_status_lines_have_taos_form(tmp_path: Path) -> None:
    file = StatusFile(tmp_path / "s", clock=lambda: datetime(2026, 6, 9, 9, 5, 3))
    file.write("FAILURE", "oh", progress=Progress(epoch=1, eta_seconds=3661))
    assert json.loads((tmp_path / "s").read_text()) == {
        "date": "6/9/2026",
        "time": "9:5:3",
        "status": "FAILURE",
        "verbosity": "ERROR",
        "message": "oh",
        "epoch": 1,
        "eta": "1:01:01",
    }


def test_status_lines_hold_names_that_are_no_utf8(tmp_path: Path) -> None:
    StatusFile(tmp_path / "s").write("RUNNING", "caf\udce9.jpg of a café")
    (line,) = (tmp_path / "s").read_text(encoding="utf-8").splitlines()
    assert "of a café" in line
    assert json.loads(line)["message"] == "caf\udce9.jpg of a café"


def test_progress_is_a_line_now_and_then(tmp_path: Path) -> None:
    desk = Desk(tmp_path, seconds=60)
    for step in range(100):
        desk.reporter.progress(Progress(epoch=0, step=step, steps=100))
    assert desk.lines == ["epoch 0/4  step 0/100"]


def test_progress_as_a_sentence() -> None:
    progress = Progress(
        epoch=3,
        epochs=12,
        step=120,
        steps=480,
        percent=25,
        eta_seconds=200,
        loss=5.43,
        learning_rate=4e-4,
        images_per_second=9.13,
        mAP50=0.5,
    )
    assert progress_line(progress) == (
        "epoch 3/12  step 120/480  25%  loss 5.430  lr 0.0004  9.1 images/s  mAP50 0.500  "
        "3 min 20 s left"
    )
    assert progress_line(Progress()) == ""
    assert progress_line(Progress(loss=1.5), TAUGHT) == (
        "loss 1.500  of the loss: detection 1.250, encoder 0.250"
    )


def read_all(leader: int) -> str:
    """What a closed terminal was sent; one read may give a part of it."""
    shown = b""
    with contextlib.suppress(OSError):  # EIO: all is read and nobody writes any more
        while True:
            shown += os.read(leader, 100_000)
    os.close(leader)
    return shown.decode()


def test_a_terminal_gets_a_bar_and_a_log_gets_lines() -> None:
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as stream:
        terminal = open_terminal(stream)
        assert isinstance(terminal, BarTerminal)
        terminal.line("a line [not markup]")
        terminal.progress(Progress(epoch=1, epochs=2, step=5, steps=10))
        terminal.progress(Progress(epoch=1, epochs=2, step=6, steps=10))
        terminal.line("a line above the bar")
        terminal.close()
        terminal.close()
    shown = read_all(leader)
    assert "a line [not markup]" in shown
    assert "step 6/10" in shown
    assert "a line above the bar" in shown
    assert isinstance(open_terminal(io.StringIO()), PlainTerminal)


class Pushed:
    """What would be written into the resource."""

    def __init__(self) -> None:
        self.told: list[Progress] = []

    def offer(self, progress: Progress) -> None:
        self.told.append(progress)

    def close(self) -> None:
        """Nothing is open."""


def test_progress_says_how_long_staging_took(tmp_path: Path) -> None:
    """Of all data, with every report: the resource has the last one alone."""
    push = Pushed()
    output = Output(str(tmp_path / "train"), tmp_path)
    report = Reporter(output, 4, terminal=PlainTerminal(io.StringIO(), 0), push=push)  # type: ignore[arg-type]  # a double
    report.progress(Progress(step=0))
    for seconds in (12.34, 30.0):
        report.staged(seconds)
    report.progress(Progress(step=1))
    report.progress(Progress(step=2))
    assert [each.staging_seconds for each in push.told] == [None, 42.3, 42.3]


def test_a_failure_reaches_everybody(desk: Desk) -> None:
    failure = Failure(reason="DiskFull", message="No space.", remedy="More disk.", exit_code=74)
    kept = Result(checkpoint=Checkpoint(uri="s3://b/best.pth"))
    desk.reporter.failed(failure, kept)
    assert desk.status[-1]["status"] == "FAILURE"
    assert desk.status[-1]["message"] == "DiskFull: No space."
    want = {"reason": "DiskFull", "message": "No space.", "remedy": "More disk.", "exitCode": 74}
    assert desk.result["failure"] == want
    assert desk.result["checkpoint"] == {"uri": "s3://b/best.pth"}
    told = Result.from_termination_message(desk.termination.read_text())
    assert told is not None
    assert told.failure == failure


def test_a_run_that_was_stopped_has_not_failed(desk: Desk) -> None:
    failure = Failure(reason="Preempted", message="Stopped.", exit_code=143)
    desk.reporter.failed(failure)
    assert desk.status[-1]["status"] == "RUNNING"
    assert not (desk.output.dir / "result.json").exists()
    assert "Preempted" in desk.termination.read_text()


def test_outside_a_pod_there_is_no_termination_message(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.termination.unlink()
    desk.reporter.finished(Result())
    assert not desk.termination.exists()


def test_a_status_file_that_cannot_be_written_is_said_once(desk: Desk) -> None:
    (desk.output.dir / "status.json").mkdir()
    for _ in range(3):
        desk.reporter.event("hello")
    complaints = [line for line in desk.lines if "cannot be written" in line]
    assert len(complaints) == 1
    assert "status.json" in complaints[0]


def test_a_result_that_cannot_be_published_is_an_error(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str) -> None:
        raise TrainerError("StorageUnavailable", f"no {name}")

    monkeypatch.setattr(desk.output, "publish", refuse)
    with pytest.raises(TrainerError, match="no result"):
        desk.reporter.finished(Result())
    desk.reporter.failed(Failure(reason="StorageUnavailable", message="no"))


def test_a_meter_is_quiet_about_short_things_and_exact_about_long_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    with monkeypatch.context() as patch:
        now = iter((10.0, 14.9))
        patch.setattr(byte_meter, "time", SimpleNamespace(monotonic=now.__next__))
        quick = ByteMeter("copying x", 100, said.append)
        quick(100)
    assert said == []
    slow = ByteMeter("copying x", 4096, said.append, quiet=0)
    slow(1024)
    assert said[0].startswith("copying x: 1.0 KB of 4.0 KB (25 %), ")
    ByteMeter("copying x", 0, said.append, quiet=0)(10)
    assert said[1].startswith("copying x: 10 B, ")


def test_a_meter_stops_a_copy() -> None:
    stop = threading.Event()
    meter = ByteMeter("copying x", 100, print, stop)
    meter(1)
    stop.set()
    with pytest.raises(TrainerError, match="Stopped while copying x"):
        meter(1)


def test_units() -> None:
    assert [human_bytes(n) for n in (0, 1023, 1536, 5 << 20, 3 << 40)] == [
        "0 B",
        "1023 B",
        "1.5 KB",
        "5.0 MB",
        "3.0 TB",
    ]
    assert [human_seconds(n) for n in (0, 59.6, 61, 3700)] == [
        "0 s",
        "1 min 0 s",
        "1 min 1 s",
        "1 h 1 min",
    ]


def test_the_learning_curve_goes_on_where_another_attempt_resumes(tmp_path: Path) -> None:
    first = Desk(tmp_path)
    for epoch, score in ((1, 0.2), (2, 0.31), (3, 0.4)):
        first.reporter.validated(epoch, Metrics(mAP=0.1, mAP50=score), best=True)
    with (first.output.dir / "status.json").open("a") as file:
        file.write('{"message": "Eval metrics generated.", "epo')  # the disk was full
        file.write('\n["Eval metrics generated."]\n')
    second = Desk(tmp_path)
    second.reporter.validated(3, Metrics(mAP=0.1, mAP50=0.38), best=False)
    second.reporter.validated(4, Metrics(mAP=0.1, mAP50=math.nan), best=False)
    second.reporter.finished(Result())
    curve = [(point["epoch"], point["mAP50"]) for point in second.result["curve"]]
    assert curve == [(1, 0.2), (2, 0.31), (3, 0.38)]
    assert not any("nan" in line for line in second.lines)


def test_a_curve_that_does_not_fit_stays_in_result_json() -> None:
    curve = [Validation(epoch=epoch, mAP50=0.1234) for epoch in range(200)]
    metrics = Metrics(mAP50=0.5)
    told = Result.from_termination_message(
        Result(curve=curve, metrics=metrics).to_termination_message()
    )
    assert told is not None
    assert told.curve is None
    assert told.metrics == metrics
