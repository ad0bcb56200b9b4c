"""Numbers for whoever watches: smoothed loss, speed, time left."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Meter:
    """Measures training speed, leaving out validations and checkpoints from images per second.

    Speed and loss are averages over about the last fifty steps.
    """

    steps: int
    clock: Callable[[], float] = time.monotonic
    loss: float | None = None
    step_seconds: float | None = None
    other_seconds: float = 0.0
    taken: int = 0
    _since: float = field(init=False)

    def __post_init__(self) -> None:
        self._since = self.clock()

    def step(self, loss: float | None) -> None:
        """A step ended with this loss; None if it had none worth telling."""
        now = self.clock()
        self.taken += 1
        weight = max(0.04, 1 / self.taken)  # a plain mean at first
        self.step_seconds = _smooth(self.step_seconds, now - self._since, weight)
        if loss is not None:
            self.loss = _smooth(self.loss, loss, weight)
        self._since = now

    def resume(self) -> None:
        """What happened since the last step was no training: a validation, a checkpoint."""
        now = self.clock()
        self.other_seconds += now - self._since
        self._since = now

    def eta_seconds(self, step: int) -> int | None:
        """Seconds left after `step` steps, if the rest goes as it went so far."""
        if self.step_seconds is None:
            return None
        other = self.other_seconds / max(1, self.taken)
        return round((self.steps - step) * (self.step_seconds + other))


def _smooth(average: float | None, value: float, weight: float) -> float:
    return value if average is None else average + weight * (value - average)
