"""The seeded faults: their texts are found, a few are noticed; `make proof` tries all."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.patience import LONG
from tests.proof.mutants import IN_MAKE_TEST, MUTANTS, PACKAGE, ROOT, Mutant, table


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda each: each.name)
def test_its_text_and_its_test_are_there(mutant: Mutant) -> None:
    assert (PACKAGE / mutant.file).read_text().count(mutant.old) == 1
    assert mutant.new != mutant.old
    assert (ROOT / "tests" / "unit" / mutant.test).is_file()


def test_a_few_are_noticed() -> None:
    command = [sys.executable, "-m", "tests.proof.mutants", "--only", ",".join(IN_MAKE_TEST)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=LONG, cwd=ROOT)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    print(ran.stdout)


def test_there_are_enough_of_plan_and_runtime() -> None:
    assert len(MUTANTS) >= 15
    assert {each.file.partition("/")[0] for each in MUTANTS} == {"plan", "runtime"}
    assert len({each.name for each in MUTANTS}) == len(MUTANTS)
    assert not any("," in each.name for each in MUTANTS), "--only separates names by commas"


def test_they_are_published() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text()
    assert table() in page, f"docs/reliability.md has another table than:\n{table()}"
