"""`dino result`: what an action has left, said again. And no bound of a report ends a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dino_api.result import Checkpoint, Dataset, Metrics, Result, Validation
from dino_trainer.command.cli import main
from dino_trainer.run import RunContext
from tests.unit.s3_server import BUCKET, S3Server
from tests.unit.test_trainer_io_cli import succeed
from tests.unit.trainer_command import Command


def result(command: Command, *more: str) -> int:
    """`dino result` after the pod's own words are lost."""
    command.termination.write_text("")
    code = main(["result", "-e", str(command.spec_path), *more])
    command.out, command.err = command.capture.readouterr()
    assert "Traceback" not in command.out + command.err
    return code


def test_it_says_again_what_the_action_left(command: Command) -> None:
    command.acts(succeed)
    assert command.run() == 0
    first, text = command.reported, command.termination.read_text()
    before = {path: path.stat().st_mtime_ns for path in command.results.rglob("*")}
    assert result(command) == 0
    assert command.reported == first
    assert command.reported is not None
    assert command.reported.folder == str(command.results)
    assert command.termination.read_text() == text
    assert text in command.out
    assert {path: path.stat().st_mtime_ns for path in command.results.rglob("*")} == before


def test_it_reads_from_s3_in_a_pod_of_its_own(
    command: Command, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command.spec["results_dir"] = f"s3://{BUCKET}/{tmp_path.name}"
    command.acts(succeed)
    assert command.run() == 0
    first = command.reported
    monkeypatch.setenv("DINO_WORK_DIR", str(tmp_path / "another pod"))
    assert result(command) == 0
    assert command.reported == first


def test_the_result_of_another_spec_is_refused(command: Command) -> None:
    command.acts(succeed)
    assert command.run() == 0
    command.spec["train"]["num_epochs"] = 77
    assert result(command) == 64
    assert "is the result of another experiment (train.num_epochs is 77, there 10)." in command.err
    assert command.reported is not None
    assert command.reported.failure is not None
    assert command.reported.failure.reason == "InvalidSpec"
    assert command.reported.metrics is None


def test_where_none_is_it_says_so(command: Command) -> None:
    assert result(command) == 66
    assert f"There is no {command.results}/result.json that can be read." in command.err
    assert not command.results.exists(), "nothing is made"


def test_whose_result_it_is_asked_for(command: Command) -> None:
    assert result(command, "--for", "distill") == 64
    assert "distill" in command.err


NAN = float("nan")


def odd(_spec: Any, context: RunContext) -> Result:
    """All that is beyond a bound or no number, at the end of a training that is done."""
    (context.output.dir / "dino_model_best.pth").write_bytes(b"weights")
    stored = context.output.publish("dino_model_best.pth")
    context.reporter.validated(1, Metrics(mAP=NAN, mAP50=NAN), best=True)
    return Result(
        metrics=Metrics(mAP=NAN, mAP50=0.5),
        checkpoint=Checkpoint(uri=stored.uri, epoch=-1, metric=NAN),
        artifacts=[stored.artifact("x" * 999)],
        dataset=Dataset(
            num_classes=1204,
            class_names=[f"class-{n}-\ud83d" for n in range(1204)],
            warnings=["half an emoji: \ud83d" * 200] * 101,
        ),
    ).model_copy(update={"note": "\ud83d", "curve": [Validation(epoch=1, mAP50=0.5)]})


def test_no_bound_of_a_report_ends_a_run_that_is_done(command: Command) -> None:
    command.acts(odd)
    assert command.run() == 0
    text = (command.results / "result.json").read_text(encoding="utf-8")
    left = json.loads(text, parse_constant=pytest.fail)
    assert len(left["dataset"]["classNames"]) == 1204
    assert left["dataset"]["warnings"][-1] == "and 2 more, in the report"
    assert left["metrics"] == {"mAP50": 0.5}
    told = command.reported
    assert told is not None
    assert told.metrics == Metrics(mAP50=0.5)
    assert told.checkpoint == Checkpoint(
        uri=f"{command.results}/dino_model_best.pth", epoch=0, metric=None
    )
    command.acts(odd)
    assert command.run() == 0, "and the next run finds it"
    assert "Nothing to do" in command.out
