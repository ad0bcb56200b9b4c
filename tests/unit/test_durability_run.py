"""`dino train` where storage is slow, away or full."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from dino_trainer.errors import TrainerError
from dino_trainer.model_files import checkpoint
from dino_trainer.model_files.checkpoint import BEST, LATEST, PREVIOUS
from tests.patience import LONG, Patience
from tests.unit.dino_process import Dino as DinoProcess
from tests.unit.durability import Place, said_by
from tests.unit.durable_runs import (
    EVERY_STEP,
    EVERY_TWO,
    Dino,
    at_step,
    checkpoint_of,
    spec_at,
    train_at,
)
from tests.unit.training_builders import Recorder, latest, run, spec_for


def test_steps_go_on_while_an_upload_hangs(slow_place: Place, tmp_path: Path) -> None:
    """The first upload is let through by the seventh step: were it waited for, that never came."""
    proxy = slow_place.proxy

    def at(number: int) -> None:
        if number == 2:
            assert proxy.holding.wait(LONG)
        if number == 7:
            assert not proxy.released.is_set()
            proxy.release()

    recorder = Recorder(at)
    train_at(slow_place, spec_at(slow_place, tmp_path, *EVERY_STEP), recorder)
    assert len(recorder.steps) == 8
    found = checkpoint_of(slow_place, tmp_path, LATEST)
    assert found is not None
    assert found["step"] == 8
    assert checkpoint_of(slow_place, tmp_path, PREVIOUS) is None, "nothing is left to resume"


def test_a_server_that_is_away_for_a_while(
    slow_place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps go on, the upload is tried again, and all is there in the end."""
    monkeypatch.setenv("DINO_STORAGE_PATIENCE", "60")
    proxy = slow_place.proxy
    proxy.release()

    class Lines(list[str]):
        def append(self, line: str) -> None:
            super().append(line)
            if "Trying again in 2 s" in line:
                proxy.refusing.clear()

    recorder = Recorder(lambda number: proxy.refusing.set() if number == 3 else None)
    recorder.events = Lines()
    train_at(slow_place, spec_at(slow_place, tmp_path, *EVERY_TWO), recorder)
    assert said_by(recorder.events, "Trying again in 1 s")
    found = checkpoint_of(slow_place, tmp_path, LATEST)
    assert found is not None
    assert found["step"] == 8


def test_a_server_that_is_away_for_good(
    slow_place: Place, tmp_path: Path, dino: Dino, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DINO_STORAGE_PATIENCE", "1")
    slow_place.proxy.release()

    def cut() -> None:
        """Once what an earlier step has left is there, however long that takes."""
        waiting = Patience(60)
        while LATEST not in slow_place.open().published():
            assert waiting.lasts(), "no checkpoint is published"
            time.sleep(0.1)
        slow_place.proxy.refusing.set()

    at_step(monkeypatch, 5, cut)
    code, said = dino.run(spec_at(slow_place, tmp_path, *EVERY_TWO))
    assert code == 69, said
    assert "StorageUnavailable" in dino.message.read_text()
    [kept] = (tmp_path / "work" / "output").glob(f"*/train/{LATEST}")
    assert f"is kept at {kept}" in said
    assert checkpoint.read(kept)["step"] >= 6
    slow_place.proxy.refusing.clear()
    found = checkpoint_of(slow_place, tmp_path, LATEST)
    assert found is not None
    assert found["step"] in (2, 4)


def test_a_stop_waits_for_the_last_upload_no_longer_than_it_may(
    slow_place: Place, tmp_path: Path
) -> None:
    """The exit code is that of a stop, though a thread hangs in the upload."""
    spec = spec_at(slow_place, tmp_path, *EVERY_TWO)
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(spec.model_dump(mode="json", exclude_defaults=True)))
    dino = DinoProcess(tmp_path / "dino", ["train", "-e", str(path)], pause_at=5, stop_seconds=0.5)
    dino.paused()
    assert slow_place.proxy.holding.wait(LONG)
    dino.signal(signal.SIGTERM)
    dino.go()
    assert dino.wait() == 143, dino.log
    assert "Stopped on request after step 5 of 8; a checkpoint is saved." in dino.log
    assert f"{LATEST}, {BEST} could not be published within" in dino.log


def test_a_full_disk_keeps_the_last_good_checkpoint(
    small_disk: Path, tmp_path: Path, dino: Dino
) -> None:
    """It has room for one checkpoint and a part of the next."""
    spec = spec_for(tmp_path, f"results_dir={small_disk}", *EVERY_TWO)
    code, said = dino.run(spec)
    assert code == 74, said
    assert "No space left" in said
    assert "DiskFull" in dino.message.read_text()
    assert latest(spec)["step"] == 2
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    recorder = Recorder()
    run(spec, recorder)
    assert recorder.steps[0].step == 3


def test_a_lost_bucket_is_said(s3_place: Place, tmp_path: Path) -> None:
    """What cannot be published for another reason than absence ends the run too."""
    s3_place.results_dir = "s3://no-such-bucket/x"
    spec = spec_at(s3_place, tmp_path, *EVERY_STEP)
    with pytest.raises(TrainerError, match="no bucket no-such-bucket") as caught:
        train_at(s3_place, spec, Recorder())
    assert caught.value.exit_code == 66
