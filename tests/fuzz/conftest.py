"""Every test here runs in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.harness import bounded_memory


@pytest.fixture(autouse=True, scope="module")
def _in_bounded_memory() -> Iterator[None]:
    with bounded_memory():
        yield


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where readers find their files; each input takes the place of the one before."""
    return tmp_path_factory.mktemp("fuzz")
