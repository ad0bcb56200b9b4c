"""What is known of one trial, whoever runs it."""

from __future__ import annotations

from dataclasses import dataclass, field

from dino_api import metric
from dino_api.resources import dinoautoml
from dino_api.resources.dinoautoml import Assignment, TrialState
from dino_operator.plan.model import Object

LIVE: frozenset[str] = frozenset({"Pending", "Running"})
MAY_WIN: frozenset[str] = frozenset({"Succeeded", "Pruned", "Stopped"})


@dataclass(frozen=True)
class Point:
    """One validation: after how many epochs, and its mAP50."""

    epoch: int
    mAP50: float


@dataclass(frozen=True)
class Trial:
    """What is known of one trial, whoever runs it.

    number: 0 for the baseline; unique in the search. parameters: what was drawn, empty for the
    baseline. mAP50: its best validation, also of a trial that was stopped. checkpoint: its best
    one, as DinoJob.status.checkpoint has it; a trial without one cannot win. specification: the
    experiment that it trains. reason: of the failure catalogue, or Katib's own word.
    started, ended: RFC 3339 times, empty before.
    """

    number: int
    name: str
    state: TrialState
    parameters: Assignment = field(default_factory=dict)
    mAP50: float | None = None
    epoch: int | None = None
    reason: str = ""
    message: str = ""
    started: str = ""
    ended: str = ""
    gpu_seconds: int | None = None
    curve: tuple[Point, ...] = ()
    checkpoint: Object | None = None
    specification: Object | None = None

    @property
    def is_live(self) -> bool:
        """Whether it may still use a GPU, now or later."""
        return self.state in LIVE


def to_status(trial: Trial, points: int, text: int) -> Object:
    """The trial's row in status.history.

    points: how long its curve may be. text: how long its message. A trial that runs has no numbers:
    each of them would cost a write, and its DinoJob shows them.
    """
    row = dinoautoml.TrialRecord(
        number=trial.number,
        name=trial.name,
        state=trial.state,
        parameters=trial.parameters,
        mAP50=None if trial.mAP50 is None or trial.is_live else metric.rounded(trial.mAP50),
        epoch=None if trial.is_live else trial.epoch,
        reason=trial.reason or None,
        message=trial.message[:text] or None,
        start_time=trial.started or None,
        completion_time=trial.ended or None,
        gpu_seconds=trial.gpu_seconds,
        curve=[] if trial.is_live else thinned(trial.curve, points),
    )
    return {key: value for key, value in row.to_dict().items() if value not in ([], None)}


def thinned(curve: tuple[Point, ...], points: int) -> list[float]:
    """A curve of at most so many values, evenly spread, first and last among them."""
    values = [metric.rounded(each.mAP50) for each in curve]
    if len(values) <= points:
        return values
    last = len(values) - 1
    return [values[round(index * last / (points - 1))] for index in range(points)]
