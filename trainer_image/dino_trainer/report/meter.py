"""Numbers for whoever watches: smoothed loss, speed, time left."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class LossParts:
    """What the loss of a training is made of, by name.

    terms: of the last decoder layer, not weighted, under their published names, which are TAO's:
    loss_ce, loss_bbox, loss_giou.
    shares: weighted, so that they add up to the loss: the detector's own first, then what each
    binding to a teacher adds. Empty where the detector's own is all.
    """

    terms: Mapping[str, float] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)

    @property
    def distillation(self) -> float | None:
        """What the teacher adds in all; None without one."""
        return sum(list(self.shares.values())[1:]) if self.shares else None

    @property
    def named(self) -> dict[str, float]:
        """All of it, as services that record trainings get it."""
        shares = {f"loss_{name}": value for name, value in self.shares.items()}
        total = self.distillation
        return {**self.terms, **({} if total is None else {"loss_distillation": total}), **shares}


NO_PARTS = LossParts()


@dataclass
class Meter:
    """Measures training speed, leaving out validations and checkpoints from images per second.

    Speed, loss and its parts are averages over about the last fifty steps.
    """

    steps: int
    clock: Callable[[], float] = time.monotonic
    loss: float | None = None
    parts: LossParts = NO_PARTS
    step_seconds: float | None = None
    other_seconds: float = 0.0
    taken: int = 0
    _since: float = field(init=False)

    def __post_init__(self) -> None:
        self._since = self.clock()

    def step(self, loss: float | None, parts: LossParts = NO_PARTS) -> None:
        """A step ended with this loss of these parts; None if it had none worth telling."""
        now = self.clock()
        self.taken += 1
        weight = max(0.04, 1 / self.taken)  # a plain mean at first
        self.step_seconds = _smooth(self.step_seconds, now - self._since, weight)
        if loss is not None:
            self.loss = _smooth(self.loss, loss, weight)
            self.parts = LossParts(
                _smooth_all(self.parts.terms, parts.terms, weight),
                _smooth_all(self.parts.shares, parts.shares, weight),
            )
        self._since = now

    def resume(self) -> None:
        """What happened since the last step was no training: a validation, a checkpoint.

        Before the first step it was that of an earlier attempt, and no cost of the steps to come.
        """
        now = self.clock()
        self.other_seconds += now - self._since if self.taken else 0.0
        self._since = now

    def eta_seconds(self, step: int) -> int | None:
        """Seconds left after `step` steps, if the rest goes as it went so far."""
        if self.step_seconds is None:
            return None
        other = self.other_seconds / max(1, self.taken)
        return round((self.steps - step) * (self.step_seconds + other))


def _smooth_all(
    averages: Mapping[str, float], values: Mapping[str, float], weight: float
) -> dict[str, float]:
    return {name: _smooth(averages.get(name), value, weight) for name, value in values.items()}


def _smooth(average: float | None, value: float, weight: float) -> float:
    return value if average is None else average + weight * (value - average)
