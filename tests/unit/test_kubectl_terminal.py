"""How `kubectl dino` looks and ends: colours, live pictures, data for programs, exit codes."""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dino_api.names import Phase
from dino_operator.kubectl import again, diff, ending, main, parser, status
from tests import statuses
from tests.api.admission_cases import changed
from tests.builders import Object
from tests.terminal import Terminal
from tests.unit.kubectl_resources import a_job, a_search

ESCAPE = "\x1b["
PAGE = (Path(__file__).parents[2] / "docs" / "kubectl-dino.md").read_text()
OLD = a_job(statuses.COMPLETE, "old")
BAD = a_job({**statuses.told("Failed", failed=("Diverged", "nan", True))}, "bad")


class EndedCluster:
    """Two jobs that have ended, and a search."""

    namespace = "team"

    def __init__(self, options: argparse.Namespace) -> None:
        self.held = {"old": OLD, "bad": BAD}

    def get(self, name: str) -> Object:
        return self.held[name]

    def all_of(self, kind: str, everywhere: bool = False) -> list[Object]:
        return [OLD, BAD] if kind == "DinoJob" else [a_search()]

    def jobs(self, selector: str) -> list[Object]:
        return []

    pods = events = jobs

    def create(self, manifest: Object) -> Object:
        return {**manifest, "status": {}}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (again, diff, status):
        monkeypatch.setattr(module, "Cluster", EndedCluster)


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(changed()))
    return str(path)


COLOURED = (("status",), ("status", "bad"), ("validate", "-f"))


@pytest.mark.parametrize("words", COLOURED, ids=" ".join)
def test_colours_are_for_terminals_that_have_them(
    words: tuple[str, ...], cluster: None, manifest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [*words, *([manifest] if words[-1] == "-f" else [])]

    def said(to: io.StringIO, **environ: str) -> str:
        with monkeypatch.context() as here:
            here.setattr(sys, "stdout", to)
            for name in ("NO_COLOR", "TERM"):
                here.setenv(name, environ.get(name, ""))
            assert main(given) == 0
        return to.getvalue()

    assert ESCAPE in said(Terminal())
    assert ESCAPE in said(Terminal(), TERM="xterm")
    plain = said(io.StringIO())
    assert ESCAPE not in plain
    assert said(Terminal(), NO_COLOR="1") == plain
    assert said(Terminal(), TERM="dumb") == plain


def test_a_job_is_watched_until_it_ends(
    cluster: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    phases = iter((Phase.QUEUED, Phase.RUNNING, Phase.RUNNING, Phase.COMPLETE))

    def get(self: EndedCluster, name: str) -> Object:
        return a_job({"phase": next(phases).value})

    monkeypatch.setattr(EndedCluster, "get", get)
    monkeypatch.setattr(status, "LOOK_SECONDS", 0)
    assert main(["status", "cells", "--watch"]) == 0
    heads = [e for e in capsys.readouterr().out.splitlines() if e.startswith("DinoJob")]
    assert heads == [f"DinoJob team/cells: {each}" for each in ("Queued", "Running", "Complete")]


def test_on_a_terminal_each_picture_takes_the_place_of_the_one_before(
    cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    assert main(["status", "old", "-w"]) == 0
    assert sys.stdout.getvalue().startswith(f"{ESCAPE}H{ESCAPE}2J")  # type: ignore[attr-defined]


def test_a_picture_is_no_data(cluster: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "-w", "-o", "json"]) == 64
    assert "--watch shows text" in capsys.readouterr().err


def interrupted(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


ENDS: dict[str, tuple[Callable[..., list[str]], int]] = {
    "a good manifest": (lambda file: ["validate", "-f", file], ending.DONE),
    "no such command": (lambda file: ["stauts"], ending.USAGE),
    "no such option": (lambda file: ["status", "--nothing"], ending.USAGE),
    "an option without its value": (lambda file: ["render", "-f"], ending.USAGE),
    "a form that is none": (lambda file: ["status", "-o", "xml"], ending.USAGE),
    "a file that is not there": (lambda file: ["render", "-f", f"{file}.no"], ending.NO_INPUT),
    "a spec that is no spec": (lambda file: ["from-tao", file, "--uri", "s3"], ending.USAGE),
    "a kubeconfig that is not there": (
        lambda file: ["status", "--kubeconfig", f"{file}.no"],
        ending.UNAVAILABLE,
    ),
}


@pytest.mark.parametrize(("words", "code"), ENDS.values(), ids=ENDS.keys())
def test_how_it_ends(
    words: Callable[..., list[str]], code: int, manifest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        ended: Any = main(words(manifest))
    except SystemExit as end:
        ended = end.code
    assert ended == code
    assert "Traceback" not in capsys.readouterr().err


def test_ctrl_c_ends_without_a_traceback(
    cluster: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(status, "listed", interrupted)
    assert main(["status"]) == ending.INTERRUPTED
    assert capsys.readouterr().err == ""


def test_the_table_of_exit_codes_is_the_codes() -> None:
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", PAGE, re.MULTILINE)
    assert {int(code): words for code, words in rows} == ending.CODES
    named = {value for value in vars(ending).values() if isinstance(value, int)}
    assert named == set(ending.CODES)
    text = parser({}).format_help()
    assert all(f"  {code:<5}{words}" in text for code, words in ending.CODES.items())


def test_every_end_is_in_the_table() -> None:
    """No command ends with a number of its own."""
    folder = Path(ending.__file__).parent
    text = "".join(path.read_text() for path in folder.glob("*.py"))
    assert re.findall(r"CommandExit\(\s*\d|exit\(\s*\d", text) == []
    assert set(re.findall(r"CommandExit\(\s*([A-Z]\w+),", text)) <= set(vars(ending))


def described(command: str) -> set[str]:
    """The fields that the page says `-o` gives."""
    row = re.search(rf"^\| `{command}` \| (.*?) \| (.*) \|$", PAGE, re.MULTILINE)
    assert row, command
    return set(re.findall(r"`(\w+)`", row[2]))


DATA = {
    "diff": ["diff", "old", "bad"],
    "again": ["again", "old", "--dry-run"],
    "status": ["status"],
    "validate": ["validate", "-f"],
    "from-tao": ["from-tao", "--uri", "s3://bucket/x"],
}


@pytest.mark.parametrize("command", DATA)
def test_data_has_the_fields_that_the_page_says(
    command: str, cluster: None, tmp_path: Path, manifest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text("train: {num_epochs: 3}\nwandb: {enable: true}\n")
    file = {"validate": [manifest], "from-tao": [str(spec)]}.get(command, [])
    found = []
    for form, read in (("json", json.loads), ("yaml", yaml.safe_load)):
        assert main([*DATA[command], *file, "-o", form]) in (0, ending.DATA_ERROR)
        found.append(read(capsys.readouterr().out))
    assert found[0] == found[1]
    one = found[0][0] if isinstance(found[0], list) else found[0]
    assert set(one) - {"status"} == described(command) - {"status"}


def test_every_command_with_data_is_in_that_table() -> None:
    commands: Any = next(each for each in parser({})._actions if each.dest == "command")
    with_data = {
        name
        for name, each in commands.choices.items()
        if any("--output" in action.option_strings for action in each._actions)
    }
    table = PAGE.partition("| Command | `-o` gives |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE)) == with_data
