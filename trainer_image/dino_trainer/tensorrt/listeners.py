"""Listeners that TensorRT calls while it works: its log, and the progress of a build.

It calls them from threads of its own, and an exception would end the process: what a listener
raises is kept, stops the build, and is raised again by who started it.

The classes can only be made once tensorrt is loaded, whose classes they extend.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from dino_trainer.storage.store import Say

if TYPE_CHECKING:
    from dino_trainer.tensorrt.protocols import EnumMember, Logger, Monitor

T = TypeVar("T")

LAST_ERRORS = 3  # messages, the last ones
# Phase, steps done, steps ("", 0 and 0 inside of a phase); False stops the build.
PhaseListener = Callable[[str, int, int], bool]


class TensorRtMessages:
    """What TensorRT's threads told. `say` and `watch` are called by one of them at a time."""

    def __init__(self, say: Say, watch: PhaseListener | None = None) -> None:
        self._say, self._watch, self._lock = say, watch, Lock()
        self.errors: list[str] = []
        self.failure: Exception | None = None
        self.stopped = False

    def last(self) -> str:
        """The last errors in one line."""
        return "; ".join(self.errors[-LAST_ERRORS:]).rstrip(".") or "it gave no reason"

    def message(self, text: str, error: bool, shown: bool) -> None:
        """A line of the log."""
        with self._lock:
            if error:
                self.errors.append(text)
            if shown:
                self._guarded(lambda: self._say(f"TensorRT: {text}"))

    def step(self, phase: str, done: int, steps: int) -> bool:
        """A step of the build is done: whether it is to go on."""
        with self._lock:
            watch = self._watch
            if watch is not None and not self.stopped:
                goes_on = self._guarded(lambda: watch(phase, done, steps))
                self.stopped = not goes_on
            return not self.stopped

    def _guarded(self, call: Callable[[], T]) -> T | None:
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - raised again outside of TensorRT's threads
            self.failure = self.failure or error
            return None


def make_log(trt: Any, heard: TensorRtMessages, verbose: bool = False) -> Logger:
    """An ILogger: errors are kept, warnings said, with `verbose` everything."""
    return _log_class(trt)(heard, verbose)


def make_monitor(trt: Any, heard: TensorRtMessages) -> Monitor:
    """An IProgressMonitor of the outermost phases."""
    return _monitor_class(trt)(heard)


@cache
def _log_class(trt: Any) -> Callable[[TensorRtMessages, bool], Logger]:
    class Log(trt.ILogger):  # type: ignore[misc]  # a class that is loaded at run time
        def __init__(self, heard: TensorRtMessages, verbose: bool) -> None:
            trt.ILogger.__init__(self)
            self._heard, self._verbose = heard, verbose
            severity = trt.ILogger.Severity
            self._bad = (severity.INTERNAL_ERROR, severity.ERROR)
            self._shown = (*self._bad, severity.WARNING)

        def log(self, severity: EnumMember, msg: str) -> None:
            shown = self._verbose or severity in self._shown
            self._heard.message(msg.strip(), severity in self._bad, shown)

    return Log


@cache
def _monitor_class(trt: Any) -> Callable[[TensorRtMessages], Monitor]:
    class Watcher(trt.IProgressMonitor):  # type: ignore[misc]  # so is this
        def __init__(self, heard: TensorRtMessages) -> None:
            trt.IProgressMonitor.__init__(self)
            self._heard, self._steps = heard, dict[str, int]()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            steps = self._steps.get(phase_name)
            if steps is None:
                return self._heard.step("", 0, 0)
            return self._heard.step(phase_name, step + 1, steps)

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Watcher
