"""Exact resume of real processes: 20 steps straight end in the bits of 10 + a kill + 10."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from dino_api.result import Result
from dino_trainer.model_files import checkpoint
from dino_trainer.model_files.checkpoint import BEST, LATEST
from dino_trainer.results.output import Output
from tests.unit.dino_process import Dino
from tests.unit.s3_server import BUCKET
from tests.unit.training_builders import a_dataset, a_spec, assert_same

PLAIN = ("dataset.batch_size=2",)
PARTS = (
    "dataset.batch_size=1",
    "train.accumulate_grad_batches=2",
    "dataset.augmentation.planned_sizes=true",
    "dataset.augmentation.fixed_size=null",
    "dataset.augmentation.zoom_crop=null",
    "dataset.augmentation.scales=[64, 80]",
)


@dataclass(frozen=True)
class Interruption:
    """How a training is interrupted after step 12, and what differs afterwards.

    resumed: the step of the checkpoint that it goes on from. workers: before and after.
    """

    overrides: tuple[str, ...]
    number: signal.Signals
    resumed: int
    workers: tuple[int, int] = (0, 0)
    s3: bool = False


CASES = {
    "SIGKILL": Interruption(PLAIN, signal.SIGKILL, 10),
    "SIGTERM, and other numbers of workers": Interruption(
        PLAIN, signal.SIGTERM, 12, workers=(1, 2)
    ),
    "accumulation and planned sizes, SIGKILL": Interruption(
        PARTS, signal.SIGKILL, 10, workers=(2, 0)
    ),
    "the pod and its disk are lost": Interruption(PLAIN, signal.SIGKILL, 10, s3=True),
}


@dataclass(frozen=True)
class Bench:
    """A data set, and the straight runs on it, each made once."""

    folder: Path

    def start(self, name: str, results: str, *overrides: str, pause_at: int = 0) -> Dino:
        """`dino train` for 20 steps."""
        data = self.folder / "data"
        if not data.exists():
            a_dataset(data)
        every_ten = ("train.checkpoint_interval=10", "train.checkpoint_interval_unit=step")
        spec = a_spec(data, data, "train.num_epochs=5", *every_ten, *overrides)
        spec.results_dir = results
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(spec.model_dump(mode="json", exclude_defaults=True)))
        return Dino(self.folder / name, ["train", "-e", str(path)], pause_at=pause_at)

    def straight(self, overrides: tuple[str, ...]) -> str:
        """The results_dir of a run without a break."""
        name = f"straight{abs(hash(overrides))}"
        results = str(self.folder / f"{name}-results")
        if not Path(results).exists():
            dino = self.start(name, results, *overrides)
            assert dino.wait() == 0, dino.log
        return results


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.mark.parametrize("case", CASES)
def test_the_same_bits(
    case: str, bench: Bench, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    how, name = CASES[case], tmp_path.name
    results = str(tmp_path / "results")
    if how.s3:
        request.getfixturevalue("s3_server")
        results = f"s3://{BUCKET}/{name}"
    before, after = (f"dataset.workers={count}" for count in how.workers)

    first = bench.start(f"{name}-1", results, *how.overrides, before, pause_at=12)
    first.paused()
    first.until(lambda: LATEST in Output(f"{results}/train", tmp_path / "look").published())
    first.signal(how.number)
    first.go()
    assert first.wait() == (-9 if how.number == signal.SIGKILL else 143), first.log

    second = bench.start(f"{name}-2", results, *how.overrides, after)
    assert second.wait() == 0, second.log
    assert f"Resuming after step {how.resumed}." in second.log
    assert_equal_ends(bench.straight(how.overrides), results, tmp_path)


def assert_equal_ends(one: str, other: str, folder: Path) -> None:
    """Weights, their average, optimiser and metrics, to the last bit."""
    places = [Output(f"{results}/train", folder / "end") for results in (one, other)]
    for name in (LATEST, BEST):
        contents = [checkpoint.read(place.fetch(name)) for place in places]
        for content in contents:
            content.pop("spec")  # workers and places differ
        assert_same(*contents)
    assert contents[0].keys() >= {"model", "metrics"}
    texts = [place.fetch("result.json").read_text() for place in places]
    results = [Result.from_termination_message(text) for text in texts]
    assert results[0].metrics == results[1].metrics
    assert results[0].metrics.mAP is not None
