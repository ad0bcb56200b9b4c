"""What the processes of one run of the cluster tests share is made once, and by one at a time."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from tests.e2e.shared import ALONE, WORKER, once, refuse_company

PROCESSES = 4


def make(run: Path) -> None:
    """A line for each time that the work is done."""

    def work(folder: Path) -> None:
        with (run / "log").open("a") as log:
            log.write(f"{os.getpid()}\n")
        (folder / "data").write_text("all of it")

    assert (once(run, "data", work) / "data").read_text() == "all of it"


def test_the_first_of_several_processes_does_the_work_and_the_others_wait(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=make, args=(tmp_path,)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    assert len((tmp_path / "log").read_text().splitlines()) == 1


def test_work_that_failed_is_done_anew(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("no room")

    with pytest.raises(RuntimeError, match="no room"):
        once(tmp_path, "data", fail)
    folder = once(tmp_path, "data", lambda folder: (folder / "whole").touch())
    assert [path.name for path in folder.iterdir()] == ["whole"]


@pytest.mark.alone
def an_item() -> None:
    """Stands for a test that takes the store away."""


def test_tests_that_disturb_others_are_refused_beside_them(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which would fail with somebody else's trouble."""
    item = pytest.Function.from_parent(request.node.parent, name="an_item", callobj=an_item)
    monkeypatch.delenv(WORKER, raising=False)
    refuse_company(item)
    monkeypatch.setenv(WORKER, "gw1")
    refuse_company(request.node)
    with pytest.raises(pytest.fail.Exception, match=f"^an_item .* -m {ALONE} by itself"):
        refuse_company(item)
