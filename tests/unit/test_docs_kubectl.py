"""docs/kubectl-dino.md: each command has its part; what needs no cluster is run as it stands."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest

from dino_operator.kubectl import main, parser
from dino_operator.kubectl.job_text import HEAD

PAGE = (Path(__file__).parents[2] / "docs" / "kubectl-dino.md").read_text()
GIVEN = re.compile(r"Given `([\w.]+)`:\n\n```yaml\n(.*?)```", re.DOTALL)
SHOWN = re.compile(
    r"^\$ kubectl dino ((?:validate|from-tao) .*)\n((?:(?!\$ |```).*\n)*)", re.MULTILINE
)


def commands() -> list[str]:
    found = next(each for each in parser({})._actions if each.dest == "command")
    assert isinstance(found, argparse._SubParsersAction)
    return list(found.choices)


@pytest.mark.parametrize("name", commands())
def test_every_command_has_its_part(name: str) -> None:
    parts = [part.split(", ") for part in re.findall(r"^## (.*)$", PAGE, re.MULTILINE)]
    assert any(name in part for part in parts)


@pytest.mark.parametrize(("words", "shown"), SHOWN.findall(PAGE))
def test_what_it_shows_is_what_is_said(
    words: str,
    shown: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in GIVEN.findall(PAGE):
        (tmp_path / name).write_text(text)
    main(shlex.split(words))
    said = capsys.readouterr()
    assert said.out + said.err.replace("kubectl-dino: ", "") == shown


def test_there_is_something_to_run() -> None:
    assert len(SHOWN.findall(PAGE)) >= 2
    assert len(GIVEN.findall(PAGE)) >= 2


def test_the_table_has_the_columns_of_the_command() -> None:
    assert re.split(r" {2,}", next(e for e in PAGE.splitlines() if e.startswith("NAME "))) == list(
        HEAD
    )
