"""The `dino` command: what it refuses, how it ends, and what it leaves behind."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dino_api import failures
from dino_api.loading import load
from dino_api.names import Action
from dino_api.result import Checkpoint, Metrics, Result
from dino_trainer.command.cli import SPIN_COUNT, main
from dino_trainer.errors import TrainerError
from dino_trainer.results.output import Output
from dino_trainer.run import RunContext
from tests.unit.s3_server import BUCKET, S3Server
from tests.unit.trainer_command import Command

DINO = [
    sys.executable,
    "-c",
    "import sys; from dino_trainer.command.cli import main; sys.exit(main())",
]


def succeed(_spec: Any, context: RunContext) -> Result:
    """An action that leaves a checkpoint."""
    (context.output.dir / "dino_model_best.pth").write_bytes(b"weights")
    stored = context.output.publish("dino_model_best.pth")
    return Result(metrics=Metrics(mAP=0.5), checkpoint=Checkpoint(uri=stored.uri))


def test_overrides_may_stand_on_both_sides_of_an_option(command: Command) -> None:
    command.acts(succeed)
    spec = str(command.spec_path)
    assert main(["train", "train.num_epochs=3", "-e", spec, "train.seed=5"]) == 0
    written = yaml.safe_load((command.results / "experiment.yaml").read_text())["train"]
    assert (written["num_epochs"], written["seed"]) == (3, 5)


def test_a_run_leaves_spec_status_result_and_termination_message(command: Command) -> None:
    command.acts(succeed)
    assert command.run("train.num_epochs=3") == 0
    assert (
        yaml.safe_load((command.results / "experiment.yaml").read_text())["train"]["num_epochs"]
        == 3
    )
    assert command.reported is not None
    assert command.reported.metrics == Metrics(mAP=0.5)
    assert command.reported.spec_digest is not None
    assert (
        Result.model_validate_json((command.results / "result.json").read_text())
        == command.reported
    )
    lines = (command.results / "status.json").read_text().splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["STARTED", "SUCCESS"]
    manifest = json.loads((command.results / "manifest.json").read_text())
    assert set(manifest["files"]) == {
        "experiment.yaml",
        "status.json",
        "result.json",
        "dino_model_best.pth",
    }


def test_it_says_what_it_is_going_to_do(command: Command) -> None:
    command.acts(succeed)
    command.run()
    for words in ("Training data", "Validation data", "resnet_50", "the CPU", str(command.results)):
        assert words in command.out


def test_work_is_done_once(command: Command) -> None:
    command.acts(succeed)
    command.run()
    first = command.reported

    def never(_spec: Any, _context: RunContext) -> Result:
        raise AssertionError("it was run again")

    command.acts(never)
    command.termination.write_text("")
    assert command.run("dataset.workers=3") == 0, "workers do not decide the result"
    assert "Nothing to do" in command.out
    assert command.reported == first


def test_work_whose_checkpoint_is_gone_is_done_again(command: Command) -> None:
    command.acts(succeed)
    command.run()
    (command.results / "dino_model_best.pth").unlink()
    assert command.run() == 0
    assert (command.results / "dino_model_best.pth").exists()


def test_another_experiment_in_one_place_is_refused_and_nothing_changes(
    command: Command,
) -> None:
    command.acts(succeed)
    command.run()
    before = {path.name: path.read_bytes() for path in command.results.iterdir()}
    assert command.run("train.num_epochs=77") == 64
    assert "results of another experiment (train.num_epochs is 77, there 10)." in command.err
    assert {path.name: path.read_bytes() for path in command.results.iterdir()} == before
    assert command.reported is not None
    assert command.reported.failure is not None
    assert command.reported.failure.reason == "InvalidSpec"


def test_all_problems_of_a_spec_come_at_once(command: Command) -> None:
    command.spec["results_dir"] = ""
    command.spec["dataset"]["batch_sise"] = 4
    command.spec["dataset"]["val_data_sources"][0]["json_file"] = ""
    command.spec["train"]["optim"] = {"lr": -1}
    assert command.run("model.num_queries=none", "what") == 64
    for words in (
        "results_dir: is needed",
        "dataset.batch_size",
        "dataset.val_data_sources[0].json_file: is needed",
        "train.optim.lr",
        "model.num_queries",
        "key=value",
    ):
        assert words in command.err
    assert command.reported is not None
    assert command.reported.failure is not None
    assert "batch_sise" in command.reported.failure.message
    assert not command.results.exists()


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


def test_numbers_as_people_write_them(command: Command) -> None:
    """YAML 1.1 takes 1e-4 for text; TAO's specs are full of it."""
    command.acts(succeed)
    command.spec["train"]["optim"] = {"lr": "1e-4"}
    assert command.run("train.optim.lr_backbone=1e-5") == 0
    optim = yaml.safe_load((command.results / "experiment.yaml").read_text())["train"]["optim"]
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
def test_how_a_run_ends(case: str, command: Command) -> None:
    error, code, reason = ENDS[case]

    def fail(spec: Any, context: RunContext) -> Result:
        (context.output.dir / "dino_model_latest.pth").write_bytes(b"weights")
        context.output.publish("dino_model_latest.pth")
        raise error

    command.acts(fail)
    assert command.run() == code
    assert command.reported is not None
    failure, checkpoint = command.reported.failure, command.reported.checkpoint
    assert failure is not None
    assert (failure.reason, failure.exit_code) == (reason, code)
    assert failure.remedy
    assert f"{reason}: {failure.message}\n{failure.remedy}" in command.err
    assert checkpoint is not None
    assert checkpoint.latest_uri == str(command.results / "dino_model_latest.pth")
    assert (command.results / "dino_model_latest.pth").exists(), "no checkpoint is lost"
    last = json.loads((command.results / "status.json").read_text().splitlines()[-1])
    assert last["status"] == ("RUNNING" if code == 143 else "FAILURE")
    assert (command.results / "result.json").exists() == (code != 143)


def test_the_traceback_of_a_bug_is_in_a_file(command: Command) -> None:
    def fail(_spec: Any, _context: RunContext) -> Result:
        raise KeyError("a bug")

    command.acts(fail)
    assert command.run() == 70
    assert "KeyError in test_trainer_io_cli.py:" in command.err
    assert f"The traceback is in {command.results / 'error.log'}" in command.err
    assert "Traceback" in (command.results / "error.log").read_text()


def test_who_debugs_sees_the_traceback(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DINO_DEBUG", "1")
    assert main(["train", "-e", "/no/such.yaml"]) == 66
    assert "Traceback" in command.capture.readouterr().err


def test_a_failed_attempt_may_be_corrected_in_the_same_place(command: Command) -> None:
    def fail(_spec: Any, _context: RunContext) -> Result:
        raise TrainerError("InvalidDataset", "bad")

    command.acts(fail)
    assert command.run() == 65
    command.acts(succeed)
    assert command.run("dataset.batch_size=3") == 0


def test_results_on_s3_are_found_by_the_next_pod(
    command: Command, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command.spec["results_dir"] = f"s3://{BUCKET}/{tmp_path.name}"
    command.acts(succeed)
    assert command.run() == 0
    first = command.reported
    monkeypatch.setenv("DINO_WORK_DIR", str(tmp_path / "another pod"))
    assert command.run() == 0
    assert "Nothing to do" in command.out
    assert command.reported == first
    output = Output(f"{command.spec['results_dir']}/train", tmp_path / "third")
    assert set(output.published()) >= {"result.json", "status.json", "dino_model_best.pth"}


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


@pytest.mark.parametrize("action", list(Action))
def test_the_example_in_the_help_is_a_spec_that_can_be_run(action: Action) -> None:
    from dino_trainer.command import help_texts
    from dino_trainer.spec import needs

    text = help_texts.action_epilog(action)
    lines = text[text.index("a smallest spec.yaml") :].splitlines()[1:]
    end = lines.index("")
    mapping = yaml.safe_load("\n".join(lines[:end]))
    assert needs.for_running(mapping, action) == []
    _, warnings = load(mapping, action=action)
    assert warnings == []
    if action == Action.TRAIN:
        assert mapping["train"]["num_epochs"] == 12


@pytest.mark.parametrize("action", list(Action))
def test_every_action_teaches_itself(action: Action, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([action.value, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for part in (f"dino {action} -e spec.yaml", f"in <results_dir>/{action}/:", "exit codes:"):
        assert part in text
    assert all(len(line) <= 100 for line in text.splitlines() if "https" not in line)
    assert ("--search" in text) == (action == Action.TRAIN)


@pytest.mark.parametrize("arguments", [[], ["dance"], ["train"], ["train", "-e"]])
def test_usage_errors_end_with_64(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 64
    assert "usage: dino" in capsys.readouterr().err


def test_version_and_help_need_no_torch() -> None:
    code = (
        "import sys; from dino_trainer.command.cli import main\n"
        "try: main(['--version'])\n"
        "except SystemExit as e: assert e.code == 0\n"
        "assert not {'torch', 'boto3', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("dino ")


@pytest.mark.parametrize(
    ("set_by_user", "count"), [({}, SPIN_COUNT), ({"GOMP_SPINCOUNT": "77"}, "77")]
)
def test_threads_that_wait_leave_their_core_to_others(
    tmp_path: Path, set_by_user: dict[str, str], count: str
) -> None:
    """OpenMP's own words, from the library that torch brings: it reads the variables once."""
    spec = {
        "results_dir": str(tmp_path / "out"),
        "dataset": {"num_classes": 2, "test_data_sources": {"image_dir": "a", "json_file": "b"}},
        "evaluate": {"checkpoint": str(tmp_path / "none.pth")},
    }
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(spec))
    ours = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}
    env = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        [*DINO, "evaluate", "-e", str(path)],
        env={**env, "OMP_DISPLAY_ENV": "verbose", **set_by_user},
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"GOMP_SPINCOUNT = '{count}'" in done.stderr


def test_processes_that_it_starts_do_not_run_it_again() -> None:
    """multiprocessing imports the main module of a new process under this name."""
    runpy.run_module("dino_trainer.__main__", run_name="__mp_main__")
