"""What every bench is made of: paired runs, a record, and the machine it was measured on.

A bench compares ours with a peer's, in one process or at least in one run, since only a ratio of
two runs side by side means anything on a shared machine.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, NoReturn

Run = Callable[[], object]
Machine = Mapping[str, str | int]
CPU_FACTS = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Bench:
    """One measurement.

    name: unique among all benches, [a-z0-9_]. ours, peer: in `unit`; peer is None where nobody
    else does such a thing. better: whether a smaller or a larger number is the good one.
    machine: see `machine()`. target: what was promised, as a reader would say it (">= 50x").
    note: what ours and peer are, in a sentence. parts: numbers behind the number, by name.
    curve: what several sizes cost, see growth_curves.py; the book has a table of these.
    """

    name: str
    ours: float
    peer: float | None
    unit: str
    machine: Machine
    better: Literal["less", "more"] = "less"
    target: str = ""
    note: str = ""
    parts: Mapping[str, Any] = field(default_factory=dict)
    curve: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """How many times as good as the peer; None without one, or where one of them is 0."""
        if not self.peer or not self.ours:
            return None
        return self.peer / self.ours if self.better == "less" else self.ours / self.peer

    def record(self) -> dict[str, Any]:
        """The bench as one JSON object; what is empty is left out."""
        needed = {key: getattr(self, key) for key in ("name", "ours", "peer", "ratio", "unit")}
        extra = {
            "target": self.target,
            "note": self.note,
            "parts": dict(self.parts),
            "curve": dict(self.curve),
        }
        return {
            **needed,
            "machine": dict(self.machine),
            **{key: value for key, value in extra.items() if value},
        }

    def emit(self) -> None:
        """Print the record as one line, which is how `python -m tests.bench` learns of it."""
        print(json.dumps(self.record(), allow_nan=False), flush=True)


@dataclass(frozen=True)
class Times:
    """Seconds of each round of one side."""

    rounds: tuple[float, ...]

    @property
    def best(self) -> float:
        """The fastest round: what the code takes when nothing else disturbs it."""
        return min(self.rounds)

    @property
    def median(self) -> float:
        """The middle round."""
        return statistics.median(self.rounds)


@dataclass(frozen=True)
class Pair:
    """Both sides of a comparison, round by round."""

    ours: Times
    peer: Times

    def bench(self, name: str, machine: Machine, parts: Mapping[str, Any], **words: str) -> Bench:
        """A bench of the medians, in seconds; the fastest rounds stand in its parts."""
        best = {"best ours": self.ours.best, "best peer": self.peer.best}
        rounds = {"rounds": len(self.ours.rounds)}
        return Bench(
            name,
            self.ours.median,
            self.peer.median,
            "s",
            machine,
            parts={**best, **rounds, **parts},
            **words,  # type: ignore[arg-type]
        )


def paired(
    ours: Run,
    peer: Run,
    rounds: int = 5,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Pair:
    """Run both sides in turns, so that a slow minute of the machine slows both.

    Args:
        ours, peer: one run each. On a GPU they must end with a synchronisation.
        rounds: measured runs of each.
        warmup: unmeasured runs of each before them.
        clock: seconds.
    """
    for _ in range(warmup):
        ours()
        peer()
    seconds: tuple[list[float], list[float]] = ([], [])
    for index in range(rounds):
        sides = ((ours, seconds[0]), (peer, seconds[1]))
        for run, into in sides if index % 2 == 0 else reversed(sides):  # neither is always first
            start = clock()
            run()
            into.append(clock() - start)
    return Pair(Times(tuple(seconds[0])), Times(tuple(seconds[1])))


def machine(gpu: bool = False) -> Machine:
    """What the numbers depend on; never a host name or a path.

    gpu: whether the bench ran on the GPU. Entries of CPU and GPU stand side by side.
    """
    facts: dict[str, str | int] = {"cpu": _cpu_model(), "cores": len(os.sched_getaffinity(0))}
    torch = sys.modules.get("torch")
    if torch is not None:
        facts["threads"] = torch.get_num_threads()
        if gpu:
            facts["gpu"] = torch.cuda.get_device_name()
    try:
        facts["torch"] = version("torch")
    except PackageNotFoundError:
        facts["python"] = platform.python_version()
    return facts


def cannot_run(reason: str) -> NoReturn:
    """End the bench without a result, with a sentence that says what it would need."""
    print(reason, flush=True)
    raise SystemExit(0)


def _cpu_model() -> str:
    lines = CPU_FACTS.read_text(encoding="utf-8").splitlines() if CPU_FACTS.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
