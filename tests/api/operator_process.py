"""The operator as a process before a real API server."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.patience import LONG, Patience, crowd

T = TypeVar("T")
PATIENCE = 120.0
"""What is waited for comes within a second or two; a slow machine takes its time."""
REST = 0.5
"""Seconds within which an idle machine brings a watch event to the operator."""
MODULE = ("-m", "dino_operator.main")


def eventually(
    question: Callable[[], T], what: str | Callable[[], str], patience: float = PATIENCE
) -> T:
    """The first true answer. Fails with `what` when none comes in time."""
    waiting = Patience(patience)
    while waiting.lasts():
        answer = question()
        if answer:
            return answer
        time.sleep(0.1)
    told = what if isinstance(what, str) else what()
    raise AssertionError(f"after {waiting.seconds:.0f} s: not {told}")


@dataclass
class Process:
    """The `dino-operator` command, serving one namespace.

    late: seconds by which its watches are late (see slow_requests.py).
    """

    kubeconfig: Path
    namespace: str
    log: Path
    arguments: tuple[str, ...] = ()
    program: tuple[str, ...] = MODULE
    late: float = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def runs(self) -> bool:
        """Whether it is there."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> Process:
        """Starts it and waits until it has read everything."""
        command = [sys.executable, *self.program, "--metrics-port", "0"]
        command += ["--trainer-image", "trainer:1", "--watch-namespaces", self.namespace]
        env = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        offset = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self.arguments], stdout=log, stderr=log, env=env
            )
        eventually(lambda: self._port(offset), lambda: f"listening:\n{self.log.read_text()}")
        eventually(self._is_ready, "ready")
        return self

    def _port(self, offset: int) -> int:
        said = self.log.read_bytes()[offset:].decode(errors="replace")
        found = re.search(r"listening on port (\d+)", said)
        self.port = int(found[1]) if found else 0
        return self.port

    def _is_ready(self) -> bool:
        """Whether it has read everything, or stands by."""
        said = self.read("readyz")
        return said == "ok" or said.startswith("standing by")

    @property
    def leads(self) -> bool:
        """Whether it holds the Lease. It may not have read anything yet."""
        return "\ndino_operator_leader 1.0\n" in self.read("metrics")

    @property
    def works(self) -> bool:
        """Whether it has read everything and plans: later than that it leads."""
        return self.read("readyz") == "ok"

    def read(self, page: str) -> str:
        """A page of its HTTP server."""
        command = ["curl", "--silent", "--max-time", f"{LONG:.0f}"]
        command.append(f"http://127.0.0.1:{self.port}/{page}")
        return subprocess.run(command, capture_output=True, text=True, timeout=LONG).stdout

    def writes(self) -> int:
        """Requests other than reads, by its own count."""
        found = re.findall(
            r'dino_operator_apiserver_requests_total\{code="\d+",verb="(\w+)"\} ([\d.]+)',
            self.read("metrics"),
        )
        return sum(int(float(count)) for verb, count in found if verb != "GET")

    def settled(self) -> int:
        """Its writes so far, once it has nothing in hand and nothing came in for a while.

        What a write did is seen before its answer has come, and only then is it counted.
        """

        def at_rest() -> bool:
            before = self.writes()
            time.sleep(self.late + REST * crowd())
            return self._has_nothing_in_hand() and self.writes() == before

        eventually(at_rest, "the operator at rest")
        return self.writes()

    def _has_nothing_in_hand(self) -> bool:
        page = self.read("metrics")
        gauges = ("dino_operator_queue_depth", "dino_operator_queue_working")
        return all(f"\n{name} 0.0\n" in page for name in gauges)

    def kill(self) -> None:
        """SIGKILL: it has no time for a last word."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=LONG)
            self.process = None

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        self.signal(signal.SIGTERM)
        return self.ended()

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def ended(self) -> int:
        """Its exit status, once it has ended."""
        assert self.process is not None
        status = self.process.wait(timeout=LONG)
        self.process = None
        return status
