"""What shells and kubectl are offered for a word that is not finished."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dino_operator.kubectl import cluster, command, completion, main, parser
from dino_operator.kubectl.ending import CommandExit
from tests import statuses
from tests.patience import LONG
from tests.unit.kubectl_resources import a_job, a_search

BESIDE = Path(sys.executable).parent
VARIABLES = (
    "_ARGCOMPLETE",
    "_ARGCOMPLETE_IFS",
    "_ARGCOMPLETE_DFS",
    "_ARGCOMPLETE_SUPPRESS_SPACE",
    "COMP_LINE",
    "COMP_POINT",
)


class CompletionCluster:
    """A job and a search. The words before the one that is completed say where."""

    asked: tuple[Any, bool]

    def __init__(self, options: Any, hurry: bool = False) -> None:
        CompletionCluster.asked = options.namespace, hurry
        if options.namespace == "closed":
            raise CommandExit(77, "forbidden")

    def all_of(self, kind: str) -> list[Any]:
        return [a_job(statuses.COMPLETE)] if kind == "DinoJob" else [a_search()]

    def namespaces(self) -> list[str]:
        return ["team-a", "team-b"]


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Called with the words: what kubectl is answered."""
    monkeypatch.setattr(cluster, "Cluster", CompletionCluster)

    def ask(*words: str) -> list[str]:
        with monkeypatch.context() as here:
            for name in VARIABLES:
                here.setenv(name, "")
            here.delenv("_ARGCOMPLETE")
            here.setattr(sys, "argv", ["kubectl_complete-dino", *words])
            assert command.complete() == 0
            os.environ.pop("_ARGCOMPLETE", None)
        *found, directive = capsys.readouterr().out.splitlines()
        assert directive == ":4"
        return found

    return ask


def test_commands(offered: Any) -> None:
    every = [each.split("\t")[0] for each in offered("")]
    commands: Any = next(each for each in parser({})._actions if each.dest == "command")
    assert set(commands.choices) <= set(every)
    assert offered("cur") == ["curve\tshow the validations of a training"]


def test_options(offered: Any) -> None:
    assert [each.split("\t")[0] for each in offered("logs", "--fo")] == ["--follow"]
    assert [each.split("\t")[0] for each in offered("status", "-o", "j")] == ["json"]
    assert offered("logs", "cells", "--stage", "pre") == ["preflight"]


JOBS = ["cells\tDinoJob Complete", "daml/cells\tDinoAutoML"]


@pytest.mark.parametrize(
    "words", [["status"], ["curve"], ["logs"], ["stop"], ["diff", "a"], ["again"], ["report"]]
)
def test_jobs_of_the_cluster(offered: Any, words: list[str]) -> None:
    assert offered(*words, "") == JOBS
    assert CompletionCluster.asked == (None, True)


def test_of_the_namespace_that_is_meant(offered: Any) -> None:
    assert offered("status", "-n", "team-b", "ce") == JOBS[:1]
    assert CompletionCluster.asked == ("team-b", True)
    assert offered("status", "-n", "team-") == ["team-a", "team-b"]


def test_a_cluster_that_does_not_answer_offers_nothing(offered: Any) -> None:
    assert offered("status", "-n", "closed", "ce") == []


def test_keys_of_an_experiment(offered: Any) -> None:
    assert offered("again", "cells", "train.optim.lr_ba") == ["train.optim.lr_backbone="]


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_the_script_of_each_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "kubectl-dino" in script
    assert ("complete --command" if shell == "fish" else "#compdef kubectl-dino") in script


def test_bash_completes_by_its_script() -> None:
    """The installed program, asked by a real shell."""
    asked = """
        source <(kubectl-dino completion bash)
        COMP_LINE="kubectl-dino sus"; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9
        _python_argcomplete kubectl-dino
        echo "${COMPREPLY[@]}"
    """
    environ = {**os.environ, "PATH": f"{BESIDE}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", asked], capture_output=True, text=True, env=environ, timeout=LONG
    )
    assert done.stdout.strip() == "suspend", done.stderr


def test_without_argcomplete_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("argcomplete", "argcomplete.shell_integration", "argcomplete.finders"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["completion", "bash"]) == 69
    assert "uv tool install '.[kubectl]'" in capsys.readouterr().err
    assert completion.answer_kubectl(parser({}), ["st"]) == 0
    assert capsys.readouterr().out == ":4\n"
