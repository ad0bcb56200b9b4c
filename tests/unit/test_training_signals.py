"""The real command in a process of its own, signalled as process managers do it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

from tests.patience import LONG, Patience
from tests.unit.training_builders import a_dataset, a_spec


def test_a_signal_to_the_whole_group_keeps_the_workers_and_saves(tmp_path: Path) -> None:
    """`timeout`, slurm and terminals signal the data loader's workers too."""
    data = a_dataset(tmp_path / "data")
    spec = a_spec(data, data, "dataset.workers=1", "train.num_epochs=500")
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(spec.model_dump(mode="json", exclude_defaults=True)))
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("dino"), "train", "-e", path],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "DINO_WORK_DIR": str(tmp_path / "work"), "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        latest = Path(spec.results_dir) / "train" / "dino_model_latest.pth"
        try:
            wait_for(latest, process, log)
            os.killpg(process.pid, signal.SIGTERM)
            code = process.wait(LONG)
        finally:
            process.kill()
    assert code == 143, log.read_text()


def wait_for(path: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until the file is there. Fails with the log where the process ends first."""
    waiting = Patience(120)
    while not path.exists():
        assert process.poll() is None, log.read_text()
        assert waiting.lasts(), log.read_text()
        time.sleep(0.1)
