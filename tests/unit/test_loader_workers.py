"""Where a loader's workers come from, what they are sent, and what is said when one dies."""

from __future__ import annotations

import importlib.util
import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from dino_api.experiment import DatasetConfig
from dino_trainer.data.loader import eval_loader, train_loader
from dino_trainer.data.sampler import TrainPlan
from dino_trainer.data.workers import Loader, Requests
from dino_trainer.errors import TrainerError, failure_of
from dino_trainer.inference.stream import stream
from dino_trainer.machine.child_processes import named_main
from tests.unit.training_builders import a_dataset, load_folder

LOCK = threading.Lock()
"""As a library has them, such as OpenSSL."""
FORKS: list[int] = []
ONE = DatasetConfig(workers=1)


@pytest.fixture(scope="module", autouse=True)
def _forks_are_counted() -> None:
    os.register_at_fork(before=lambda: FORKS.append(1))


class Locked(torch.utils.data.Dataset[Any]):
    """Needs the library's lock to read."""

    def __getitem__(self, request: tuple[int, Any]) -> torch.Tensor:
        assert LOCK.acquire(timeout=5), "nobody will ever give it back here"
        LOCK.release()
        return torch.full((3,), request[0])


class Unsendable(torch.utils.data.Dataset[Any]):
    """Reads what cannot be sent, as where shared memory is full."""

    def __getitem__(self, request: tuple[int, Any]) -> Full:
        return Full()


class Full(torch.utils.data.Dataset[Any]):
    """Raises when it is sent."""

    def __reduce__(self) -> Any:
        raise RuntimeError("unable to allocate shared memory(shm)")


class Slow(torch.utils.data.Dataset[Any]):
    """Is still reading while something else happens."""

    def __getitem__(self, request: tuple[int, Any]) -> None:
        time.sleep(30)


class Dying(torch.utils.data.Dataset[Any]):
    """The worker gets a signal while it reads."""

    def __getitem__(self, request: tuple[int, signal.Signals]) -> None:
        os.kill(os.getpid(), request[1])
        time.sleep(100)


def of(dataset: torch.utils.data.Dataset[Any], item: Any) -> Iterator[Any]:
    return iter(Loader(dataset, Requests([[0], [1]], lambda _: item), list, ONE, pin=False))


def test_a_lock_that_a_thread_holds_as_workers_start_is_not_held_in_them() -> None:
    """A training hung for ever: progress was sent while its first worker was forked from it."""
    with LOCK:
        batches = of(Locked(), None)
        assert [batch[0].tolist() for batch in batches] == [[0, 0, 0], [1, 1, 1]]


def test_what_python_m_runs_is_imported_by_the_server() -> None:
    """A worker took seconds to start: it imported all that its program does, each time."""
    run = importlib.util.spec_from_file_location("tests.bench.staging", "staging.py")
    for spec, names in ((run, ["tests.bench.staging"]), (None, [])):
        main = ModuleType("__main__")
        main.__spec__ = spec
        assert named_main(main) == names
    main = ModuleType("__main__")
    main.__spec__ = importlib.util.spec_from_file_location("dino_trainer.__main__", "m.py")
    assert named_main(main) == []


def test_no_loader_forks_the_process_that_reads_from_it(tmp_path: Path) -> None:
    data = load_folder(a_dataset(tmp_path / "data"))
    plan = TrainPlan(len(data.images), 2, 1, seed=0)
    files = [image.file for image in data.images]
    before = len(FORKS)
    for loader in (
        train_loader(data, ONE, plan),
        eval_loader(data, ONE, [[0, 1], [2]], pin=False),
        stream(files, ONE, [[0, 1], [2]], pin=False),
    ):
        assert list(loader)
    assert len(FORKS) == before


def test_a_worker_is_sent_what_it_reads_and_not_the_data_set(tmp_path: Path) -> None:
    """Whatever the loader has is copied to each of its workers when it starts."""
    few, many = (load_folder(a_dataset(tmp_path / str(n), images=n)) for n in (4, 40))
    sizes = []
    for data in (few, many):
        plan = TrainPlan(len(data.images), 2, 1, seed=0)
        places, files = list(range(len(data.images))), [image.file for image in data.images]
        loaders = (
            train_loader(data, ONE, plan)._micro_batches,
            eval_loader(data, ONE, [places], pin=False),
            stream(files, ONE, [places], pin=False),
        )
        sizes.append([len(pickle.dumps(one._loader.dataset)) for one in loaders])
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize(
    "number, words",
    [(signal.SIGKILL, "out of host memory"), (signal.SIGBUS, "no room left in /dev/shm")],
)
def test_a_worker_that_is_killed_is_told_by_what_its_signal_means(
    number: signal.Signals, words: str
) -> None:
    with pytest.raises(RuntimeError, match="killed by signal") as caught:
        next(of(Dying(), number))
    failure = failure_of(caught.value)
    assert (failure.reason, failure.exit_code) == ("OutOfMemory", 137)
    assert words in failure.message


def test_a_signal_that_means_nothing_to_us_is_told_by_its_name() -> None:
    with pytest.raises(RuntimeError, match="killed by signal: Segmentation fault") as caught:
        next(of(Dying(), signal.SIGSEGV))
    assert failure_of(caught.value).reason == "InternalError"


def test_a_batch_that_cannot_be_sent_is_told() -> None:
    """The reader waited for it for ever: Python prints such an error in the worker and goes on."""
    with pytest.raises(RuntimeError, match="unable to allocate shared memory") as caught:
        next(of(Unsendable(), None))
    failure = failure_of(caught.value)
    assert (failure.reason, failure.exit_code) == ("OutOfMemory", 137)


def test_a_server_that_is_killed_is_told_and_started_again() -> None:
    """Where it ends, multiprocessing takes its processes as ended, too."""
    batches = of(Slow(), None)
    server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    os.kill(server, signal.SIGKILL)
    with pytest.raises(TrainerError, match="forked from has ended") as caught:
        next(batches)
    assert caught.value.reason == "Crashed"
    assert "dataset.workers: 0" in caught.value.remedy
    assert len(list(of(Locked(), None))) == 2


@pytest.mark.parametrize("error", [EOFError(), OSError("AF_UNIX path too long")])
def test_a_server_that_forks_no_worker_is_told(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends where it may have no more processes, and its reader hears of an end of file."""

    def refuses(_: object) -> None:
        raise error

    monkeypatch.setattr(forkserver, "connect_to_new_process", refuses)
    with pytest.raises(TrainerError, match="No process can be started") as caught:
        of(Locked(), None)
    for cause in ("TMPDIR", "ulimit -u", "dataset.workers: 0"):
        assert cause in caught.value.remedy


def test_workers_start_where_the_working_directory_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert len(list(of(Locked(), None))) == 2
