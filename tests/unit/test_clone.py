"""Tests run in any clone: what may lie beside one only adds to them."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
BESIDE = re.compile(r'/ "shared"|"shared/|import BCCD|golden\.SHARED')
SKIPS = re.compile(r"pytest\.(skip|mark\.skip|importorskip|xfail)|mark\.(skipif|xfail)")
ADDS = {
    "bench/photographs.py",  # else pictures that are made up
    "e2e/bccd.py",
    "e2e/conftest.py",  # collects test_photographs.py, or says that it does not
    "e2e/test_photographs.py",
    "model/golden.py",  # else the folders that are committed
    "model/test_golden.py",
}


def sources() -> dict[str, str]:
    """Every program under tests/ but this one, by its path there."""
    found = (path for path in TESTS.rglob("*.py") if path != Path(__file__).resolve())
    return {str(path.relative_to(TESTS)): path.read_text() for path in found}


def test_only_these_look_beside_the_checkout_and_none_of_them_skips() -> None:
    texts = sources()
    found = {path for path, text in texts.items() if BESIDE.search(text)}
    assert found == ADDS
    assert [path for path in sorted(found) if SKIPS.search(texts[path])] == []
