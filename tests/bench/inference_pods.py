"""`dino inference` over two pods, beside one: images a second, by the command itself.

A pod is a process that has one core, which its loading and drawing share. Both stand on this
machine, hence it needs two idle cores. What counts is the time from the first image to the last
one's files: all pods have opened the model before. Two commands that know nothing of each other,
each with half of the images, show in the parts what the machine gives two processes at once.

DINO_BENCH_SIDE=320 takes smaller images, for a first look.
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from statistics import median
from threading import Event
from typing import Any

import yaml

from dino_api.names import Action, Env
from dino_trainer.distributed.meeting import OneNode
from tests.bench.harness import Bench, cannot_run, machine
from tests.bench.inference_sides import CLASSES, SIDE, default_spec, our_detector
from tests.bench.photographs import generated

PODS, IMAGES, BATCH, ROUNDS = 2, 16, 2, 3
BEGIN, END = "Looking for objects in ", " objects in "
"""In the lines that the command prints before the first image and after the last one."""


class PodLab:
    """Images under one folder, at which pods look, each run with an output of its own."""

    def __init__(self, folder: Path, images: Path, spec: Mapping[str, Any]) -> None:
        """folder: where the runs are kept. images: a folder. spec: what all runs have in common."""
        self.folder, self.images, self.spec = folder, images, spec
        self._cores = sorted(os.sched_getaffinity(0))
        self._runs = count()

    def together(self, pods: int) -> float:
        """Seconds in which so many pods look at all images."""
        where = {Env.RDZV_ENDPOINT: f"localhost:{free_port()}", Env.RDZV_ID: "bench"}
        started = [
            self._start(self.images, {**where, Env.COMPLETION_INDEX: str(pod)}, pod, pods)
            for pod in range(pods)
        ]
        seconds = seconds_of_all(started)[0]
        assert seconds is not None  # the first pod reports for all
        return seconds

    def apart(self) -> list[float]:
        """Seconds of each of as many commands at the same time, each with its share of images."""
        started = [self._start(self.share(pod), {}, pod, 1) for pod in range(PODS)]
        return [seconds for seconds in seconds_of_all(started) if seconds is not None]

    def share(self, pod: int) -> Path:
        """A folder of the images that are this pod's, where they are dealt as cards are."""
        folder = self.folder / f"share-{pod}"
        if not folder.exists():
            folder.mkdir()
            for path in sorted(self.images.iterdir())[pod::PODS]:
                (folder / path.name).symlink_to(path)
        return folder

    def _start(
        self, images: Path, env: Mapping[str, str], pod: int, pods: int
    ) -> subprocess.Popen[str]:
        own = self.folder / f"run-{next(self._runs)}"
        own.mkdir()
        dataset = copy.deepcopy(self.spec["dataset"])
        dataset["infer_data_sources"]["image_dir"] = [str(images)]
        section = {**self.spec["inference"], "num_nodes": pods}
        spec = {**self.spec, "dataset": dataset, "inference": section}
        path = own / "spec.yaml"
        path.write_text(yaml.safe_dump({**spec, "results_dir": str(own / "results")}))
        with on_core(self._cores[pod]):
            return subprocess.Popen(
                [sys.executable, "-m", "dino_trainer", Action.INFERENCE, "-e", str(path)],
                env={**os.environ, **env, Env.WORK_DIR: str(own / "work")},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started in here runs on one core, and knows of no other."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> str:
    """A port at which pods can meet."""
    return OneNode().meet(Event()).env["MASTER_PORT"]


def seconds_of_all(started: Sequence[subprocess.Popen[str]]) -> list[float | None]:
    """What `seconds_of` says of each command, once all have ended."""
    with ThreadPoolExecutor(len(started)) as threads:
        return list(threads.map(_until_the_end, started))


def _until_the_end(process: subprocess.Popen[str]) -> float | None:
    assert process.stdout is not None
    lines = [(time.monotonic(), line) for line in process.stdout]
    if process.wait():
        said = "".join(line for _, line in lines[-20:])
        raise RuntimeError(f"dino inference ended with {process.returncode}:\n{said}")
    return seconds_of(lines)


def seconds_of(lines: Iterable[tuple[float, str]]) -> float | None:
    """Seconds from the first image to the last one's files; None of a pod that reports nothing.

    lines: what the command printed, each with the second in which it came.
    """
    begin = end = None
    for at, line in lines:
        if line.startswith(BEGIN):
            begin = at
        elif begin is not None and END in line:
            end = at
    return None if begin is None or end is None else end - begin


def measured(lab: PodLab, images: int) -> Bench:
    """The entry. images: how many there are."""
    one, two, apart = [], [], []
    for _ in range(ROUNDS):
        one.append(images / lab.together(1))
        two.append(images / lab.together(PODS))
        apart.append(sum(images / PODS / seconds for seconds in lab.apart()))
    best = median(apart)
    return Bench(
        "inference_pods",
        median(two),
        median(one),
        "images/s",
        machine(),
        better="more",
        target=f">= {0.9 * PODS:g}x",
        note=f"dino inference of the default detector over {PODS} pods; peer: one pod. Each has "
        "one core, and all of them this machine. From the first image to the last one's files.",
        parts={
            "images": images,
            "side": SIDE,
            "rounds": ROUNDS,
            f"images/s of {PODS} commands, each with its share": round(best, 3),
            "share of that": round(median(two) / best, 3),
        },
    )


def prepared(folder: Path, images: int) -> PodLab:
    """So many images, and the default detector. folder: an empty one."""
    spec = default_spec()
    model = our_detector(folder, spec).info.file.uri
    generated(folder / "pictures", images, (SIDE, SIDE))
    classmap = folder / "classes.txt"
    classmap.write_text("".join(f"class {index}\n" for index in range(CLASSES)))
    common = {
        "dataset": {
            "batch_size": BATCH,
            "augmentation": {"fixed_size": spec.dataset.augmentation.fixed_size},
            "infer_data_sources": {"classmap": str(classmap)},
        },
        "inference": {"checkpoint": model, "num_gpus": 0},
    }
    return PodLab(folder, folder / "pictures" / "images", common)


def main() -> None:
    """Print the result."""
    if len(os.sched_getaffinity(0)) < PODS:
        cannot_run(f"{PODS} pods need {PODS} cores.")
    with tempfile.TemporaryDirectory() as folder:
        measured(prepared(Path(folder), IMAGES), IMAGES).emit()


if __name__ == "__main__":
    main()
