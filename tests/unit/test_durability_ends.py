"""The end of a run: what cannot be written any more costs neither its result nor its reason."""

from __future__ import annotations

import errno
import io
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from dino_api.names import LATEST_CHECKPOINT, PREVIOUS_CHECKPOINT
from dino_api.result import Dataset, Failure, Metrics, Result, Validation
from dino_trainer.command import launch
from dino_trainer.distributed.processes import Processes, leave_failure
from dino_trainer.errors import TrainerError
from dino_trainer.model_files import checkpoint
from dino_trainer.recorders.tensorboard_sink import TensorBoardSink
from dino_trainer.report import Reporter
from dino_trainer.report.curve import ValidationCurve
from dino_trainer.report.terminal import PlainTerminal
from dino_trainer.results.manifest import Manifest
from dino_trainer.results.output import Output
from dino_trainer.storage.local import LocalStore
from dino_trainer.storage.store import StoredFile
from tests.patience import LONG
from tests.unit.trainer_command import Command

FULL = Failure(reason="DiskFull", message="No space.", remedy="More disk.", exit_code=74)


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def a_reporter(tmp_path: Path, termination: Path) -> Reporter:
    output = Output(str(tmp_path / "train"), tmp_path)
    terminal = PlainTerminal(io.StringIO(), 0.0)
    return Reporter(output, 4, terminal=terminal, termination_log=termination)


def test_last_words_that_cannot_be_written_cost_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The node's disk is full; the results lie elsewhere."""
    termination = tmp_path / "termination-log"
    termination.touch()
    plain = Path.write_text

    def write(path: Path, *more: Any, **options: Any) -> int:
        return no_space() if path == termination else plain(path, *more, **options)  # type: ignore[return-value]

    monkeypatch.setattr(Path, "write_text", write)
    reporter = a_reporter(tmp_path, termination)
    reporter.finished(Result(metrics=Metrics(mAP50=0.5)))
    assert json.loads((tmp_path / "train" / "result.json").read_text())["metrics"] == {"mAP50": 0.5}
    reporter.failed(FULL)
    assert json.loads((tmp_path / "train" / "result.json").read_text())["failure"]
    assert "termination-log cannot be written" in capsys.readouterr().err


def test_a_result_is_utf8_whatever_the_locale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After days of training, a class was called what ISO 8859-1 has no letters for."""
    monkeypatch.setattr(io, "text_encoding", lambda encoding, *_: encoding or "ascii")
    reporter = a_reporter(tmp_path, tmp_path / "no-log")
    reporter.finished(Result(dataset=Dataset(class_names=["", "赤血球"])))
    text = (tmp_path / "train" / "result.json").read_text(encoding="utf-8")
    assert json.loads(text)["dataset"]["classNames"] == ["", "赤血球"]


def test_a_server_that_hangs_does_not_hold_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the pod is killed, and its end is a crash that counts."""
    termination = tmp_path / "termination-log"
    termination.touch()
    reporter = a_reporter(tmp_path, termination)
    asked: list[str] = []
    monkeypatch.setattr(reporter._output, "publish", asked.append)
    reporter._output.stuck = True
    reporter.failed(Failure(reason="Preempted", message="Stopped.", exit_code=143))
    reporter.failed(FULL)
    assert asked == []
    assert "DiskFull" in termination.read_text()


def test_what_is_listed_is_known_while_a_write_of_it_hangs(tmp_path: Path) -> None:
    holding, released = threading.Event(), threading.Event()

    class HeldStore(LocalStore):
        def write_bytes(self, data: bytes, key: str) -> StoredFile:
            holding.set()
            released.wait(LONG)
            return super().write_bytes(data, key)

    manifest, entry = Manifest(HeldStore(tmp_path), print), {"sha256": "0", "bytes": 1}
    assert manifest.files == {}
    writing = threading.Thread(target=manifest.write, args=({"a": entry},))
    writing.start()
    assert holding.wait(LONG)
    seen: list[object] = []
    reading = threading.Thread(target=lambda: seen.append(manifest.files), daemon=True)
    reading.start()
    reading.join(LONG / 10)
    known = list(seen)
    released.set()
    writing.join(LONG)
    assert known == [{"a": entry}]


def test_a_rank_that_cannot_leave_its_reason_is_known_by_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk was told as a crash: its words have no room on it either."""
    monkeypatch.setattr(Path, "write_text", no_space)
    assert not leave_failure(FULL, {"DINO_RANK_FAILURE_FILE": str(tmp_path / "0.json")})
    monkeypatch.undo()
    for code, reason in ((74, "DiskFull"), (71, "DeviceOutOfMemory"), (1, "Crashed")):
        ranks = Processes(["sh", "-c", f"exit {code}"], [{"RANK": "0"}])
        ranks._running[0].wait(LONG)
        ranks.poll()
        [ending] = ranks.failed
        ranks.close()
        assert ending.failure.reason == reason
        assert f"exit code {code}" in ending.failure.message
        assert ending.tells_why


def test_the_reason_of_the_ranks_outlives_a_store_that_is_away(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was told as StorageUnavailable, and the next attempt had no smaller batch."""
    memory = Failure(reason="DeviceOutOfMemory", message="Process 1 of 2: no.", exit_code=71)
    monkeypatch.setattr(launch, "supervise", lambda *_: memory)

    def away(_: object) -> None:
        raise TrainerError("StorageUnavailable", "The server did not answer.")

    monkeypatch.setattr(launch._PreparedRun, "again", away)
    assert command.run("train.num_processes=2") == 71
    told = Result.from_termination_message(command.termination.read_text())
    assert told is not None
    assert told.failure == memory
    assert "The server did not answer." in command.out


def test_a_result_that_is_no_text_is_none(command: Command) -> None:
    """It ended every run in this place as a bug of ours."""
    command.results.mkdir(parents=True)
    (command.results / "result.json").write_bytes(b'{"schema": 1, "spec\xff\x00')
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(launch, "_launch_here", lambda _: 0)
        assert command.run() == 0


def test_tensorboard_never_ends_a_training(tmp_path: Path) -> None:
    sink = TensorBoardSink(Output(str(tmp_path / "train"), tmp_path), print, 0)
    sink.validated(1, Metrics(mAP=0.5), True)
    writer = sink._writer
    assert writer is not None
    writer.close()
    sink._writer = type("Broken", (), {"close": no_space})()  # type: ignore[assignment]
    sink.close("FINISHED")


def test_a_checkpoint_that_does_not_reach_the_disk_replaces_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems say only when they flush that there is no room."""
    latest, previous = tmp_path / LATEST_CHECKPOINT, tmp_path / PREVIOUS_CHECKPOINT
    for step in (1, 2):
        checkpoint.write({"step": step}, latest, previous)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        with pytest.raises(TrainerError, match="No space left"):
            checkpoint.write({"step": 3}, latest, previous)
    assert [checkpoint.read(path)["step"] for path in (latest, previous)] == [2, 1]


def test_a_line_that_was_cut_takes_no_other_with_it(tmp_path: Path) -> None:
    """The curve lacked the first validation after a kill or a full disk."""
    path = tmp_path / "train" / "status.json"
    path.parent.mkdir()
    path.write_text('{"message": "Eval metr')
    a_reporter(tmp_path, tmp_path / "no-log").validated(3, Metrics(mAP50=0.5), True)
    points = ValidationCurve.of_status_file(path).points
    assert points == [Validation(epoch=3, mAP50=0.5)]
    assert len(path.read_text().splitlines()) == 2


def test_a_failing_disk_is_no_bug_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = Output(str(tmp_path / "train"), tmp_path)

    def stale(*_: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(os, "fsync", stale)
    with pytest.raises(TrainerError, match="Stale file handle") as caught:
        output.publish_text("report.html", "<p>")
    assert caught.value.reason == "StorageUnavailable"
    reporter = a_reporter(tmp_path, tmp_path / "no-log")
    with pytest.raises(TrainerError, match="Stale file handle"):
        reporter.finished(Result())
