"""SIGKILL of `dino` leaves no process behind: on a laptop no pod ends what it has started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from uuid import uuid4

import pytest
import torch
import yaml

from dino_api.experiment import DatasetConfig
from dino_trainer.data.workers import Loader, Requests
from tests.patience import LONG, Patience
from tests.unit.dino_process import SERVER
from tests.unit.preflight_lab import picture
from tests.unit.s3_server import free_port
from tests.unit.training_builders import a_dataset, a_spec, source

MARK = "DINO_TEST_MARK"
RANK = """
import pathlib, sys, time
from dino_trainer.distributed.processes import end_with_launcher
time.sleep({before})
end_with_launcher()
pathlib.Path({folder!r}, str(time.monotonic_ns())).touch()
time.sleep(1000)
"""
# As a rank does, it only notes a request to end; and the other one never comes.
FIRST_RANK = """
import os, pathlib, signal, sys
from dino_trainer.distributed.group import joined
from dino_trainer.distributed.processes import end_with_launcher
end_with_launcher()
signal.signal(signal.SIGTERM, lambda *_: None)
if os.environ["RANK"] == "1":
    sys.exit()
place = {{"WORLD_SIZE": "2", "LOCAL_RANK": "0"}}
place |= {{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "{port}"}}
pathlib.Path({folder!r}, "waits").touch()
with joined(0, {{**os.environ, **place}}):
    pass
"""
LAUNCHER = """
import os, sys, time
from dino_trainer.distributed.processes import Processes
ranks = Processes([sys.executable, "-c", {rank!r}], [dict(os.environ, RANK=str(n)) for n in (0, 1)])
time.sleep(1000)
"""


def until(true: Callable[[], object], told: Callable[[], object]) -> None:
    """Returns once this is true."""
    waiting = Patience(LONG)
    while not true():
        assert waiting.lasts(), told()
        time.sleep(0.02)


def running(id: int) -> bool:
    """Whether it is there and has not ended; nobody may be there to take in its end."""
    with suppress(OSError):
        return Path(f"/proc/{id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


class Marked:
    """A process, and all that come of it, known by their environment."""

    def __init__(self, log: Path, command: list[str]) -> None:
        self.log, value = log, str(uuid4())
        self._mark = f"{MARK}={value}".encode()
        more = {MARK: value, "OMP_NUM_THREADS": "1", "DINO_WORK_DIR": str(log.parent / "work")}
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, *command], stdout=file, stderr=file, env={**os.environ, **more}
            )

    @property
    def others(self) -> list[int]:
        """The ids of those that it has started, and that still run."""
        return [id for id in self._all() if id != self.process.pid]

    def _all(self) -> Iterator[int]:
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if self._mark in (place / "environ").read_bytes().split(b"\0"):
                    yield int(place.name)

    def until(self, true: Callable[[], object]) -> None:
        until(true, lambda: (self.others, self.log.read_text()))

    def killed(self) -> None:
        """By SIGKILL, and then nothing is left."""
        self.process.kill()
        self.process.wait()
        self.until(lambda: not self.others)

    def close(self) -> None:
        for id in self._all():
            with suppress(ProcessLookupError):
                os.kill(id, signal.SIGKILL)
        self.process.wait()


Start = Callable[..., Marked]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Marked] = []

    def starting(*command: str) -> Marked:
        started.append(Marked(tmp_path / f"log{len(started)}", list(command)))
        return started[-1]

    yield starting
    for each in started:
        each.close()


def killed(process: BaseProcess, started: list[int]) -> None:
    """By SIGKILL, and none of those is left that it has started."""
    assert all(map(running, started))
    process.kill()
    process.join()
    try:
        until(lambda: not any(map(running, started)), lambda: started)
    finally:
        for id in filter(running, started):
            os.kill(id, signal.SIGKILL)


def a_training(folder: Path, *overrides: str) -> str:
    """The path of a spec that trains on 8 images for a long time."""
    a_dataset(folder / "data")
    spec = a_spec(folder / "data", folder / "data", "train.num_epochs=5000", *overrides)
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(spec.model_dump(mode="json", exclude_defaults=True)))
    return str(path)


def many_images(folder: Path) -> Path:
    """So many that several processes look at them, each of which takes a moment: one file."""
    (folder / "images").mkdir(parents=True)
    picture(0, (1600, 1200)).save(folder / "images" / "0.png")
    names = [f"{number}.png" for number in range(4000)]
    for name in names[1:]:
        (folder / "images" / name).hardlink_to(folder / "images" / "0.png")
    entries = [
        {"id": place, "file_name": name, "width": 1600, "height": 1200}
        for place, name in enumerate(names, start=1)
    ]
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40], "area": 1200}
    told = {"images": entries, "annotations": [box], "categories": [{"id": 1, "name": "red"}]}
    (folder / "annotations.json").write_text(json.dumps(told))
    return folder


def test_processes_that_look_at_images_for_preflight(tmp_path: Path, start: Start) -> None:
    """A fork server ends with its last worker, and the workers waited for the server."""
    data = {"train_data_sources": [source(many_images(tmp_path / "data"))]}
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump({"results_dir": str(tmp_path / "results"), "dataset": data}))
    checking = start("-m", "dino_trainer", "preflight", "-e", str(path))
    # A tracker of resources, the server, and at least one worker.
    checking.until(lambda: len(checking.others) > 2)
    checking.killed()


class Hangs(torch.utils.data.Dataset):
    """Reads for ever, as from a network disk that is away. A file says which process does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, request: tuple[int, int]) -> None:
        (self.folder / f"{os.getpid()}").touch()
        time.sleep(1000)


def load(folder: Path) -> None:
    requests = Requests([[0], [1]], abs)
    next(iter(Loader(Hangs(folder), requests, list, DatasetConfig(workers=2), pin=False)))


def test_loader_workers_that_hang_in_a_read(tmp_path: Path) -> None:
    """Torch looks for its parent between two reads only, and for that of the kernel."""
    loading = SERVER.Process(target=load, args=(tmp_path,), daemon=False)
    loading.start()
    until(lambda: len(list(tmp_path.iterdir())) == 2, loading.is_alive)
    killed(loading, [int(path.name) for path in tmp_path.iterdir()])


@pytest.mark.parametrize("before", [0, 5])
def test_ranks_of_a_launcher(before: int, tmp_path: Path, start: Start) -> None:
    """It is killed when they run, or 5 seconds before they would ask the kernel for a signal."""
    (tmp_path / "ranks").mkdir()
    rank = RANK.format(before=before, folder=str(tmp_path / "ranks"))
    launching = start("-c", LAUNCHER.format(rank=rank))
    wanted = (lambda: len(list((tmp_path / "ranks").iterdir()))) if before == 0 else (
        lambda: len(launching.others)
    )  # fmt: skip
    launching.until(lambda: wanted() == 2)
    launching.killed()


def test_ranks_of_a_training_that_is_killed_as_they_start(tmp_path: Path, start: Start) -> None:
    spec = a_training(tmp_path, "train.num_processes=2", "dataset.batch_size=1")
    training = start("-m", "dino_trainer", "train", "-e", spec)
    training.until(lambda: len(training.others) >= 2)  # soon each has a server of workers, too
    training.killed()


def test_a_rank_that_waits_for_others(tmp_path: Path, start: Start) -> None:
    """It heard of no signal for the ten minutes that the others may take."""
    rank = FIRST_RANK.format(folder=str(tmp_path), port=free_port())
    launching = start("-c", LAUNCHER.format(rank=rank))
    launching.until((tmp_path / "waits").exists)
    launching.until(lambda: len(launching.others) == 1)
    launching.killed()
