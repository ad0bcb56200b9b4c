"""Every test here runs in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.harness import EXAMPLES, FOUND, bounded_memory


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write down at once what failed: a run of hours that is stopped still tells it."""
    of_a_worker = "PYTEST_XDIST_WORKER" in os.environ
    if EXAMPLES and report.failed and not of_a_worker:
        FOUND.mkdir(parents=True, exist_ok=True)
        with (FOUND / "failures.txt").open("a") as file:
            file.write(f"{report.nodeid}\n{report.longreprtext}\n\n")


@pytest.fixture(autouse=True, scope="module")
def _in_bounded_memory() -> Iterator[None]:
    with bounded_memory():
        yield


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where readers find their files; each input takes the place of the one before."""
    return tmp_path_factory.mktemp("fuzz")
