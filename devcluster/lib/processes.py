"""Starts, watches and ends the cluster's own processes, by process id and start time."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lib.paths import Instance
from lib.patience import LONGEST, wait_for
from lib.say import ClusterError, tail

END = 120.0  # seconds that a killed process has to be gone


@dataclass(frozen=True)
class Service:
    """A process of the cluster: how to start it and how to see that it works.

    too_soon: what the log of one says that ends because another one is not ready yet, though it
    listens already; such a one is started again.
    """

    name: str
    command: list[str]
    healthy: Callable[[], bool]
    environment: dict[str, str] = field(default_factory=dict)
    too_soon: str | None = None


@dataclass(frozen=True)
class RunningProcess:
    """A process as it was started. Its start time tells it from a later one with the same id."""

    pid: int
    started: str

    def alive(self) -> bool:
        return start_time(self.pid) == self.started

    def gone(self) -> bool:
        """Whether nothing is left of it: a killed one holds its ports until its threads ended."""
        return not self.alive() and _threads(self.pid, self.started) == 0

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has just ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


def start_time(pid: int) -> str | None:
    """When a process began, in clock ticks since boot; None for no process or a zombie."""
    fields = _fields(pid)
    return None if not fields or fields[0] in {"Z", "X"} else fields[19]


def _threads(pid: int, started: str) -> int:
    """How many threads of a process that has ended are still about to end."""
    fields = _fields(pid)
    return max(0, int(fields[17]) - 1) if fields and fields[19] == started else 0


def _fields(pid: int) -> list[str]:
    """What the kernel says of a process after its name (proc(5), from field 3 on)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def recorded(instance: Instance, name: str) -> RunningProcess | None:
    """What was last started under a name, alive or not."""
    try:
        pid, started = (instance.run / f"{name}.pid").read_text().split()
    except (OSError, ValueError):
        return None
    return RunningProcess(int(pid), started)


def is_running(instance: Instance, name: str) -> bool:
    """Whether the process started under a name is still there."""
    found = recorded(instance, name)
    return found is not None and found.alive()


def started_at(instance: Instance, name: str) -> float:
    """When what runs under a name was started, in seconds of the epoch."""
    return (instance.run / f"{name}.pid").stat().st_mtime


def start(instance: Instance, service: Service) -> None:
    """Start a service detached from this command, unless it runs already."""
    if is_running(instance, service.name):
        return
    instance.logs.mkdir(parents=True, exist_ok=True)
    instance.run.mkdir(parents=True, exist_ok=True)
    log = instance.logs / f"{service.name}.log"
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    with open(log, "w") as output:
        process = subprocess.Popen(
            service.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **service.environment},
            start_new_session=True,
            cwd="/",
        )
    path = instance.run / f"{service.name}.pid"
    unfinished = path.with_suffix(".new")  # others read it at any time
    unfinished.write_text(f"{process.pid} {start_time(process.pid) or 0}")
    unfinished.rename(path)


def wait_healthy(instance: Instance, services: Iterable[Service], within: float = LONGEST) -> None:
    """Wait until every service answers. Raises ClusterError with the log of one that does not."""
    for service in services:
        _wait_healthy(instance, service, within)


def _wait_healthy(instance: Instance, service: Service, within: float) -> None:
    path = instance.logs / f"{service.name}.log"

    def answers() -> bool:
        if service.healthy():
            return True
        _reap()
        if not is_running(instance, service.name):
            if service.too_soon is None or service.too_soon not in tail(str(path)):
                raise ClusterError(
                    f"{service.name} ended right after its start. Its log, {path}, ends with:\n"
                    f"{tail(str(path))}"
                )
            start(instance, service)
        return False

    wait_for(
        f"{service.name} to answer",
        answers,
        seen=lambda: tail(str(path), lines=1).strip(),
        more=lambda: f"its log, {path}, ends with:\n{tail(str(path))}",
        within=within,
    )


def _reap() -> None:
    """Collect children that ended, so that they do not look alive."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def stop(instance: Instance, names: Iterable[str], grace: float = 8) -> None:
    """End processes politely, then by force. Nothing but what `start` recorded is touched."""
    waiting = []
    for name in names:
        found = recorded(instance, name)
        if found and found.alive():
            found.send(signal.SIGTERM)
            waiting.append(found)
    end_all(waiting, grace)
    for name in names:
        (instance.run / f"{name}.pid").unlink(missing_ok=True)


def end_all(waiting: list[RunningProcess], grace: float) -> None:
    """Wait for processes to go; after `grace` seconds kill those that are left."""
    deadline = time.monotonic() + grace
    killed = False
    while True:
        _reap()
        waiting = [found for found in waiting if not found.gone()]
        if not waiting:
            return
        if time.monotonic() > deadline:
            if killed:
                pids = ", ".join(str(found.pid) for found in waiting)
                raise ClusterError(f"The processes {pids} cannot be ended: restart the machine.")
            for found in waiting:
                found.send(signal.SIGKILL)
            killed, deadline = True, time.monotonic() + END
        time.sleep(0.03)
