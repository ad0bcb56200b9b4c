"""Runs stages side by side, each as soon as the ones it needs are done."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from demo.errors import DemoError, Stopped
from demo.screen import Screen, clock

GRACE_SECONDS = 60.0  # for a program to end after an interrupt, before it is killed
LOOK_SECONDS = 10.0
TAIL_BYTES = 16_384
WIDE = 70  # letters of a log's last line on the screen
WIDEST = 200  # and of each of the last lines in the message of a failure


class Work:
    """What a stage is handed: its log file, a way to run programs into it, and the news that all
    must stop.
    """

    def __init__(self, name: str, log: Path, stop: threading.Event) -> None:
        self.name, self.log, self.stop = name, log, stop

    def run(
        self,
        command: Sequence[str | Path],
        env: Mapping[str, str] | None = None,
        look: Callable[[], str] | None = None,
    ) -> None:
        """Run a program with its output in the log; now and then what `look` sees, too.

        Raises DemoError when it fails, Stopped when the demo ends.
        """
        with self.log.open("ab") as out:
            self._spawn(command, env, out, look)

    def read(self, command: Sequence[str | Path]) -> str:
        """Run a program with its complaints in the log, and return what it prints."""
        with tempfile.TemporaryFile() as out:
            self._spawn(command, None, out, None)
            out.seek(0)
            return out.read().decode(errors="replace")

    def _spawn(
        self,
        command: Sequence[str | Path],
        env: Mapping[str, str] | None,
        out: IO[bytes],
        look: Callable[[], str] | None,
    ) -> None:
        words = [str(word) for word in command]
        self.note(f"$ {' '.join(words)}")
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                env={**os.environ, **(env or {})},
                start_new_session=True,  # Ctrl-C reaches the demo, which ends what it started
            )
            self._wait(process, look)
        if process.returncode != 0:
            short = " ".join([Path(words[0]).name, *words[1:3]])
            raise DemoError(
                f"`{short}` failed: {self.last_line()}{self.ending()}", f"less {self.log}"
            )

    def note(self, text: str) -> None:
        """A line for the log."""
        with self.log.open("a") as out:
            print(text, file=out)

    def last_line(self) -> str:
        """The last line of the log that says something; an `error:` among the last ones is
        preferred.
        """
        lines = self._last_lines(20)
        errors = [line for line in lines if line.lower().startswith("error")]
        return (errors or lines or [""])[-1]

    def ending(self) -> str:
        """The log's end, indented, where it says more than the last line: the cause comes first,
        and whoever reads this elsewhere, as in CI, has not the log.
        """
        lines = self._last_lines(10)
        shown = [line if len(line) <= WIDEST else f"{line[:WIDEST]} …" for line in lines]
        return "".join(f"\n    {line}" for line in shown) if len(lines) > 1 else ""

    def _last_lines(self, count: int) -> list[str]:
        """The last lines of the log that are not blank, without the commands noted there."""
        if not self.log.exists():
            return []
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            text = log.read().decode(errors="replace")
        lines = [line.strip() for line in text.splitlines()]
        return [line for line in lines if line and not line.startswith("$ ")][-count:]

    def _wait(self, process: subprocess.Popen[bytes], look: Callable[[], str] | None) -> None:
        looked = time.monotonic()
        while process.poll() is None:
            if self.stop.wait(0.2):
                end(process)
                raise Stopped(self.name)
            if look and time.monotonic() - looked >= LOOK_SECONDS:
                with suppress(DemoError):
                    self.note(look())
                looked = time.monotonic()


def end(process: subprocess.Popen[bytes]) -> None:
    """Terminate a program and all it started, and kill what does not end in time.

    Not an interrupt: what a script started in its background ignores those.
    """
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


Run = Callable[[Work], None]


@dataclass(frozen=True)
class DemoStage:
    """A step of the demo. `first` and `again` are the seconds it takes without and with caches."""

    name: str
    does: str
    first: int
    again: int
    run: Run
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class StageTiming:
    """When a stage ran, in seconds since the demo's start."""

    name: str
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began


def seconds_left(
    stages: Sequence[DemoStage], ended: Mapping[str, float], running: Mapping[str, float]
) -> float:
    """About how long the stages still take: the longest chain of those that wait for each other.

    `ended` and `running` have the seconds of each stage so far. Whether there are caches is told by
    the stages that ended; until then none are assumed.
    """
    told = [s for s in stages if s.name in ended and s.first > 2 * s.again]
    cached = bool(told) and all(ended[s.name] < (s.first + s.again) / 2 for s in told)
    chain: dict[str, float] = {}
    for stage in in_order(stages):
        so_far = running.get(stage.name, 0.0)
        whole = stage.again if cached and so_far <= stage.again else stage.first
        own = 0.0 if stage.name in ended else max(whole - so_far, 1.0)
        chain[stage.name] = own + max((chain[need] for need in stage.needs), default=0.0)
    return max(chain.values(), default=0.0)


def in_order(stages: Sequence[DemoStage]) -> list[DemoStage]:
    """The stages, each after those that it needs."""
    ordered: list[DemoStage] = []
    while rest := [s for s in stages if s not in ordered]:
        names = {s.name for s in ordered}
        ordered += [s for s in rest if names.issuperset(s.needs)]
    return ordered


class Runner:
    """Runs a set of stages once and keeps their times.

    `then` is what follows them without being run here: it counts in what is left.
    """

    def __init__(
        self, stages: Sequence[DemoStage], logs: Path, screen: Screen, then: DemoStage | None = None
    ) -> None:
        unknown = {need for s in stages for need in s.needs} - {s.name for s in stages}
        if unknown:
            raise ValueError(f"stages need what is not there: {', '.join(sorted(unknown))}")
        self._stages, self._logs, self._screen = list(stages), logs, screen
        self._all = [*stages, *([then] if then else [])]
        self._stop = threading.Event()
        self._start = time.monotonic()
        self._running: dict[DemoStage, tuple[Work, float]] = {}
        self._lock = threading.Lock()  # each stage has a thread
        self.timings: list[StageTiming] = []

    def run(self) -> None:
        """Run all. The first failure ends the others and is raised as it was."""
        self._logs.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(len(self._stages)) as pool:
            try:
                self._loop(pool)
            except KeyboardInterrupt:
                # make and a terminal may both send it: the stages below get their time to end.
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                raise
            finally:
                self._stop.set()  # before the pool waits for its threads
                self._screen.live("")

    def _loop(self, pool: ThreadPoolExecutor) -> None:
        waiting, futures = list(self._stages), dict[Future[None], str]()
        done: set[str] = set()
        while waiting or futures:
            for stage in [s for s in waiting if done.issuperset(s.needs)]:
                waiting.remove(stage)
                futures[pool.submit(self._one, stage)] = stage.name
            finished, _ = wait(futures, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in finished:
                future.result()
                done.add(futures.pop(future))
            self._screen.live(self._status())

    def _one(self, stage: DemoStage) -> None:
        log = self._logs / f"{stage.name.replace(' ', '-')}.log"
        log.write_text("")
        work = Work(stage.name, log, self._stop)
        began = time.monotonic() - self._start
        with self._lock:
            self._running[stage] = (work, began)
        self._screen.say(f"[{clock(began)}] {stage.name} ...")
        try:
            stage.run(work)
        finally:
            ended = time.monotonic() - self._start
            with self._lock:
                del self._running[stage]
        self.timings.append(StageTiming(stage.name, began, ended))
        self._screen.say(f"[{clock(ended)}] {stage.name}: done in {ended - began:.0f} s")

    def _status(self) -> str:
        now = time.monotonic() - self._start
        with self._lock:
            running = sorted(self._running.items(), key=lambda one: one[0].name)
            ended = {timing.name: timing.seconds for timing in self.timings}
        if not running:
            return ""
        spent = {stage.name: now - began for stage, (_, began) in running}
        left = clock(seconds_left(self._all, ended, spent))
        parts = [at_work(stage, work, spent[stage.name]) for stage, (work, _) in running]
        done = f"{len(ended)} of {len(self._all)} steps done"
        return f"[{clock(now)}] {done}, about {left} left; at work: {', '.join(parts)}"


def at_work(stage: DemoStage, work: Work, seconds: float) -> str:
    """A stage and its seconds; of one that takes longer than announced, its log's last line too."""
    last = work.last_line() if seconds > stage.first else ""
    return f"{stage.name} {seconds:.0f} s" + (f" ({last[:WIDE]})" if last else "")


def table(timings: Sequence[StageTiming]) -> str:
    """The seconds of every stage, in the order they began, and of all together."""
    rows = sorted(timings, key=lambda timing: timing.began)
    width = max(len(row.name) for row in rows)
    lines = [f"  {'stage':<{width}}  {'began':>6}  {'seconds':>8}"]
    lines += [f"  {r.name:<{width}}  {clock(r.began):>6}  {r.seconds:>8.0f}" for r in rows]
    total = max(row.ended for row in rows)
    return "\n".join([*lines, f"  {'all, side by side':<{width}}  {'':>6}  {total:>8.0f}"])
