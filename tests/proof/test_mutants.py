"""The seeded faults: their texts are found, a few are noticed; `make proof` tries all."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.patience import LONG, Patience
from tests.proof.mutants import (
    IN_MAKE_TEST,
    MUTANTS,
    PACKAGE,
    ROOT,
    STRANGE,
    Mutant,
    table,
    tried,
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda each: each.name)
def test_its_text_and_its_test_are_there(mutant: Mutant) -> None:
    assert (PACKAGE / mutant.file).read_text().count(mutant.old) == 1
    assert mutant.new != mutant.old
    assert (ROOT / "tests" / "unit" / mutant.test).is_file()


def test_one_whose_text_is_gone_is_an_error_and_the_others_are_tried() -> None:
    judged = tried(Mutant("gone", "plan/model.py", "what never stood there", "", "test_none.py"))
    assert judged.what == STRANGE
    assert "its text stands 0 times in plan/model.py" in judged.said


def test_a_few_are_noticed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.proof.mutants", "--only", ",".join(IN_MAKE_TEST)]
    log, waiting = tmp_path / "log", Patience(LONG)
    with log.open("w") as out:
        trial = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT)
    while trial.poll() is None and waiting.lasts():
        time.sleep(0.2)
    trial.kill()
    assert trial.wait() == 0, log.read_text()
    print(log.read_text())


def test_there_are_enough_of_plan_and_runtime() -> None:
    assert len(MUTANTS) >= 15
    assert {each.file.partition("/")[0] for each in MUTANTS} == {"plan", "runtime"}
    assert len({each.name for each in MUTANTS}) == len(MUTANTS)
    assert not any("," in each.name for each in MUTANTS), "--only separates names by commas"


def test_they_are_published() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text()
    assert table() in page, f"docs/reliability.md has another table than:\n{table()}"
