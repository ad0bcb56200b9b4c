"""How much of a training step's time waits for the loader, in a short real training on the CPU.

Ours loads in a worker, as the example for these photographs does; the peer is the same training
that loads in its own process.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from dino_api.experiment import ExperimentSpec, digest
from dino_api.loading import load
from dino_api.names import Action, FailureReason
from dino_api.result import Metrics, Progress
from dino_trainer.data.loader import Batch, TrainLoader, train_loader
from dino_trainer.data.splits import load_data
from dino_trainer.errors import TrainerError
from dino_trainer.machine import devices as cpu
from dino_trainer.report.meter import NO_PARTS, LossParts
from dino_trainer.results.output import Output
from dino_trainer.run import RunContext
from dino_trainer.spec.sections import output_folder
from dino_trainer.train import loop
from dino_trainer.train.setup import prepare_run
from tests.bench.harness import Bench, machine
from tests.bench.photographs import photographs

WARM, STEPS = 2, 12
EXPERIMENT = {  # examples/bccd-train.yaml without the weights that have to be found first
    "model": {
        "backbone": "timm/tf_efficientnet_lite0",
        "return_interm_indices": [2, 3, 4],
        "num_feature_levels": 3,
        "num_queries": 100,
        "num_select": 100,
        "enc_layers": 2,
        "dec_layers": 2,
        "dim_feedforward": 512,
        "dn_number": 50,
    },
    "train": {"num_gpus": 0, "num_epochs": 9},
}
AUGMENTATION = {"fixed_size": [240, 320], "zoom_crop": [0.7, 1.0]}


class SilentReporter:
    """A reporter that nobody listens to."""

    def staged(self, seconds: float) -> None: ...

    def progress(self, progress: Progress, parts: LossParts = NO_PARTS) -> None: ...

    def validated(self, epoch: int, metrics: Metrics, best: bool) -> None: ...

    def event(self, message: str, status: str = "RUNNING") -> None: ...

    def say(self, text: str) -> None: ...


@dataclass
class Timed:
    """The loader's steps, and how long each was waited for; ends training after STEPS of them.

    seconds: from the first measured wait to the end of the last; STEPS - 1 steps lie between.
    """

    steps: TrainLoader
    stop: Event
    waits: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def __iter__(self) -> Iterator[list[Batch]]:
        source, begin = iter(self.steps), 0.0
        for number in range(WARM + STEPS):
            start = time.perf_counter()
            begin = start if number == WARM else begin
            step = next(source)
            now = time.perf_counter()
            self.waits.append(now - start)
            self.seconds = now - begin
            if number == WARM + STEPS - 1:
                self.stop.set()
            yield step

    @property
    def share(self) -> float:
        """Percent of the time of the steps after the first ones."""
        return round(100 * sum(self.waits[WARM:]) / self.seconds, 2)


def a_spec(into: Path, workers: int) -> ExperimentSpec:
    """The training of the photographs below `into`, which are unpacked already."""
    _, source, _ = photographs(into)
    where = {"image_dir": str(source.images), "json_file": str(source.annotations)}
    dataset = {
        "train_data_sources": [where],
        "val_data_sources": [where],
        "batch_size": 4,
        "workers": workers,
        "augmentation": AUGMENTATION,
    }
    folder = into / f"results{workers}"
    return load({**EXPERIMENT, "dataset": dataset, "results_dir": str(folder)})[0]


def trained(into: Path, workers: int) -> Timed:
    """A few steps of it."""
    spec, stop = a_spec(into, workers), Event()
    context = RunContext(
        output=Output(output_folder(spec, Action.TRAIN), into),
        reporter=SilentReporter(),  # type: ignore[arg-type]  # the part of it that training uses
        work_dir=into,
        stop=stop,
        digest=digest(spec),
        run_id="bench",
    )
    data = load_data(spec, context)
    run = prepare_run(spec, context, data, None)
    timed = Timed(train_loader(data.train, spec.dataset, run.plan), stop)
    try:
        loop.train(run, timed)  # type: ignore[arg-type]  # it only iterates
    except TrainerError as end:
        if end.reason != FailureReason.PREEMPTED:
            raise
    return timed


def main() -> None:
    cpu.tune_cpu()
    with tempfile.TemporaryDirectory() as folder:
        ours, peer = (trained(Path(folder), workers) for workers in (1, 0))
    Bench(
        "loader_share",
        ours.share,
        peer.share,
        "% of a step",
        machine(),
        target="<= 2 %",
        note=f"{STEPS} steps of a real training, batch 4, 240x320: the share that waits for the "
        "loader with one worker, and where the training process loads by itself.",
        parts={
            "step s": round(ours.seconds / (STEPS - 1), 3),
            "step s of the peer": round(peer.seconds / (STEPS - 1), 3),
        },
    ).emit()


if __name__ == "__main__":
    main()
