"""docs/tutorial.md without a cluster: all of it is run by tests/e2e/test_tutorial.py, and taken."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from demo.cluster import SECRET, chart_values
from demo.storage import DemoStorage
from dino_operator.kubectl import main, parser
from tests.chart.conftest import ROOT, Objects
from tests.pages import (
    Block,
    Shell,
    assert_shown,
    blocks,
    environment,
    indented,
    recorded,
)

PAGE = (ROOT / "docs" / "tutorial.md").read_text()
BLOCKS = blocks(PAGE)
COMMANDS = "\n".join(block.text for block in BLOCKS if block.language == "sh")
OPERATOR, TRAINER = "localhost/dino-operator:src-0", "localhost/dino-trainer:src-0"
DINO = re.compile(r"kubectl dino ([^|>&\n`]+)")
STORE = DemoStorage("http://10.178.0.9:9000", "http://s3.dino-s3.svc.cluster.local:9000",
                    "us-east-1", True, "id", "secret", "dino")  # fmt: skip


def test_every_block_is_run_or_compared() -> None:
    assert PAGE.count("```") == 2 * len(BLOCKS)
    kinds = [block.language for block in BLOCKS if not block.file]
    assert set(kinds) == {"sh", "text"}
    before = [kinds[at - 1] for at, kind in enumerate(kinds) if kind == "text"]
    assert set(before) == {"sh"}, "what is shown was said by the block above it"
    assert [block.file for block in BLOCKS if block.file] == ["digits.yaml", "next.yaml"]
    assert indented(PAGE) == [], "commands that the test would not run"


def test_what_it_installs_is_what_the_other_tests_have(render: Callable[..., Objects]) -> None:
    """Other jobs run meanwhile: an operator with other values would start anew."""
    words = COMMANDS
    for name, image in (("OPERATOR", OPERATOR), ("TRAINER", TRAINER)):
        repository, _, tag = image.rpartition(":")
        words = words.replace(f"${{{name}%:*}}", repository).replace(f"${{{name}#*:}}", tag)
    own = render(*re.findall(r"--set (\S+)", words))
    assert own == render(*flat(chart_values(STORE, OPERATOR, TRAINER)))
    assert f"create secret generic {SECRET} " in COMMANDS


def flat(values: dict[str, object], before: str = "") -> list[str]:
    """Values as words of `--set`."""
    words = []
    for name, value in values.items():
        if isinstance(value, dict):
            words += flat(value, f"{before}{name}.")
        else:
            words.append(f"{before}{name}={str(value).lower() if value is True else value}")
    return words


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.file], ids=lambda b: b.file)
def test_its_manifests_are_valid(
    block: Block, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / block.file
    path.write_text(block.text)
    assert main(["validate", "-f", str(path)]) == 0
    said = capsys.readouterr()
    assert said.err == "", "a newcomer's first jobs have nothing odd about them"


@pytest.mark.parametrize("words", sorted(set(DINO.findall(COMMANDS))))
def test_its_commands_of_kubectl_dino_are_known(words: str) -> None:
    parser({}).parse_args(shlex.split(words))


def test_its_targets_of_make_are_known() -> None:
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = [
        word
        for line in re.findall(r"make ([^\n)]+)", COMMANDS)
        for word in line.split()
        if re.fullmatch(r"[a-z-]+", word) and not word.startswith("-")
    ]
    assert set(named) == {"setup", "cluster-up", "images", "sample-dataset"}
    assert set(named) <= set(targets)


SHOWN = "NAME  PHASE  MAP50   AGE\nx     done   0.5123  1m\n...\nend\n"


def test_what_varies_may_differ_and_nothing_else() -> None:
    assert_shown(SHOWN, "NAME PHASE MAP50 AGE\nx done 0.7 2h3m\nmore\nmuch more\nend\n")
    assert_shown("Starts.\n", "[x-train-1-457d6] Starts.\n")
    for wrong in ("x gone 0.7 1m\nend", "y done 0.7 1m\nend", "x done 0.7 1m\nend\nmore"):
        with pytest.raises(AssertionError):
            assert_shown(SHOWN, f"NAME PHASE MAP50 AGE\n{wrong}\n")


def test_what_is_recorded_is_what_was_said() -> None:
    page = "A\n\n```sh\nls\n```\n\n```text\nold\n```\n\n```text\nfirst\n...\n```\n"
    made = recorded(page, ["new  \n", "other\n"])
    assert made == page.replace("old", "new")


def test_a_terminal_keeps_its_folder_and_variables(tmp_path: Path) -> None:
    terminal = Shell(tmp_path, environment(), tmp_path / "notes")
    terminal.run("mkdir a && cd a\nNAME='two\nlines'\nexport OTHER=1")
    assert terminal.run('echo "$NAME" $OTHER; pwd') == f"two\nlines 1\n{tmp_path}/a\n"
    with pytest.raises(AssertionError, match="before"):
        terminal.run("echo before\nfalse\necho after")


def test_a_reader_has_not_what_a_developer_or_a_make_has_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_ENDPOINT_URL_S3", "DINO_CACHE_DIR", "DINO_DEVCLUSTER_HOME", "MAKEFLAGS"):
        monkeypatch.setenv(name, "x")
    kept = environment(keep=("DINO_DEVCLUSTER_HOME",))
    assert kept["DINO_DEVCLUSTER_HOME"] == "x"
    assert not kept.keys() & {"AWS_ENDPOINT_URL_S3", "DINO_CACHE_DIR", "MAKEFLAGS"}
