"""`dino <action>` around any action: where results go, when there is nothing to do, how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from dino_api import failures
from dino_api.loading import load
from dino_api.names import Action, FailureReason
from dino_api.result import Metrics, ModelComparison, ModelFile, Result, ScoredModel
from dino_trainer.command import launch
from dino_trainer.command.cli import main
from dino_trainer.command.previous_run import source_digest
from dino_trainer.distributed.launcher import Topology
from dino_trainer.errors import TrainerError
from dino_trainer.report import reporter
from dino_trainer.report.quiet_reporter import SilentTerminal
from dino_trainer.run import RunContext
from dino_trainer.spec.sections import shape_section
from dino_trainer.storage.opening import open_store
from tests.unit.s3_server import BUCKET, S3Server
from tests.unit.trainer_command import Command


class Evaluation(Command):
    """A spec of `dino evaluate` whose action writes one file and counts how often it ran."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        data = self.spec.pop("train") and self.spec["dataset"]
        data["test_data_sources"] = data.pop("train_data_sources")
        del data["val_data_sources"]
        self.model = self.folder / "model.pth"
        self.model.write_bytes(b"first")
        self.spec["evaluate"] = {"checkpoint": str(self.model), "num_gpus": 0}
        self.runs = 0
        self.acts(self.evaluate)

    def evaluate(self, spec: Any, context: RunContext) -> Result:
        self.runs += 1
        assert context.action == Action.EVALUATE
        (context.output.dir / "metrics.json").write_text("{}")
        artifact = context.output.publish("metrics.json").artifact("metrics.json")
        model = ModelFile(uri=str(self.model), format="checkpoint")
        return Result(metrics=Metrics(mAP=0.5), model=model, artifacts=[artifact])

    def run(self, *overrides: str) -> int:
        code = main(["evaluate", "-e", str(self.spec_path), *overrides])
        self.out, self.err = self.capture.readouterr()
        assert "Traceback" not in self.out + self.err, self.err
        return code

    @property
    def results(self) -> Path:
        return self.folder / "results" / "evaluate"

    @property
    def result(self) -> dict[str, Any]:
        return json.loads((self.results / "result.json").read_text())


@pytest.fixture
def evaluation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Evaluation:
    monkeypatch.setenv("DINO_WORK_DIR", str(tmp_path / "work"))
    command = Evaluation(tmp_path, capsys, monkeypatch)
    monkeypatch.setattr(reporter, "TERMINATION_LOG", command.termination)
    return command


def test_an_action_has_its_own_folder_digest_and_words(evaluation: Evaluation) -> None:
    assert evaluation.run() == 0
    spec = load(evaluation.spec, action=Action.EVALUATE)[0]
    from dino_api.experiment import digest

    result = evaluation.result
    assert result["action"] == "evaluate"
    assert result["specDigest"] == digest(spec, Action.EVALUATE)
    assert evaluation.reported is not None
    assert evaluation.reported.action == Action.EVALUATE
    assert "sourceDigest" not in evaluation.termination.read_text()
    assert (evaluation.results / "experiment.yaml").is_file()
    for words in ("Test data        ", f"From             {evaluation.model}", "Evaluate results"):
        assert words in evaluation.out
    assert "Training" not in evaluation.out


def test_a_section_says_where_its_results_go(evaluation: Evaluation) -> None:
    folder = evaluation.folder / "mine"
    assert evaluation.run(f"evaluate.results_dir={folder}", "results_dir=") == 0
    assert (folder / "metrics.json").is_file()


def test_the_same_again_is_nothing_to_do(evaluation: Evaluation) -> None:
    evaluation.run()
    assert evaluation.run("dataset.workers=1") == 0
    assert evaluation.runs == 1
    assert "Nothing to do" in evaluation.out
    assert evaluation.reported is not None
    assert evaluation.reported.metrics == Metrics(mAP=0.5)


def test_another_model_in_the_same_place_is_taken_anew(evaluation: Evaluation) -> None:
    evaluation.run()
    evaluation.model.write_bytes(b"trained again")
    assert evaluation.run() == 0
    assert evaluation.runs == 2
    evaluation.model.unlink()
    assert evaluation.run() == 0
    assert evaluation.runs == 2, "what it was made of is gone, the result stands"


def test_a_result_without_its_files_is_made_again(evaluation: Evaluation) -> None:
    evaluation.run()
    (evaluation.results / "metrics.json").write_text("changed")
    evaluation.run()
    (evaluation.results / "metrics.json").unlink()
    evaluation.run()
    assert evaluation.runs == 3


def test_the_result_of_another_spec_is_not_overwritten(evaluation: Evaluation) -> None:
    evaluation.run()
    assert evaluation.run("evaluate.conf_threshold=0.5") == 64
    assert evaluation.runs == 1
    assert "holds the results of another experiment" in evaluation.err
    assert "Choose another output (results_dir), or delete that one first." in evaluation.err
    assert evaluation.result["metrics"] == {"mAP": 0.5}


def test_after_a_failure_the_spec_may_be_corrected(evaluation: Evaluation) -> None:
    def fail(spec: Any, context: RunContext) -> Result:
        raise TrainerError("InvalidDataset", "The data is odd.")

    evaluation.acts(fail)
    assert evaluation.run() == 65
    assert evaluation.result["action"] == "evaluate"
    evaluation.acts(evaluation.evaluate)
    assert evaluation.run("evaluate.conf_threshold=0.5") == 0


def test_what_a_failed_gate_found_out_is_kept(evaluation: Evaluation) -> None:
    sides = [ScoredModel(format=kind, mAP=value) for kind, value in (("onnx", 0.5), ("onnx", 0.4))]
    comparison = ModelComparison(reference=sides[0], candidate=sides[1], loss=0.1, max_loss=0.005)

    def fail(spec: Any, context: RunContext) -> Result:
        (context.output.dir / "report.html").write_text("why")
        report = context.output.publish("report.html").artifact("report.html")
        kept = Result(comparison=comparison, artifacts=[report])
        raise TrainerError("GateFailed", "mAP fell by 0.1.", kept=kept)

    evaluation.acts(fail)
    assert evaluation.run() == 80
    result = Result.model_validate(evaluation.result)
    assert result.comparison == comparison
    assert [artifact.name for artifact in result.artifacts] == ["report.html"]
    assert (result.action, result.failure and result.failure.reason) == ("evaluate", "GateFailed")
    assert evaluation.reported is not None
    assert evaluation.reported.comparison == comparison


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (Path.unlink, "is not there"),
        (lambda path: path.write_text("longer"), "has 6 bytes there instead of 2"),
        (lambda path: path.write_text("[]"), "has another SHA-256 there"),
    ],
)
def test_what_cannot_be_read_back_is_not_complete(
    evaluation: Evaluation, spoil: Any, said: str
) -> None:
    def lose(spec: Any, context: RunContext) -> Result:
        result = evaluation.evaluate(spec, context)
        spoil(context.output.dir / "metrics.json")
        return result

    evaluation.acts(lose)
    assert evaluation.run() == 69
    assert f"metrics.json was published, and {said}." in evaluation.err
    assert "failure" in evaluation.result


def test_on_s3_results_and_models_are_told_apart_by_their_digests(
    evaluation: Evaluation, s3_server: S3Server
) -> None:
    store = open_store(f"s3://{BUCKET}/models")
    store.upload(evaluation.model, "model.pth")
    uris = (f"results_dir=s3://{BUCKET}/r", f"evaluate.checkpoint=s3://{BUCKET}/models/model.pth")
    assert evaluation.run(*uris) == 0
    assert evaluation.run(*uris) == 0
    assert evaluation.runs == 1
    evaluation.model.write_bytes(b"trained again")
    store.upload(evaluation.model, "model.pth")
    assert evaluation.run(*uris) == 0
    assert evaluation.runs == 2
    open_store(f"s3://{BUCKET}/r/evaluate").write_bytes(b"{ }", "metrics.json")
    assert evaluation.run(*uris) == 0
    assert evaluation.runs == 3


def test_a_model_that_its_store_has_no_digest_of_is_told_apart_too(s3_server: S3Server) -> None:
    """One that was put there by another program, which wrote no SHA-256 beside it."""
    digests = []
    for content in (b"one", b"two"):
        s3_server.client().put_object(Bucket=BUCKET, Key="theirs.pth", Body=content)
        spec = load({"evaluate": {"checkpoint": f"s3://{BUCKET}/theirs.pth"}})[0]
        digests.append(source_digest(spec, Action.EVALUATE))
    assert all(digest and digest.startswith("etag:") for digest in digests)
    assert digests[0] != digests[1]
    assert source_digest(spec, Action.TRAIN) is None


def test_who_runs_in_several_processes() -> None:
    spec = load({}, ["train.num_gpus=4", "evaluate.num_gpus=2", "inference.num_gpus=1"])[0]
    local = {action: Topology.of(shape_section(spec, action), {}).local for action in Action}
    alone = dict.fromkeys(Action, 1)
    assert local == {**alone, Action.TRAIN: 4, Action.DISTILL: 4, Action.EVALUATE: 2}


def test_ranks_do_not_read_the_earlier_result(
    evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several of them would write one local copy at the same time; their launcher has read it."""
    evaluation.run()
    arguments = (Action.EVALUATE, evaluation.spec_path, [], Event(), SilentTerminal())
    assert launch._open(*arguments).earlier is not None
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    assert launch._open(*arguments).earlier is None


def test_an_action_of_one_process_that_is_started_as_several_says_so(tmp_path: Path) -> None:
    """As by torchrun, whose ranks have no launcher of ours that would print why they ended."""
    spec = tmp_path / "spec.yaml"
    spec.write_text(f"results_dir: {tmp_path}\nexport: {{checkpoint: {tmp_path}/model.pth}}\n")
    env = {**os.environ, "RANK": "0", "WORLD_SIZE": "2", "DINO_WORK_DIR": str(tmp_path / "work")}
    command = [sys.executable, "-m", "dino_trainer", "export", "-e", str(spec)]
    ended = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == failures.by_reason(FailureReason.INVALID_SPEC).exit_code
    assert "InvalidSpec: dino export runs in one process" in ended.stderr
    assert "Traceback" not in ended.stderr
