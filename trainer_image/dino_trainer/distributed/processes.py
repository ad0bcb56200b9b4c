"""The ranks of this node as child processes, and how they ended.

A rank that fails leaves its failure in a file, which says more than an exit code. For one that a
signal ended, the control group tells whether the kernel killed it for memory.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from dino_api import failures
from dino_api.names import Env, FailureReason
from dino_api.result import Failure
from dino_trainer.errors import TrainerError

_OOM_COUNTERS = ("memory.events", "memory/memory.oom_control")
CGROUPS = Path("/sys/fs/cgroup")
_PARENT_DEATH_SIGNAL = 1  # prctl(2)
_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Ending:
    """A rank that failed. killed: by a signal, so that another try may well succeed."""

    rank: int
    failure: Failure
    killed: bool = False

    @property
    def tells_why(self) -> bool:
        """Whether it is a reason of its own, not what another rank's end or a request caused."""
        return self.failure.reason not in (FailureReason.PEER_LOST, FailureReason.PREEMPTED)


@dataclass
class Processes:
    """Running ranks. `failed` are those that ended without success, in the order they did.

    command: what every rank runs. envs: the whole environment of each.
    """

    command: Sequence[str]
    envs: Sequence[Mapping[str, str]]
    cgroups: Path = CGROUPS
    failed: list[Ending] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._kills = oom_kills(self.cgroups)
        self._asked = self._ended = False
        self._folder = TemporaryDirectory(prefix="dino-ranks-")
        launcher = str(os.getpid())
        # Sessions of their own: a terminal's Ctrl-C is for the launcher, which passes it on.
        self._running = {
            place: subprocess.Popen(
                self.command,
                env={
                    **env,
                    Env.RANK_FAILURE_FILE: str(self._file(place)),
                    Env.LAUNCHER_PID: launcher,
                },
                start_new_session=True,
            )
            for place, env in enumerate(self.envs)
        }

    @property
    def running(self) -> bool:
        return bool(self._running)

    @property
    def succeeded(self) -> bool:
        return not self._running and not self.failed

    def poll(self) -> None:
        """Notices who has ended."""
        for place, process in list(self._running.items()):
            code = process.poll()
            if code is None:
                continue
            del self._running[place]
            if code != 0:
                self.failed.append(self._ending(place, code))

    def stop(self) -> None:
        """Asks all to save and end."""
        self._asked = True
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends all at once."""
        self._ended = True
        for process in self._running.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def close(self) -> None:
        """Leaves nothing behind: no process, no file."""
        self.kill()
        self._folder.cleanup()

    def _file(self, place: int) -> Path:
        return Path(self._folder.name, f"{place}.json")

    def _ending(self, place: int, code: int) -> Ending:
        rank = int(self.envs[place]["RANK"])
        if code < 0:
            return self._killed(rank, signal.Signals(-code))
        try:
            text = self._file(place).read_text(encoding="utf-8")
            return Ending(rank, Failure.model_validate(json.loads(text)))
        except (OSError, RecursionError, ValueError):
            return Ending(rank, _by_exit_code(code).as_failure())

    def _killed(self, rank: int, by: signal.Signals) -> Ending:
        if by == signal.SIGTERM and self._asked:
            error = TrainerError(
                FailureReason.PREEMPTED, "Stopped on request before its work began."
            )
            return Ending(rank, error.as_failure())
        if by == signal.SIGKILL and oom_kills(self.cgroups) > self._kills:
            error = TrainerError(
                FailureReason.OUT_OF_MEMORY,
                "The kernel killed the process: the container's memory limit was reached.",
            )
            return Ending(rank, error.as_failure())
        if by == signal.SIGKILL and self._asked and self._ended:
            message = (
                "Stopped on request, and killed here since it did not end: a checkpoint that was "
                "published before is still there."
            )
            return Ending(rank, TrainerError(FailureReason.PREEMPTED, message).as_failure())
        error = TrainerError(FailureReason.CRASHED, f"{by.name} ended the process.")
        return Ending(rank, error.as_failure(), killed=True)


def _by_exit_code(code: int) -> TrainerError:
    """What is known of a rank that left no words."""
    rule = failures.by_exit_code(code)
    if rule is None:
        message = f"The process ended with exit code {code} and left no reason."
        return TrainerError(FailureReason.CRASHED, message)
    message = f"The process ended with exit code {code}, and could not leave more; its log has it."
    return TrainerError(rule.reason, message)


def oom_kills(cgroups: Path = CGROUPS) -> int:
    """How many processes of this control group the kernel has killed for memory; 0 if untold."""
    for name in _OOM_COUNTERS:
        with suppress(OSError, ValueError):
            lines = (line.split() for line in (cgroups / name).read_text().splitlines())
            return int(dict(line for line in lines if len(line) == 2).get("oom_kill", 0))
    return 0


def leave_failure(failure: Failure, env: Mapping[str, str] = os.environ) -> bool:
    """Tells the launcher why this rank ends. Returns whether there is one that can be told."""
    path = env.get(Env.RANK_FAILURE_FILE)
    if not path:
        return False
    try:
        Path(path).write_text(json.dumps(failure.to_dict()), encoding="utf-8")
    except OSError:  # the disk is full, which may be why; the exit code says it, too
        return False
    return True


def end_with_launcher(env: Mapping[str, str] = os.environ) -> None:
    """Asks the kernel for a SIGTERM when the launcher dies, even by SIGKILL; ends this rank at once
    where it is dead already. Linux alone can. torchrun's ranks are torchrun's to end."""
    launcher = env.get(Env.LAUNCHER_PID)
    if launcher is None:
        return
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != int(launcher):
        os._exit(1)


def end_without_launcher(met: threading.Event, env: Mapping[str, str] = os.environ) -> None:
    """Ends this rank at once where its launcher dies before all ranks have `met`.

    A rank that waits for others which never come hears of no signal. For a thread.
    """
    launcher = env.get(Env.LAUNCHER_PID)
    while launcher is not None and not met.wait(_LOOK_SECONDS):
        if os.getppid() != int(launcher):
            os._exit(1)
