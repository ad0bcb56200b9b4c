"""`dino` in real processes that can be paused at a step and killed.

They are forked from a server that has the trainer imported: a start takes a tenth of a second.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dino_trainer.machine.child_processes import end_with_parent
from tests.patience import LONG, Patience

SERVER = multiprocessing.get_context("forkserver")


@dataclass
class Dino:
    """`dino <arguments>`, started at once, its output in `folder`/log.

    pause_at: after this step the training waits for `go`.
    stop_seconds: how long a stopped run may wait for its uploads.
    """

    folder: Path
    arguments: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    pause_at: int = 0
    stop_seconds: float = 90.0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        env = {**os.environ, "DINO_WORK_DIR": str(self.folder / "work"), **self.env}
        self.process = SERVER.Process(target=_run, args=(self, env), daemon=False)
        self.process.start()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def signal(self, number: int) -> None:
        assert self.process.pid
        os.kill(self.process.pid, number)

    def paused(self) -> None:
        """Returns once the training waits at its step."""
        self.until((self.folder / "paused").exists)

    def go(self) -> None:
        (self.folder / "go").touch()

    def until(self, true: Callable[[], object]) -> None:
        """Returns once this is true. Fails with the log where the process ends first."""
        waiting = Patience(120)
        while not true():
            assert self.process.is_alive(), self.log
            assert waiting.lasts(), self.log
            time.sleep(0.02)

    def wait(self) -> int:
        """The exit code; negative for a signal."""
        self.process.join(LONG)
        code = self.process.exitcode
        self.kill()
        assert code is not None, self.log
        return code

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


def _run(dino: Dino, env: Mapping[str, str]) -> None:
    end_with_parent()  # a paused one would outlive a killed pytest, and the server with it
    os.environ.clear()
    os.environ.update(env)
    log = os.open(dino.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    from dino_api.result import Progress
    from dino_trainer.command import cli
    from dino_trainer.report.meter import LossParts
    from dino_trainer.report.reporter import Reporter
    from dino_trainer.results import output

    progress = Reporter.progress

    def pausing(reporter: Reporter, now: Progress, *parts: LossParts) -> None:
        progress(reporter, now, *parts)
        if now.step == dino.pause_at:
            (dino.folder / "paused").touch()
            while not (dino.folder / "go").exists():
                time.sleep(0.01)

    Reporter.progress = pausing
    output.STOP_SECONDS = dino.stop_seconds
    sys.exit(cli.main(dino.arguments))
