"""Many jobs at once: jobs a second and requests a job, ours beside Kubeflow Trainer.

As operator_scale.py, on the same control plane, whose Jobs and pods are played: a DinoJob without
data and a TrainJob of one node are one Job each. DINO_BENCH_TRAINER names what is built of Trainer.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.bench import operator_requests as requests
from tests.bench.control_plane import PLAYED_JOBS, administrator
from tests.bench.harness import Bench, cannot_run, machine
from tests.bench.operator_scale import (
    RUNS,
    SIZES,
    Contender,
    Lived,
    middle,
    parts_of,
    turns,
)
from tests.bench.operator_sides import ours
from tests.bench.trainer_side import (
    TRAIN_JOB,
    VARIABLE,
    Trainer,
    a_train_job,
    installed,
    lacking,
    versions,
)


def main() -> None:
    folder = os.environ.get(VARIABLE)
    lack = lacking(folder)
    if lack or not folder:
        cannot_run(lack)
    build = Path(folder).resolve()
    sides = {
        "ours": Contender(ours),
        "trainer": Contender(Trainer(build), a_train_job, TRAIN_JOB),
    }
    load = os.getloadavg()[0]
    with ExitStack() as stack:
        stack.enter_context(installed(administrator(PLAYED_JOBS, "600s"), build))
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        lived = {size: turns(size, sides, stack, place) for size in SIZES}
    for each in results(lived, versions(build), load):
        each.emit()


def results(lived: dict[int, dict[str, list[Lived]]], version: str, load: float) -> list[Bench]:
    """Of the largest size. load: how many processes waited at the start."""
    largest = max(lived)
    mine, theirs = lived[largest].values()
    parts: dict[str, Any] = {}
    for size, both in lived.items():
        parts |= parts_of(size, both)
    return [
        Bench(
            "operator_jobs_per_second_trainer",
            middle(mine, "per_second"),
            middle(theirs, "per_second"),
            "jobs/s",
            machine(),
            better="more",
            target=">= 10x",
            note=f"Jobs that end a second, of {largest} created at once; peer: Kubeflow Trainer "
            f"{version}, with the settings of their manifests. Both make one Job of each, whose "
            f"pod runs for {RUNS:.0f} s; Jobs and pods are played, API server and etcd real.",
            parts={**parts, "load of the machine": round(load, 1)},
        ),
        written(mine, theirs),
    ]


def written(mine: list[Lived], theirs: list[Lived]) -> Bench:
    """What no clock touches. Requests of each kind are those of the last round."""
    one, other = mine[-1], theirs[-1]
    calls = [middle(each, "calls_to_the_job") for each in (mine, theirs)]
    return Bench(
        "operator_writes_per_job_trainer",
        middle(mine, "writes"),
        middle(theirs, "writes"),
        "requests",
        machine(),
        note="From the creation of a job to its end, by the API server's audit log; peer: "
        "Kubeflow Trainer's manager and JobSet's together. The parts are all requests of a "
        "job's life; those to the first Job are [ours, peer].",
        parts={
            "requests to the first Job": calls,
            **{f"ours: {kind}": n for kind, n in requests.kinds(one.all_asked, one.jobs).items()},
            **{
                f"trainer: {kind}": n
                for kind, n in requests.kinds(other.all_asked, other.jobs).items()
            },
        },
    )


if __name__ == "__main__":
    main()
