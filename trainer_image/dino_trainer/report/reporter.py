"""The one object that the actions report to."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeGuard

from dino_api import metric, names, rfc3339
from dino_api.names import RESULT_FILE as RESULT_FILE
from dino_api.names import STATUS_FILE, FailureReason
from dino_api.result import Failure, Metrics, Progress, Result
from dino_trainer.errors import TrainerError
from dino_trainer.report.cluster import ProgressPush
from dino_trainer.report.curve import EVALUATED, ValidationCurve
from dino_trainer.report.meter import NO_PARTS, LossParts
from dino_trainer.report.status_file import Status, StatusFile
from dino_trainer.report.terminal import Terminal, open_terminal
from dino_trainer.results.output import Output
from dino_trainer.storage.files import named, replacing

TERMINATION_LOG = Path(names.TERMINATION_LOG)


class Reporter:
    """Terminal, `status.json`, the resource in the cluster, and the result.

    An action calls `event`, `progress`, `validated` and `tested`; the command calls `finished` or
    `failed` once, at the end, and `close`. A report that cannot be written is said once and costs
    nothing else, except `result.json`: without it a finished run would be run again.

    output: where `status.json` and `result.json` go. total_epochs: for positions without one, None
    for an action that has no epochs.
    push: the way to the resource, None outside a cluster.
    termination_log: the file that Kubernetes reads (TERMINATION_LOG); left alone where it does not
    exist.
    """

    def __init__(
        self,
        output: Output,
        total_epochs: int | None,
        *,
        terminal: Terminal | None = None,
        push: ProgressPush | None = None,
        termination_log: Path | None = None,
    ) -> None:
        self._output = output
        self._epochs = total_epochs
        self._terminal = terminal or open_terminal()
        self._push = push
        self._termination_log = termination_log
        self._status = StatusFile(output.dir / STATUS_FILE)
        self._curve = ValidationCurve.of_status_file(output.dir / STATUS_FILE)
        self._last = Progress(epochs=total_epochs)
        self._parts = NO_PARTS
        self._staging_seconds: float | None = None
        self._epoch_started: float | None = None
        self._partial = False
        self._broken: set[str] = set()

    def say(self, text: str) -> None:
        """One line for people only."""
        self._terminal.line(text)

    def event(self, message: str, status: Status = "RUNNING") -> None:
        """A line for people, and one in `status.json`."""
        self.say(message)
        self._note(status, message)

    def staged(self, seconds: float) -> None:
        """One more part of the data is here, after so long; told with the next progress."""
        self._staging_seconds = round((self._staging_seconds or 0.0) + seconds, 1)

    def progress(self, progress: Progress, parts: LossParts = NO_PARTS) -> None:
        """The newest position, and what its loss is made of. Cheap: call it every step."""
        previous = self._show(progress, parts)
        if self._epoch_started is None:
            # The first step has just ended: staging and loading before it are no training.
            self._epoch_started = time.monotonic()
        elif progress.epoch != previous.epoch:
            self._end_epoch(self._last, self._epoch_started)

    def resumed(self, progress: Progress) -> None:
        """Hears where an earlier attempt got to: a position, but no step of this one.

        What comes before the first step, such as a validation, is reported with it.
        """
        self._show(progress, NO_PARTS)
        done, steps = progress.step or 0, progress.steps or 1
        self._partial = done * (self._last.epochs or 0) % steps != 0

    def validated(self, epoch: int, metrics: Metrics, best: bool) -> None:
        """A validation after `epoch` finished epochs; best: the best so far.

        Prints the lines that TAO prints and that a search over parameters reads: numbers only, as
        a NaN would poison it.
        """
        values = {"mAP": metrics.mAP, "mAP50": metrics.mAP50, "mAP75": metrics.mAP75}
        known = {name: value for name, value in values.items() if _is_number(value)}
        for name in ("mAP", "mAP50"):
            if name in known:
                self.say(f"{names.VALIDATION} {name} : {metric.text(known[name])}")
        self.say(f"Validated after epoch {epoch}{', the best so far' if best else ''}.")
        at = self._last.model_copy(
            update={"epoch": epoch, "mAP": known.get("mAP"), "mAP50": known.get("mAP50")}
        )
        self._curve.add(epoch, metrics)
        kpi = {f"val_{name}": round(value, 6) for name, value in known.items()}
        self._note("RUNNING", EVALUATED, kpi, at)
        self.progress(at, self._parts)
        self._publish_status(self._output.offer)

    def tested(self, metrics: Metrics) -> None:
        """An evaluation on test data, in TAO's lines; numbers only, as for `validated`."""
        values = {"mAP": metrics.mAP, "mAP50": metrics.mAP50}
        known = {name: value for name, value in values.items() if _is_number(value)}
        for name, value in known.items():
            self.say(f"Test {name} : {metric.text(value)}")
        kpi = {f"test_{name}": round(value, 6) for name, value in known.items()}
        self._note("RUNNING", "Test metrics generated.", kpi, self._last)

    def finished(self, result: Result) -> None:
        """Success: `result.json`, the last status line, the termination message.

        Raises TrainerError if `result.json` cannot be published.
        """
        self._terminal.close()
        action = result.action.value
        self.event(f"{action.capitalize()} finished successfully.", "SUCCESS")
        self._publish_status()
        known = {"curve": self._curve.points, "folder": folder_of(self._output)}
        result = result.model_copy(update=known)
        self._write_result(result)
        self._terminate(result)

    def failed(self, failure: Failure, result: Result | None = None) -> None:
        """The end without success. result: what is known besides, such as the last checkpoint.

        A run that was only stopped leaves no `result.json`: its next attempt will.
        """
        self._terminal.close()
        known = {"failure": failure, "curve": self._curve.points}
        result = (result or Result()).model_copy(
            update={**known, "folder": folder_of(self._output)}
        )
        stopped = failure.reason == FailureReason.PREEMPTED
        self._note("RUNNING" if stopped else "FAILURE", f"{failure.reason}: {failure.message}")
        self._terminate(result)
        if self._output.stuck:
            return  # a server that hangs would hold the exit code back, until the pod is killed
        self._publish_status()
        if not stopped:
            try:
                self._write_result(result)
            except (TrainerError, OSError) as error:
                self._complain(RESULT_FILE, error)

    def close(self) -> None:
        """Sends the last progress and gives the terminal back. Safe to call twice."""
        self._terminal.close()
        if self._push:
            self._push.close()
            self._push = None

    def _show(self, progress: Progress, parts: LossParts) -> Progress:
        """To people and to the resource; returns the position before."""
        progress = progress.model_copy(
            update={
                "updated_at": rfc3339.text(datetime.now(UTC)),
                "epochs": progress.epochs or self._epochs,
                "staging_seconds": self._staging_seconds,
                "curve": self._curve.points,
            }
        )
        self._terminal.progress(progress, parts)
        if self._push:
            self._push.offer(progress)
        previous, self._last, self._parts = self._last, progress, parts
        return previous

    def _end_epoch(self, progress: Progress, started: float) -> None:
        self._epoch_started = time.monotonic()
        # The rest of an epoch that an earlier attempt began says nothing of a whole one.
        seconds = None if self._partial else self._epoch_started - started
        self._partial = False
        losses = {} if progress.loss is None else {"loss": progress.loss, **self._parts.named}
        kpi = {f"train_{name}": round(value, 6) for name, value in losses.items()}
        self._note("RUNNING", "Training loop in progress", kpi, progress, seconds)

    def _note(
        self,
        status: Status,
        message: str,
        kpi: dict[str, float] | None = None,
        progress: Progress | None = None,
        time_per_epoch: float | None = None,
    ) -> None:
        try:
            self._status.write(status, message, kpi, progress, time_per_epoch)
        except OSError as error:
            self._complain(STATUS_FILE, error)

    def _publish_status(self, publish: Callable[[str], object] | None = None) -> None:
        try:
            (publish or self._output.publish)(STATUS_FILE)
        except (TrainerError, OSError) as error:
            self._complain(STATUS_FILE, error)

    def _write_result(self, result: Result) -> None:
        text = json.dumps(result.to_dict(), indent=2, ensure_ascii=False) + "\n"
        path = self._output.dir / RESULT_FILE
        with named(path), replacing(path) as aside:
            aside.write_text(text, encoding="utf-8")
        self._output.publish(RESULT_FILE)

    def _terminate(self, result: Result) -> None:
        write_termination(result, self._termination_log)

    def _complain(self, what: str, error: Exception) -> None:
        """Once for each file: a full disk would otherwise be reported at every step."""
        if what not in self._broken:
            self._broken.add(what)
            self.say(f"{what} cannot be written ({error}); going on without it.")


def _is_number(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def folder_of(output: Output) -> str:
    """The folder of `result.json`."""
    return output.uri(RESULT_FILE).rpartition("/")[0]


def write_termination(result: Result, path: Path | None = None) -> None:
    """Leaves the result where the operator reads it; does nothing outside a pod.

    A node's disk that is full costs these words, and neither the exit code nor the result.
    """
    path = path or TERMINATION_LOG
    try:
        if path.exists():
            path.write_text(result.to_termination_message(), encoding="utf-8")
    except OSError as error:
        print(f"{path} cannot be written ({error}); going on without it.", file=sys.stderr)
