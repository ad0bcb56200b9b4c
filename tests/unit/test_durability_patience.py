"""How long a server that is away is waited for, told by a clock of the test's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from dino_trainer.errors import TrainerError
from dino_trainer.storage import s3


@dataclass
class Away:
    """A server that answers from the second `back` on, on a clock that runs while one sleeps."""

    back: float
    now: float = 0.0
    asked: list[float] = field(default_factory=list)

    def ask(self, *_: object) -> str:
        self.asked.append(self.now)
        if self.now < self.back:
            raise TrainerError("StorageUnavailable", "It is away.")
        return "here"

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def store(self, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> s3.S3Store:
        monkeypatch.delenv("DINO_STORAGE_PATIENCE", raising=False)
        monkeypatch.setattr(s3.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(s3.time, "sleep", self.sleep)
        store = s3.open_s3("s3://bucket", said.append)
        monkeypatch.setattr(store, "_ask", self.ask)
        return store


def test_a_minute_is_outlasted(monkeypatch: pytest.MonkeyPatch) -> None:
    server, said = Away(back=60.0), []
    assert server.store(monkeypatch, said).read_bytes("x") == "here"
    waits = [line.rpartition("in ")[2] for line in said]
    assert waits[:5] == ["1 s.", "2 s.", "4 s.", "8 s.", "8 s."]


def test_what_is_away_for_good_is_given_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ends for a server's sake has several things left to write there."""
    server = Away(back=3600.0)
    store = server.store(monkeypatch, [])
    with pytest.raises(TrainerError, match="away"):
        store.read_bytes("x")
    assert 60 < server.now <= 120
    assert len(server.asked) < 25
    server.asked.clear()
    with pytest.raises(TrainerError, match="away"):
        store.write_bytes(b"", "y")
    assert len(server.asked) == 1
    server.now = 3590.0
    assert store.read_bytes("x") == "here", "much later there is patience again"


def test_in_a_hurry_everything_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Away(back=5.0)
    store = server.store(monkeypatch, [])
    store.hurry()
    with pytest.raises(TrainerError, match="away"):
        store.read_bytes("x")
    assert server.asked == [0.0]


@dataclass
class FakeTransfer:
    """Stands for s3transfer's manager: bytes move for `seconds`, and then the server is away.

    The first `failing` transfers end so. begun: how many there were.
    """

    server: Away
    seconds: float
    failing: int
    begun: int = 0

    def __enter__(self) -> FakeTransfer:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to end."""

    def upload(self, *_: object, subscribers: Sequence[Any], **__: object) -> FakeTransfer:
        self.begun += 1
        self.server.now += self.seconds
        for one in subscribers:
            one.on_progress(bytes_transferred=1)
        return self

    def result(self) -> None:
        if self.begun <= self.failing:
            raise ReadTimeoutError(endpoint_url="http://s3")


def upload(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, transfer: FakeTransfer) -> list[str]:
    """Sends a file, and returns what was said."""
    said: list[str] = []
    ask = s3.S3Store._ask
    store = transfer.server.store(monkeypatch, said)
    monkeypatch.setattr(store, "_ask", ask.__get__(store))
    monkeypatch.setattr(s3, "create_transfer_manager", lambda *_: transfer)
    path = tmp_path / "checkpoint"
    path.write_bytes(b"weights")
    store.upload(path, "checkpoint")
    return said


def test_an_upload_of_many_minutes_is_begun_again_as_well(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Patience had run out before the server was away at all."""
    transfer = FakeTransfer(Away(0), seconds=300, failing=1)
    [line] = upload(monkeypatch, tmp_path, transfer)
    assert line.endswith("Trying again in 1 s.")
    assert transfer.begun == 2


def test_but_not_for_ever(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    transfer = FakeTransfer(Away(0), seconds=300, failing=9)
    with pytest.raises(TrainerError, match="the answer took too long"):
        upload(monkeypatch, tmp_path, transfer)
    assert transfer.begun == 2
