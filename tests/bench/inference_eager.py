"""Detection on a CPU, beside the very same weights in PyTorch's eager mode with grid_sample."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch

from dino_api.experiment import ExperimentSpec
from dino_api.names import Env
from dino_trainer.data.loader import Batch
from dino_trainer.gates.compare import matched
from dino_trainer.machine.devices import tune_cpu
from dino_trainer.model import Detections
from dino_trainer.model_files.info import Detector, ModelInfo
from tests.bench.harness import Bench
from tests.bench.inference_sides import (
    bench_of,
    default_spec,
    in_turns,
    our_detector,
    pictures,
    plain_detector,
    seen,
)

SAME = 0.99
"""The share of detections that both must have in common: sums in another order turn near ties."""


@dataclass(frozen=True)
class GridSampledDetector:
    """A detector that PyTorch runs, without our sampling kernel."""

    detector: Detector

    @property
    def info(self) -> ModelInfo:
        return self.detector.info

    @property
    def device(self) -> torch.device:
        return self.detector.device

    def __call__(self, batch: Batch, sizes: torch.Tensor) -> list[Detections]:
        with mock.patch.dict(os.environ, {Env.SAMPLING: "grid_sample"}):
            return self.detector(batch, sizes)


def beside_grid_sample(folder: Path, spec: ExperimentSpec) -> Bench:
    """The entry for the model of `spec`. folder: an empty one."""
    ours, images = our_detector(folder, spec), pictures(folder)
    peer = GridSampledDetector(plain_detector(folder, spec))
    share = matched(seen(peer, images, 1), seen(ours, images, 1))
    assert share is not None
    assert share >= SAME, f"the same in {100 * share:.2f} % of the detections only"
    return bench_of(
        "inference_eager",
        in_turns(ours, peer, images),
        "The default detector as evaluate and inference run it; peer: the same weights in PyTorch, "
        "eager, with grid_sample. Both find the same objects.",
        {"% of detections in common": round(100 * share, 2)},
    )


def main() -> None:
    """Print the result."""
    tune_cpu()
    with tempfile.TemporaryDirectory() as folder:
        beside_grid_sample(Path(folder), default_spec()).emit()


if __name__ == "__main__":
    main()
