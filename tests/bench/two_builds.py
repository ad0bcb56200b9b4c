"""This build beside an earlier one: training step and its memory, scoring and searches, in turns.

The earlier build is a checkout with an environment of its own (`git worktree add ../before COMMIT`,
`uv sync --frozen --all-extras` there). Each side runs its own benches in its own interpreter.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.control_plane import peak_mib
from tests.bench.harness import Bench, Pair, cannot_run, machine, paired
from tests.bench.train_step_worker import IN_A_POD, Worker

ROOT = Path(__file__).parents[2]
BEFORE = "DINO_BENCH_BEFORE"
SIZES = ([1, 256, 320], [1, 480, 640])  # images, height, width
SEARCHES = 10
MEMORY = (4, 480, 640)
PEAKS = 3
STEPS = 2  # the second one has the optimiser's state from its start
SCORE = """
import sys
from tests.bench.coco_scoring import SIZE, make_case
case = make_case(**SIZE)
for _ in sys.stdin:
    case.ours()
    print("scored", flush=True)
"""
NOTE = "This build; peer: the earlier one in DINO_BENCH_BEFORE, each in an interpreter of its own."


@dataclass(frozen=True)
class Build:
    """A checkout with its environment. env: variables that its pods have on a CPU."""

    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def python(self) -> str:
        """The interpreter of its environment."""
        return str(self.folder / ".venv" / "bin" / "python")

    @contextmanager
    def scorer(self) -> Iterator[subprocess.Popen[str]]:
        """A process that scores a validation for each line that it reads."""
        process = subprocess.Popen(
            [self.python, "-c", SCORE],
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            yield process
            assert process.stdin is not None
            process.stdin.close()

    def worker(self) -> Worker:
        """A process for its training steps."""
        return Worker("ours", self.python, self.folder, self.env)

    def peak_of_training(self) -> float:
        """The megabytes that a process holds at most in two training steps."""
        with self.worker() as step:
            step.ask("prepare", size=MEMORY)
            for _ in range(STEPS):
                step.run()
            return round(peak_mib(step.pid) * 1024**2 / 1e6, 1)

    def searches(self) -> dict[str, dict[str, Any]]:
        """Run its bench of many searches once and return the entries by name.

        Raises:
            RuntimeError: if it printed no entry.
        """
        done = subprocess.run(
            [self.python, "-m", "tests.bench.search_load"],
            cwd=self.folder,
            env={**os.environ, "DINO_BENCH_SEARCHES": str(SEARCHES)},
            capture_output=True,
            text=True,
        )
        entries = [json.loads(line) for line in done.stdout.splitlines() if line[:1] == "{"]
        if not entries:
            raise RuntimeError(f"{self.folder.name}: {(done.stderr or done.stdout).strip()[-500:]}")
        return {entry["name"]: entry for entry in entries}


def train_steps(ours: Build, before: Build) -> Iterator[Bench]:
    """A training step of both builds by size and precision."""
    with (
        ours.worker() as ours_step,
        before.worker() as before_step,
    ):
        for size in SIZES:
            for worker in (ours_step, before_step):
                worker.ask("prepare", size=size)
            for bf16 in (False, True):
                pair = _steps(ours_step, before_step, bf16)
                name = f"two_builds_train_step_{'bf16' if bf16 else 'fp32'}_{size[1]}"
                yield _bench(name, pair, {"(images, height, width)": tuple(size)})


def _steps(ours: Worker, before: Worker, bf16: bool) -> Pair:
    return paired(lambda: ours.run(bf16), lambda: before.run(bf16), rounds=9, warmup=2)


def training_memory(ours: Build, before: Build) -> Bench:
    """The resident memory of a training of full size. Where the heap has holes differs by a tenth
    from process to process."""
    peaks = [(ours.peak_of_training(), before.peak_of_training()) for _ in range(PEAKS)]
    of_ours, of_before = ([pair[side] for pair in peaks] for side in (0, 1))
    return Bench(
        "training_peak_memory",
        median(of_ours),
        median(of_before),
        "MB",
        machine(),
        parts={
            "(images, height, width)": MEMORY,
            "all of ours": tuple(of_ours),
            "all of the peer": tuple(of_before),
        },
        target="<= 0.6 of the earlier build's",
        note=f"{NOTE} The most that a process ever held: libraries, weights, gradients and AdamW's "
        f"state are in it. R50, float32; the middle one of {PEAKS} processes of each, in turns; "
        "ours with the variables of a pod without GPUs. The fork server of a loader (163 MB, 308 "
        "with torch for GPUs) is not in it.",
    )


def scoring(ours: Build, before: Build) -> Bench:
    """The twelve statistics of a validation."""
    with ours.scorer() as ours_scorer, before.scorer() as before_scorer:
        pair = paired(lambda: _score(ours_scorer), lambda: _score(before_scorer), rounds=15)
    return _bench("two_builds_coco_scoring", pair, {})


def _score(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    print(file=process.stdin, flush=True)
    if not process.stdout.readline():
        raise RuntimeError("A process that scores has ended; its complaint stands above.")


def search_loads(ours: Build, before: Build) -> Iterator[Bench]:
    """Requests of a trial, processor time of the operator and the time of many searches."""
    runs: dict[str, list[dict[str, dict[str, Any]]]] = {"ours": [], "before": []}
    for side in ("before", "ours", "ours", "before"):
        runs[side].append({"ours": ours, "before": before}[side].searches())
    counts = {"searches": SEARCHES, "runs": 2}

    def mean(side: str, name: str, part: str = "") -> float:
        entries = [run[name] for run in runs[side]]
        values = [entry["parts"][part] if part else entry["ours"] for entry in entries]
        return round(sum(values) / len(values), 2)

    requests, seconds = "search_load_requests", "search_load_time"
    for name, unit, of in (
        ("two_builds_search_requests", "requests", (requests,)),
        ("two_builds_search_cpu", "s", (requests, "operator CPU s")),
        ("two_builds_search_time", "s", (seconds,)),
    ):
        ours_value, before_value = mean("ours", *of), mean("before", *of)
        yield Bench(name, ours_value, before_value, unit, machine(), parts=counts, note=NOTE)


def _bench(name: str, pair: Pair, parts: dict[str, Any]) -> Bench:
    return pair.bench(name, machine(), parts=parts, target="not slower", note=NOTE)


def main() -> None:
    folder = os.environ.get(BEFORE)
    if not folder:
        cannot_run(f"No earlier build: set {BEFORE} to its checkout, with its environment in .venv")
    before, ours = Build(Path(folder).resolve()), Build(ROOT, IN_A_POD)
    for build in (before, ours):
        if not Path(build.python).exists():
            cannot_run(
                f"{build.folder} has no environment: run uv sync --frozen --all-extras there"
            )
    chosen = sys.argv[1:] or ["train_step", "training_memory", "coco_scoring", "search_load"]
    if "train_step" in chosen:
        for bench in train_steps(ours, before):
            bench.emit()
    if "training_memory" in chosen:
        training_memory(ours, before).emit()
    if "coco_scoring" in chosen:
        scoring(ours, before).emit()
    if "search_load" in chosen:
        for bench in search_loads(ours, before):
            bench.emit()


if __name__ == "__main__":
    main()
