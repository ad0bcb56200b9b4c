"""The reporter of a rank that is not the first: it says nothing."""

from __future__ import annotations

from dino_api.result import Failure, Metrics, Progress, Result
from dino_trainer.report.meter import NO_PARTS, LossParts
from dino_trainer.report.status_file import Status


class SilentTerminal:
    """A Terminal that nobody reads."""

    def line(self, text: str) -> None:
        """Nothing."""

    def progress(self, progress: Progress, parts: LossParts = NO_PARTS) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class QuietReporter:
    """Takes what a Reporter takes. Rank 0 reports for all ranks."""

    def say(self, text: str) -> None:
        """Nothing."""

    def event(self, message: str, status: Status = "RUNNING") -> None:
        """Nothing."""

    def staged(self, seconds: float) -> None:
        """Nothing."""

    def progress(self, progress: Progress, parts: LossParts = NO_PARTS) -> None:
        """Nothing."""

    def resumed(self, progress: Progress) -> None:
        """Nothing."""

    def validated(self, epoch: int, metrics: Metrics, best: bool) -> None:
        """Nothing."""

    def tested(self, metrics: Metrics) -> None:
        """Nothing."""

    def finished(self, result: Result) -> None:
        """Nothing."""

    def failed(self, failure: Failure, result: Result | None = None) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""
