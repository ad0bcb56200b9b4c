"""The `dino` command: what it refuses, how it ends, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from coco_builders import a_folder, an_archive
from s3_server import BUCKET, S3Server, free_port

from dino_api import failures
from dino_api.experiment import digest, load
from dino_api.result import Checkpoint, Metrics, Result
from dino_trainer import launch
from dino_trainer.cli import main
from dino_trainer.errors import TrainerError
from dino_trainer.output import Output
from dino_trainer.report import reporter
from dino_trainer.run import RunContext

DINO = [sys.executable, "-c", "import sys; from dino_trainer.cli import main; sys.exit(main())"]


class Desk:
    """A spec with real data, and the command in this process."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capture = folder, capture
        self.termination = folder / "termination-log"
        self.termination.touch()
        data = a_folder(folder / "data")
        source = {"image_dir": f"{data}/images", "json_file": f"{data}/annotations.json"}
        self.spec: dict[str, Any] = {
            "results_dir": str(folder / "results"),
            "dataset": {"train_data_sources": [source], "val_data_sources": [source]},
            "train": {"num_gpus": 0},
        }
        self.out = self.err = ""

    @property
    def spec_path(self) -> Path:
        path = self.folder / "spec.yaml"
        path.write_text(yaml.safe_dump(self.spec))
        return path

    @property
    def digest(self) -> str:
        return digest(load(self.spec)[0])

    @property
    def results(self) -> Path:
        return self.folder / "results" / "train"

    def run(self, *overrides: str) -> int:
        """`dino train -e spec.yaml …`; returns the exit code."""
        code = main(["train", "-e", str(self.spec_path), *overrides])
        self.out, self.err = self._capture.readouterr()
        assert "Traceback" not in self.out + self.err
        return code

    @property
    def told(self) -> Result | None:
        """What the operator would read."""
        return Result.from_termination_message(self.termination.read_text())

    def acts(self, run: Callable[[Any, RunContext], Result]) -> None:
        """Puts `run` in the place of the action: what follows it is what is tested."""
        self._patch.setattr(launch, "import_module", lambda _: types.SimpleNamespace(run=run))

    _patch: pytest.MonkeyPatch


@pytest.fixture
def desk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Desk]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    made = Desk(tmp_path, capsys)
    made._patch = monkeypatch
    monkeypatch.setenv("DINO_WORK_DIR", str(tmp_path / "work"))
    monkeypatch.setattr(reporter, "TERMINATION_LOG", made.termination)
    yield made
    for number, handler in before.items():
        signal.signal(number, handler)


def succeed(_spec: Any, context: RunContext) -> Result:
    """An action that leaves a checkpoint."""
    (context.output.dir / "dino_model_best.pth").write_bytes(b"weights")
    stored = context.output.publish("dino_model_best.pth")
    return Result(metrics=Metrics(mAP=0.5), checkpoint=Checkpoint(uri=stored.uri))


def test_a_run_leaves_spec_status_result_and_termination_message(desk: Desk) -> None:
    desk.acts(succeed)
    assert desk.run("train.num_epochs=3") == 0
    assert (
        yaml.safe_load((desk.results / "experiment.yaml").read_text())["train"]["num_epochs"] == 3
    )
    assert desk.told is not None
    assert desk.told.metrics == Metrics(mAP=0.5)
    assert desk.told.spec_digest is not None
    assert Result.model_validate_json((desk.results / "result.json").read_text()) == desk.told
    lines = (desk.results / "status.json").read_text().splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["STARTED", "SUCCESS"]
    manifest = json.loads((desk.results / "manifest.json").read_text())
    assert set(manifest["files"]) == {
        "experiment.yaml",
        "status.json",
        "result.json",
        "dino_model_best.pth",
    }


def test_it_says_what_it_is_going_to_do(desk: Desk) -> None:
    desk.acts(succeed)
    desk.run()
    for words in ("Training data", "Validation data", "resnet_50", "the CPU", str(desk.results)):
        assert words in desk.out


def test_work_is_done_once(desk: Desk) -> None:
    desk.acts(succeed)
    desk.run()
    first = desk.told

    def never(_spec: Any, _context: RunContext) -> Result:
        raise AssertionError("it was run again")

    desk.acts(never)
    desk.termination.write_text("")
    assert desk.run("dataset.workers=3") == 0, "workers do not decide the result"
    assert "Nothing to do" in desk.out
    assert desk.told == first


def test_work_whose_checkpoint_is_gone_is_done_again(desk: Desk) -> None:
    desk.acts(succeed)
    desk.run()
    (desk.results / "dino_model_best.pth").unlink()
    assert desk.run() == 0
    assert (desk.results / "dino_model_best.pth").exists()


def test_another_experiment_in_the_same_place_is_refused_and_nothing_changes(desk: Desk) -> None:
    desk.acts(succeed)
    desk.run()
    before = {path.name: path.read_bytes() for path in desk.results.iterdir()}
    assert desk.run("train.num_epochs=77") == 64
    assert "results of another experiment" in desk.err
    assert {path.name: path.read_bytes() for path in desk.results.iterdir()} == before
    assert desk.told is not None
    assert desk.told.failure is not None
    assert desk.told.failure.reason == "InvalidSpec"


def test_all_problems_of_a_spec_come_at_once(desk: Desk) -> None:
    desk.spec["results_dir"] = ""
    desk.spec["dataset"]["batch_sise"] = 4
    desk.spec["dataset"]["val_data_sources"][0]["json_file"] = ""
    desk.spec["train"]["optim"] = {"lr": -1}
    assert desk.run("model.num_queries=none", "what") == 64
    for words in (
        "results_dir: is needed",
        "dataset.batch_size",
        "dataset.val_data_sources[0].json_file: is needed",
        "train.optim.lr",
        "model.num_queries",
        "key=value",
    ):
        assert words in desk.err
    assert desk.told is not None
    assert desk.told.failure is not None
    assert "batch_sise" in desk.told.failure.message
    assert not desk.results.exists()


SPEC_FILES = {
    "no YAML": ("a: [", "is not YAML"),
    "a tab": ("a:\n\tb: 1", "line 2"),
    "a list": ("- a", "not a mapping"),
    "nothing": ("", "is empty"),
    "a key twice": (
        "train: {}\nmodel: {}\ntrain: {num_epochs: 3}",
        "'train' stands twice at line 3",
    ),
}


@pytest.mark.parametrize("case", SPEC_FILES)
def test_spec_files_that_are_none(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, words = SPEC_FILES[case]
    (tmp_path / "spec.yaml").write_text(content)
    assert main(["train", "-e", str(tmp_path / "spec.yaml")]) == 64
    assert words in capsys.readouterr().err


def test_a_spec_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-e", "/no/such.yaml"]) == 66
    assert "There is no file /no/such.yaml" in capsys.readouterr().err


def test_numbers_as_people_write_them(desk: Desk) -> None:
    """YAML 1.1 takes 1e-4 for text; TAO's specs are full of it."""
    desk.acts(succeed)
    desk.spec["train"]["optim"] = {"lr": "1e-4"}
    assert desk.run("train.optim.lr_backbone=1e-5") == 0
    optim = yaml.safe_load((desk.results / "experiment.yaml").read_text())["train"]["optim"]
    assert (float(optim["lr"]), float(optim["lr_backbone"])) == (1e-4, 1e-5)


ENDS: dict[str, tuple[BaseException, int, str]] = {
    "a diverged loss": (TrainerError("Diverged", "The loss is nan."), 76, "Diverged"),
    "a full GPU": (TrainerError("DeviceOutOfMemory", "x"), 71, "DeviceOutOfMemory"),
    "no memory": (MemoryError(), 137, "OutOfMemory"),
    "a full disk": (OSError(28, "No space left on device"), 74, "DiskFull"),
    "a bug": (KeyError("x"), 70, "InternalError"),
    "Ctrl-C twice": (KeyboardInterrupt(), 143, "Preempted"),
}


@pytest.mark.parametrize("case", ENDS)
def test_how_a_run_ends(case: str, desk: Desk) -> None:
    error, code, reason = ENDS[case]

    def fail(spec: Any, context: RunContext) -> Result:
        (context.output.dir / "dino_model_latest.pth").write_bytes(b"weights")
        context.output.publish("dino_model_latest.pth")
        raise error

    desk.acts(fail)
    assert desk.run() == code
    assert desk.told is not None
    failure, checkpoint = desk.told.failure, desk.told.checkpoint
    assert failure is not None
    assert (failure.reason, failure.exit_code) == (reason, code)
    assert failure.remedy
    assert f"{reason}: {failure.message}\n{failure.remedy}" in desk.err
    assert checkpoint is not None
    assert checkpoint.latest_uri == str(desk.results / "dino_model_latest.pth")
    assert (desk.results / "dino_model_latest.pth").exists(), "no checkpoint is lost"
    last = json.loads((desk.results / "status.json").read_text().splitlines()[-1])
    assert last["status"] == ("RUNNING" if code == 143 else "FAILURE")
    assert (desk.results / "result.json").exists() == (code != 143)


def test_the_traceback_of_a_bug_is_in_a_file(desk: Desk) -> None:
    def fail(_spec: Any, _context: RunContext) -> Result:
        raise KeyError("a bug")

    desk.acts(fail)
    assert desk.run() == 70
    assert "KeyError in test_trainer_io_cli.py:" in desk.err
    assert f"The traceback is in {desk.results / 'error.log'}" in desk.err
    assert "Traceback" in (desk.results / "error.log").read_text()


def test_who_debugs_sees_the_traceback(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DINO_DEBUG", "1")
    assert main(["train", "-e", "/no/such.yaml"]) == 66
    assert "Traceback" in desk._capture.readouterr().err


def test_a_failed_attempt_may_be_corrected_in_the_same_place(desk: Desk) -> None:
    def fail(_spec: Any, _context: RunContext) -> Result:
        raise TrainerError("InvalidDataset", "bad")

    desk.acts(fail)
    assert desk.run() == 65
    desk.acts(succeed)
    assert desk.run("dataset.batch_size=3") == 0


def test_results_on_s3_are_found_by_the_next_pod(
    desk: Desk, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.spec["results_dir"] = f"s3://{BUCKET}/{tmp_path.name}"
    desk.acts(succeed)
    assert desk.run() == 0
    first = desk.told
    monkeypatch.setenv("DINO_WORK_DIR", str(tmp_path / "another pod"))
    assert desk.run() == 0
    assert "Nothing to do" in desk.out
    assert desk.told == first
    output = Output(desk.spec["results_dir"], "train", tmp_path / "third")
    assert set(output.published()) >= {"result.json", "status.json", "dino_model_best.pth"}


# From here on the real action runs, up to the point where the data is found wanting.
# changes to the data source, exit code, words
DATA: dict[str, tuple[dict[str, str], int, str]] = {
    "no such folder": ({"image_dir": "{data}/pictures"}, 66, "no folder or archive"),
    "no such annotations": ({"json_file": "{data}/no.json"}, 66, "There is no file"),
    "not COCO": ({"json_file": "{data}/not_coco.json"}, 65, "'images' is missing"),
    "a truncated archive": ({"image_dir": "{data}/cut.tar.gz"}, 65, "ends early"),
    "S3 without the object": ({"image_dir": f"s3://{BUCKET}/no.tar.gz"}, 66, f"bucket {BUCKET}"),
    "S3 without the bucket": ({"json_file": "s3://gone/a.json"}, 66, "no bucket gone"),
    "a scheme of another world": ({"json_file": "aws://b/a.json"}, 64, "s3://"),
}


@pytest.mark.parametrize("case", DATA)
def test_data_that_cannot_be_used(case: str, desk: Desk, s3_server: S3Server) -> None:
    changes, code, words = DATA[case]
    data = desk.folder / "data"
    (data / "not_coco.json").write_text('{"shapes": []}')
    whole = an_archive(data / "whole.tar.gz").read_bytes()
    (data / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    [source] = desk.spec["dataset"]["train_data_sources"]
    source.update({key: value.format(data=data) for key, value in changes.items()})
    assert desk.run() == code
    assert words in desk.err
    assert desk.told is not None
    assert desk.told.failure is not None
    assert desk.told.failure.exit_code == code
    assert desk.told.failure.remedy


def test_credentials_that_are_refused(
    desk: Desk, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dino_trainer import s3

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    s3._client.cache_clear()
    desk.spec["results_dir"] = f"s3://{BUCKET}/out"
    assert desk.run() == 77
    s3._client.cache_clear()
    assert "spec.storage.secretName" in desk.err
    assert desk.told is not None


def test_a_stop_while_the_server_is_away(desk: Desk) -> None:
    """As the pod's own process: the signal arrives while nothing can be downloaded."""
    source = desk.spec["dataset"]["train_data_sources"][0]
    source["json_file"] = f"s3://{BUCKET}/annotations.json"
    env = {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{free_port()}",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }
    process = subprocess.Popen(
        [*DINO, "train", "-e", str(desk.spec_path)],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "Trying again" in line:
            break
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 143, error
    assert "SIGTERM: finishing this step" in error
    assert "Preempted: Stopped while staging the data." in error


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["train", "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for rule in failures.TABLE:
        if rule.exit_code is not None:
            assert f"{rule.exit_code}  {rule.reason}: {rule.when}" in text
    for name in ("DINO_WORK_DIR", "AWS_ENDPOINT_URL_S3", "DINO_STORAGE_PATIENCE", "DINO_DEBUG"):
        assert name in text


def test_the_example_in_the_help_is_a_valid_spec() -> None:
    from dino_trainer import cli_help

    text = cli_help.train_epilog()
    example = text[text.index("  results_dir:") : text.index("image_dir is a folder")]
    spec, _ = load(yaml.safe_load(example))
    assert spec.train.num_epochs == 12


@pytest.mark.parametrize("arguments", [[], ["dance"], ["train"], ["train", "-e"]])
def test_usage_errors_end_with_64(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 64
    assert "usage: dino" in capsys.readouterr().err


def test_version_and_help_need_no_torch() -> None:
    code = (
        "import sys; from dino_trainer.cli import main\n"
        "try: main(['--version'])\n"
        "except SystemExit as e: assert e.code == 0\n"
        "assert not {'torch', 'boto3', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("dino ")
