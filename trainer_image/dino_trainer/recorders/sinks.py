"""Services that record a training beside our own reports: TensorBoard and MLflow.

They are worth less than the training: what one of them cannot do is said once, and it goes on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, Protocol

from dino_api.experiment import ExperimentSpec
from dino_api.names import FailureReason
from dino_api.result import Metrics, Progress
from dino_trainer.errors import failure_of
from dino_trainer.recorders.mlflow_sink import TRACKING_URI, MlflowSink
from dino_trainer.recorders.tensorboard_sink import TensorBoardSink
from dino_trainer.report.meter import NO_PARTS, LossParts
from dino_trainer.run import RunContext
from dino_trainer.train.run import Watcher

Outcome = Literal["FINISHED", "FAILED", "KILLED"]


class Sink(Watcher, Protocol):
    """A Watcher that never raises, and that wants to know the end."""

    def close(self, outcome: Outcome) -> None: ...


class Watchers:
    """Several as one."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self._watchers = watchers

    def progress(self, progress: Progress, parts: LossParts = NO_PARTS) -> None:
        for watcher in self._watchers:
            watcher.progress(progress, parts)

    def validated(self, epoch: int, metrics: Metrics, best: bool) -> None:
        for watcher in self._watchers:
            watcher.validated(epoch, metrics, best)


@contextmanager
def recorded(
    spec: ExperimentSpec, context: RunContext, loggers: dict[str, str], step: int
) -> Iterator[Watcher]:
    """The reporter and all sinks that are switched on, which hear of the end by themselves.

    loggers: what the services call this training, from its checkpoint; filled in where they give
    it a name. step: where the training goes on.
    """
    sinks = open_sinks(spec, context, loggers, step)
    outcome: Outcome = "FAILED"
    try:
        yield Watchers([context.reporter, *sinks])
        outcome = "FINISHED"
    except BaseException as error:
        stopped = failure_of(error).reason == FailureReason.PREEMPTED
        outcome = "KILLED" if stopped else "FAILED"
        raise
    finally:
        for sink in sinks:
            sink.close(outcome)


def open_sinks(
    spec: ExperimentSpec, context: RunContext, loggers: dict[str, str], step: int
) -> list[Sink]:
    """Opens what spec and environment ask for, in the first of several processes alone."""
    sinks: list[Sink] = []
    if not context.world.is_main:
        return sinks
    if spec.train.tensorboard:
        sinks.append(TensorBoardSink(context.output, context.reporter.say, step))
    if os.environ.get(TRACKING_URI):
        sinks.append(MlflowSink(spec, context, loggers, step))
    return sinks
