"""Starts, watches and ends the cluster's own processes, by process id and start time."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lib.paths import Instance
from lib.say import ClusterError, tail


@dataclass(frozen=True)
class Service:
    """A process of the cluster: how to start it and how to see that it works."""

    name: str
    command: list[str]
    healthy: Callable[[], bool]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Running:
    """A process as it was started. Its start time tells it from a later one with the same id."""

    pid: int
    started: str

    def alive(self) -> bool:
        return start_time(self.pid) == self.started


def start_time(pid: int) -> str | None:
    """When a process began, in clock ticks since boot; None for no process or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else fields[19]


def recorded(instance: Instance, name: str) -> Running | None:
    """What was last started under a name, alive or not."""
    try:
        pid, started = (instance.run / f"{name}.pid").read_text().split()
    except (OSError, ValueError):
        return None
    return Running(int(pid), started)


def is_running(instance: Instance, name: str) -> bool:
    """Whether the process started under a name is still there."""
    found = recorded(instance, name)
    return found is not None and found.alive()


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
    path.write_text(f"{process.pid} {start_time(process.pid) or 0}")


def wait_healthy(instance: Instance, services: Iterable[Service], within: float = 90) -> None:
    """Wait until every service answers. Raises ClusterError with the log of one that does not."""
    deadline = time.monotonic() + within
    for service in services:
        while not service.healthy():
            path = instance.logs / f"{service.name}.log"
            _reap()
            if not is_running(instance, service.name):
                raise ClusterError(
                    f"{service.name} ended right after its start. Its log, {path}, ends with:\n"
                    f"{tail(str(path))}"
                )
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"{service.name} did not answer within {within:.0f} s. Its log, {path}, "
                    f"ends with:\n{tail(str(path))}"
                )
            time.sleep(0.05)


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
            os.kill(found.pid, signal.SIGTERM)
            waiting.append(found)
    end_all(waiting, grace)
    for name in names:
        (instance.run / f"{name}.pid").unlink(missing_ok=True)


def end_all(waiting: list[Running], grace: float) -> None:
    """Wait for processes to go; after `grace` seconds kill those that are left."""
    deadline = time.monotonic() + grace
    killed = False
    while True:
        _reap()
        waiting = [found for found in waiting if found.alive()]
        if not waiting:
            return
        if time.monotonic() > deadline:
            if killed:
                pids = ", ".join(str(found.pid) for found in waiting)
                raise ClusterError(f"The processes {pids} cannot be ended: restart the machine.")
            for found in waiting:
                os.kill(found.pid, signal.SIGKILL)
            killed, deadline = True, time.monotonic() + 10
        time.sleep(0.03)
