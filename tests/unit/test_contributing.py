"""CONTRIBUTING.md says what it takes to add something: the files, and no others."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from dino_api.failures import TABLE
from tests.unit.recipes import PACKAGES, RECIPES, ROOT, Recipe, carried_out

TEXT = (ROOT / "CONTRIBUTING.md").read_text()
SOURCE = re.compile(rf"`((?:{'|'.join(PACKAGES)})/[\w./-]+\.py)`")


def section(heading: str) -> str:
    _, _, rest = TEXT.partition(f"## {heading}\n")
    return rest.partition("\n## ")[0]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda each: each.check)
def test_a_section_names_the_files_that_its_recipe_changes(recipe: Recipe) -> None:
    named = set(SOURCE.findall(section(recipe.section)))
    old = {each for each in recipe.files if (ROOT / each).exists()}
    assert named - recipe.sometimes == old, f"'{recipe.section}' in CONTRIBUTING.md, or recipes.py"
    assert recipe.sometimes <= named


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda each: each.check)
def test_what_a_section_says_is_enough(recipe: Recipe, tmp_path: Path) -> None:
    ended = carried_out(recipe, tmp_path)
    assert ended.returncode == 0, f"'{recipe.section}' takes more by now:\n{ended.stderr}"


def test_the_exit_codes_that_are_free_are_those_of_nobody() -> None:
    """Below 64 programs say something of their own, from 124 on `timeout`, shells and signals."""
    ours = set(range(64, 124))
    taken = {rule.exit_code for rule in TABLE if rule.exit_code is not None}
    assert taken - ours == {128 + signal.SIGKILL, 128 + signal.SIGTERM}
    [(some, first, last)] = re.findall(
        r"\(([\d, ]+) and those from (\d+) to (\d+) are free\)", TEXT
    )
    free = {int(each) for each in some.split(", ")} | set(range(int(first), int(last) + 1))
    assert free == ours - taken
