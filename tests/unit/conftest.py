"""Fixtures of the unit tests."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from dino_operator.plan.search import ends
from dino_trainer.machine.child_processes import PRELOADED
from dino_trainer.report import reporter
from dino_trainer.storage import byte_meter
from tests.patience import LONG
from tests.unit import s3_server as server_module
from tests.unit.durability import Place
from tests.unit.s3_proxy import S3Proxy
from tests.unit.s3_server import BUCKET, S3Server
from tests.unit.trainer_command import Command

if TYPE_CHECKING:
    from tests.unit.durable_runs import Dino

# One server forks for all tests of a process, whichever of them is the first: workers of loaders,
# ranks, whole commands.
PRELOADED += [
    "tests.unit.ranks",
    "timm",
    "dino_trainer.storage.s3",
    *(f"dino_trainer.actions.{action}" for action in ("train", "evaluate", "inference")),
]
multiprocessing.set_forkserver_preload(PRELOADED)


@pytest.fixture(scope="session")
def s3_binary() -> Path:
    """The S3 server's program."""
    if why := server_module.missing():
        print(why)
        pytest.skip(why)
    return server_module.build()


@pytest.fixture(scope="session")
def _running_s3(s3_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(s3_binary, tmp_path_factory.mktemp("s3"))
    server.start()
    server.client().create_bucket(Bucket=BUCKET)
    yield server
    server.stop()


@pytest.fixture
def patient_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is there is waited for as long as it takes, whatever a test's patience with one
    that is away."""
    from dino_trainer.storage import s3

    monkeypatch.setattr(s3, "_SHORTEST", LONG)


@pytest.fixture
def s3_server(_running_s3: S3Server, patient_s3: None, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """A running S3 server with one bucket, and the environment that leads to it.

    One server for the whole session: tests keep apart by prefixes of their own.
    """
    for name, value in _running_s3.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DINO_STORAGE_PATIENCE", str(LONG))
    return _running_s3


@pytest.fixture
def own_s3_server(
    s3_binary: Path, tmp_path: Path, patient_s3: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[S3Server]:
    """A server that a test may stop and start."""
    server = S3Server(s3_binary, tmp_path / "s3")
    server.start()
    server.client().create_bucket(Bucket=BUCKET)
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    yield server
    server.stop()


@pytest.fixture
def command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    """The `dino` command as in a pod, with a spec that is good as it is."""
    made = Command(tmp_path, capsys, monkeypatch)
    monkeypatch.setenv("DINO_WORK_DIR", str(tmp_path / "work"))
    monkeypatch.setattr(reporter, "TERMINATION_LOG", made.termination)
    return made


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    """A command handles signals; a process forked by a later test must still end by SIGTERM."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Commands set up logging for their process, which here is every test's process."""
    root = logging.getLogger()
    handlers, level, kopf = root.handlers[:], root.level, logging.getLogger("kopf").level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("kopf").setLevel(kopf)


@pytest.fixture
def silent_meters(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line says how far a copy is, which one does on a busy machine. For who counts lines."""
    monkeypatch.setattr(byte_meter, "time", SimpleNamespace(monotonic=lambda: 0.0))


@pytest.fixture
def no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search itself has no reason to end, unless a test says so."""
    monkeypatch.setattr(ends, "reached", lambda view, trials: None)


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A results_dir of each kind."""
    if request.param == "local":
        return Place(str(tmp_path / "results"), tmp_path, None)
    s3_place: Place = request.getfixturevalue("s3_place")
    return s3_place


@pytest.fixture
def s3_place(s3_server: S3Server, tmp_path: Path) -> Place:
    """A results_dir on S3."""
    return Place(f"s3://{BUCKET}/{tmp_path.name}", tmp_path, s3_server)


@pytest.fixture
def slow_place(
    s3_place: Place, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """One whose server the trainer reaches through a proxy that holds the latest checkpoint."""
    s3_place.proxy = S3Proxy(s3_server.port, hold="dino_model_latest.pth")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_place.proxy.endpoint)
    yield s3_place
    s3_place.proxy.close()


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A real file system of 4 MB."""
    folder = Path(f"/tmp/dino-small-disk-{uuid.uuid4().hex}")
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        stack.callback(folder.rmdir)
        mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
            pytest.skip("a small disk needs the right to mount")
        stack.callback(subprocess.run, ["umount", "-l", str(folder)], check=True)
        yield folder


@pytest.fixture
def dino(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Dino:
    """`dino train` in this process, with a real training."""
    from tests.unit.durable_runs import Dino  # and with it torch

    return Dino(tmp_path, capsys, monkeypatch)
