"""What the processes of one run of pytest share (`-n 2`): a folder, and work that is done once."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ALONE = "alone"
"""The mark of a test that takes from all others what they need: operator, store or node."""
WORKER = "PYTEST_XDIST_WORKER"
"""pytest-xdist names in it the process that runs tests beside others."""


def run_folder(factory: pytest.TempPathFactory) -> Path:
    """One folder for the whole run: with `-n` each process has its own below it."""
    mine = factory.getbasetemp()
    return mine.parent if WORKER in os.environ else mine


@contextmanager
def one_at_a_time(folder: Path, name: str) -> Iterator[None]:
    """Wait for whoever holds that name. The kernel lets go of it when its holder dies."""
    with (folder / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def once(run: Path, name: str, work: Callable[[Path], None]) -> Path:
    """A folder of that name in the run's, in which the first that gets here has done the work.

    Who comes later waits for its end, or does it anew where it failed.
    """
    folder, done = run / name, run / f"{name}.done"
    with one_at_a_time(run, name):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            work(folder)
            done.touch()
    return folder


def refuse_company(item: pytest.Item) -> None:
    """Fails a test that is to run alone where others may run beside it."""
    if item.get_closest_marker(ALONE) and WORKER in os.environ:
        pytest.fail(
            f'{item.name} disturbs tests beside it: with -n, give -m "not {ALONE}", '
            f"and run -m {ALONE} by itself (make test-e2e does both)",
            pytrace=False,
        )
