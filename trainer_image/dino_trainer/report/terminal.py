"""Progress for people: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Protocol, TextIO

from dino_api.result import Progress
from dino_trainer.report.meter import NO_PARTS, LossParts
from dino_trainer.storage.byte_meter import human_seconds

if TYPE_CHECKING:
    from rich.progress import TaskID

_SECONDS_BETWEEN_LINES = 10.0


class Terminal(Protocol):
    """Where people read."""

    def line(self, text: str) -> None:
        """One line that stays."""

    def progress(self, progress: Progress, parts: LossParts = NO_PARTS) -> None:
        """The newest position; may be shown, or left out for a newer one."""

    def close(self) -> None:
        """Leaves the terminal as it was found."""


def open_terminal(stream: TextIO | None = None) -> Terminal:
    """A bar if `stream` (standard output) is a terminal, lines otherwise."""
    stream = stream or sys.stdout
    return BarTerminal(stream) if stream.isatty() else PlainTerminal(stream)


def progress_line(progress: Progress, parts: LossParts = NO_PARTS) -> str:
    """Writes `epoch 3/12  step 120/480  25%  loss 5.430  lr 0.0004  9.1 images/s  3 min 20 s left`.

    With a teacher, and last, where a narrow terminal cuts it:
    `of the loss: detection 4.100, pred_logits 0.310, encoder 1.020`.
    """
    p = progress
    shares = ", ".join(f"{name} {value:.3f}" for name, value in parts.shares.items())
    words = [
        _of("epoch", p.epoch, p.epochs),
        _of("step", p.step, p.steps),
        p.display,
        None if p.loss is None else f"loss {p.loss:.3f}",
        None if p.learning_rate is None else f"lr {p.learning_rate:.3g}",
        None if p.images_per_second is None else f"{p.images_per_second:.1f} images/s",
        None if p.mAP50 is None else f"mAP50 {p.mAP50:.3f}",
        None if p.eta_seconds is None else f"{human_seconds(p.eta_seconds)} left",
        f"of the loss: {shares}" if shares else None,
    ]
    return "  ".join(word for word in words if word)


def _of(name: str, part: int | None, whole: int | None) -> str | None:
    if part is None:
        return None
    return f"{name} {part}" if whole is None else f"{name} {part}/{whole}"


class PlainTerminal:
    """Lines, at most one of progress in 10 seconds."""

    def __init__(self, stream: TextIO, seconds: float = _SECONDS_BETWEEN_LINES) -> None:
        self._stream = stream
        self._seconds = seconds
        self._next = 0.0

    def line(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def progress(self, progress: Progress, parts: LossParts = NO_PARTS) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._seconds
            self.line(progress_line(progress, parts))

    def close(self) -> None:
        """Nothing to undo."""


class BarTerminal:
    """One bar at the bottom that updates; lines scroll above it."""

    def __init__(self, stream: TextIO) -> None:
        # rich takes 0.1 s to import, which `dino --help` and pods need not pay.
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        self._console = Console(file=stream, highlight=False)
        self._bar = Bar(BarColumn(20), TextColumn("{task.description}"), console=self._console)
        self._task: TaskID | None = None

    def line(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def progress(self, progress: Progress, parts: LossParts = NO_PARTS) -> None:
        if self._task is None:
            self._bar.start()
            self._task = self._bar.add_task("", total=progress.steps)
        text = progress_line(progress, parts)
        self._bar.update(self._task, completed=progress.step or 0, description=text)

    def close(self) -> None:
        self._bar.stop()
