"""Training steps beside busy neighbours: OpenMP's threads that sleep soon against those that spin.

`dino` sets GOMP_SPINCOUNT before torch is loaded. Both sides are the same program; the peer has
OpenMP's default. Neighbours and workers are sessions of their own, as pods and shells are, so that
a kernel which shares by session gives each the same.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from dino_api.names import Env
from dino_trainer.command.cli import share_cores
from tests.bench.harness import Pair, Times, machine

NEIGHBOURS = 3  # for each core
SECONDS = 10.0
ROUNDS = 3
# Ends with whoever started it, however that ended.
NEIGHBOUR = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"
WORK = """
import sys, time
import torch
from tests.bench.train_step_batch import Size
from tests.bench.train_step_ours import OurStep
from tests.model.small import small

step = OurStep(small())
step.prepare(Size(1, 96, 128))
step.run(False)
start, steps = time.monotonic(), 0
while time.monotonic() - start < float(sys.argv[1]):
    step.run(False)
    steps += 1
print((time.monotonic() - start) / steps)
"""


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Keep that many processes computing."""
    command = [sys.executable, "-c", NEIGHBOUR]
    busy = [subprocess.Popen(command, start_new_session=True) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def seconds_per_step(env: Mapping[str, str]) -> float:
    """Seconds that a training step takes under these variables, in a process of its own."""
    command = [sys.executable, "-c", WORK, str(SECONDS)]
    done = subprocess.run(
        command,
        env=dict(env),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        start_new_session=True,
    )
    return float(done.stdout)


def compare() -> Pair:
    """Rounds of ours and of the default, in turns."""
    ours_alone = (Env.SPIN_COUNT, Env.OMP_WAIT_POLICY)
    plain = {name: value for name, value in os.environ.items() if name not in ours_alone}
    ours = dict(plain)
    share_cores(ours)
    rounds = [(seconds_per_step(ours), seconds_per_step(plain)) for _ in range(ROUNDS)]
    mine, others = zip(*rounds, strict=True)
    return Pair(Times(mine), Times(others))


def main() -> None:
    """Measure alone, and beside neighbours."""
    count = NEIGHBOURS * len(os.sched_getaffinity(0))
    note = "a small training step {}: OpenMP's threads sleep soon, against its default"
    compare().bench("idle_cores", machine(), {}, note=note.format("alone on the machine")).emit()
    with neighbours(count):
        busy = compare()
    beside = f"beside {count} processes that compute"
    busy.bench("busy_cores", machine(), {"neighbours": count}, note=note.format(beside)).emit()


if __name__ == "__main__":
    main()
