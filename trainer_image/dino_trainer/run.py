"""What an action is given besides its spec."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dino_api.names import Action
from dino_trainer.distributed.world import World
from dino_trainer.results.output import Output

if TYPE_CHECKING:
    from dino_trainer.report import Reporter
    from dino_trainer.report.quiet_reporter import QuietReporter


@dataclass(frozen=True)
class RunContext:
    """One run of one action.

    output: where results go. reporter: who is told. work_dir: scratch space for staged data.
    stop: set when the process was asked to end; the action saves a checkpoint and raises Preempted.
    digest: the spec's digest (`dino_api.experiment.digest`). It does not cover the data's content,
    which the checkpoint remembers: resuming on other data under the same URI is refused.
    run_id: the resource's uid in a cluster, else a random name.
    world: the processes that share the work; the reporter of all but rank 0 says nothing.
    action: which of the spec's sections is this run's own.
    """

    output: Output
    reporter: Reporter | QuietReporter
    work_dir: Path
    stop: threading.Event
    digest: str
    run_id: str
    world: World = field(default_factory=World)
    action: Action = Action.TRAIN

    @contextmanager
    def staging(self) -> Iterator[None]:
        """Tells the reporter how long it took to bring data here: what is done inside of it."""
        started = time.monotonic()
        yield
        self.reporter.staged(time.monotonic() - started)
