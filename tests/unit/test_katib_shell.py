"""The shell line of a trial, in a real shell and as Katib changes it."""

from __future__ import annotations

import inspect
import re
import subprocess
from pathlib import Path
from typing import Any

from dino_api.result import Checkpoint, Metrics, Result, Validation
from dino_operator.plan.search.engines.katib import experiment
from dino_trainer.report.terminal import PlainTerminal
from tests.patience import LONG
from tests.unit.katib_cases import a_search, a_view

Object = dict[str, Any]


def trainer() -> Object:
    made = experiment.to_create(a_view(a_search()))[-1]
    pod = made["spec"]["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]
    return pod["containers"][0]


def line() -> str:
    (only,) = trainer()["args"]
    return only


def wrapped(command: str, seconds: int = 1) -> str:
    """The line with another command, as Katib has a pod run it."""
    words = experiment.SCRIPT.format(command=command, words="last-words", patience=seconds)
    return f"{words} 1>metrics.log 2>&1 && echo completed > done"


def test_the_trainer_is_told_everything() -> None:
    """Its own output, what is searched and what was drawn; `when` is the trainer's to apply."""
    words = line()
    for part in (
        "dino train -e /etc/dino/spec.yaml --search /etc/dino/search.json",
        "'results_dir=s3://results/tune/trials/${trialParameters.trialName}'",
        "'train.optim.lr=${trialParameters.train.optim.lr}'",
    ):
        assert part in words


def test_the_shell_line_survives_what_katib_appends() -> None:
    """One argument; a newline at its end, exec or an exit loses the metric or the exit code. The
    kubelet makes one dollar of two."""
    container = trainer()
    assert container["command"] == ["sh", "-c"]
    words = line()
    assert words == words.strip()
    assert "\n" not in words
    assert not re.search(r"\bexec\b", words)
    assert not re.search(r"(?<!\()\bexit\b", words)
    assert "$$" not in words


def test_the_shell_keeps_the_exit_code_and_marks_only_success(tmp_path: Path) -> None:
    done = tmp_path / "done"
    failing = subprocess.run(["sh", "-c", wrapped("sh -c 'exit 71'")], cwd=tmp_path, timeout=LONG)
    assert failing.returncode == 71
    assert not done.exists()
    line = wrapped("echo 'Validation mAP50: 0.4'")
    assert subprocess.run(["sh", "-c", line], cwd=tmp_path, timeout=LONG).returncode == 0
    assert done.read_text() == "completed\n"
    assert "0.4" in (tmp_path / "metrics.log").read_text()


def test_the_best_metric_is_said_again_at_the_end(tmp_path: Path) -> None:
    """Katib reads the log of the last pod only: one that resumed after its best validation, or
    found the training finished, would have a lower metric or none."""
    told = Result(
        metrics=Metrics(mAP=0.3, mAP50=0.6125),
        curve=[Validation(epoch=1, mAP50=0.4)],
        checkpoint=Checkpoint(uri="s3://a/b"),
    )
    (tmp_path / "last-words").write_text(told.to_termination_message())
    line = wrapped("echo 'Nothing to do'")
    assert subprocess.run(["sh", "-c", line], cwd=tmp_path, timeout=LONG).returncode == 0
    log = (tmp_path / "metrics.log").read_text().splitlines()
    assert log == ["Nothing to do", "Validation mAP50: 0.6125"]
    assert re.findall(experiment.FILTER, log[-1]) == [("Validation mAP50", "0.6125")]


def test_the_shell_hands_sigterm_on_and_waits(tmp_path: Path) -> None:
    """Also twice: the checkpoint that is being saved is worth more than their haste."""
    saves = 'trap "sleep 0.3; echo saved; exit 143" TERM'
    trainer = f"sh -c '{saves}; echo up; while :; do sleep 0.1; done'"
    shell = subprocess.Popen(["sh", "-c", wrapped(trainer)], cwd=tmp_path)
    log = tmp_path / "metrics.log"
    while not log.exists() or "up" not in log.read_text():
        assert shell.poll() is None
    shell.terminate()
    shell.terminate()
    assert shell.wait(timeout=LONG) == 143
    assert "saved" in log.read_text()
    assert not (tmp_path / "done").exists()


def test_a_quick_trainer_waits_for_the_collector() -> None:
    """The collector that starts after the trainer has ended fails the pod: 6 of 6 did."""
    words = line()
    assert f"-ge {experiment.SIDECAR_PATIENCE}" in words
    assert "PPid" in words
    assert words.index("wait $c") < words.index("PPid"), "after training, so that it costs no GPU"
    assert "sleep 2; fi; (exit $r); }" in words


def test_a_trainer_logs_little() -> None:
    """A log of 60 MB kills Katib's collector: a week of lines of progress stays below 20 MB."""
    seconds = inspect.signature(PlainTerminal).parameters["seconds"].default
    longest = 250
    assert 7 * 24 * 3600 / seconds * longest < 20e6
