"""One training in several processes is the training that one process would do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
import yaml

from dino_api.experiment import ExperimentSpec
from dino_trainer.actions import train
from dino_trainer.distributed.meeting import OneNode
from dino_trainer.model_files import checkpoint
from dino_trainer.model_files.checkpoint import BEST, LATEST
from dino_trainer.train import loop
from dino_trainer.train.run import Run
from tests.patience import LONG
from tests.unit.ranks import World, in_ranks
from tests.unit.training_builders import Recorder, a_context, a_dataset, a_spec, assert_same


def a_run(folder: Path, name: str, *overrides: str) -> ExperimentSpec:
    """2 epochs of 8 images; results in `folder`/`name`."""
    if not (folder / "train").exists():
        a_dataset(folder / "train", 8, seed=0)
        a_dataset(folder / "val", 3, seed=1)
    places = (f"results_dir={folder / name}", "train.tensorboard=false")
    return a_spec(folder / "train", folder / "val", *places, *overrides)


def results(folder: Path, name: str, file: str = LATEST) -> dict:
    return checkpoint.read(folder / name / "train" / file)


Seen = list[tuple[int, int]]  # (step, place in the data set)


def rank_of_training(
    world: World, spec: ExperimentSpec, stop_at: int | None = None
) -> tuple[Seen, list[float | None], str]:
    """Train as one rank. `stop_at`: the last rank is asked to stop when it has done that step.

    Returns the images that this rank took, the losses that it reported, and how it ended.
    """
    stop, seen, recorder = Event(), Seen(), Recorder()
    accumulate = loop.accumulate

    def watched(run: Run, batches: list, boxes: float) -> object:
        seen.extend((run.step, index) for batch in batches for index in batch.indices)
        if run.step + 1 == stop_at and world.rank == world.size - 1:
            stop.set()
        return accumulate(run, batches, boxes)

    loop.accumulate = watched
    try:
        train.run(spec, replace(a_context(spec, recorder, stop), world=world))
        end = "finished"
    except train.TrainerError as error:
        end = error.message
    finally:
        loop.accumulate = accumulate
    return seen, [progress.loss for progress in recorder.steps], end


# Denoising noise is each rank's own; AdamW makes whole steps of gradients that are all rounding.
PLAIN = ("model.use_dn=false", "train.optim.optimizer=SGD", "train.optim.lr=0.01")


def test_four_processes_do_what_one_does(tmp_path: Path) -> None:
    """Only the order in which sums are taken differs."""
    one = a_run(tmp_path, "one", "dataset.batch_size=4", *PLAIN)
    seen, losses, _ = rank_of_training(World.alone(), one)
    four = a_run(tmp_path, "four", "dataset.batch_size=1", *PLAIN)
    ranks = in_ranks(4, rank_of_training, four)
    assert [end for _, _, end in ranks] == ["finished"] * 4
    assert [len(reported) > 0 for _, reported, _ in ranks] == [True, False, False, False]
    assert ranks[0][1] == pytest.approx(losses, rel=1e-5)
    together = [image for images, _, _ in ranks for image in images]
    assert sorted(together) == sorted(seen)
    for file in (LATEST, BEST):
        weights, want = results(tmp_path, "four", file)["model"], results(tmp_path, "one", file)
        for name, value in want["model"].items():
            assert (weights[name] - value).abs().max() < 1e-6, name


def test_another_number_of_processes_repeats_and_skips_no_image(tmp_path: Path) -> None:
    """4 processes stop in the middle of the first epoch, 2 go on."""
    spec = a_run(tmp_path, "changed", "dataset.batch_size=1")
    four = in_ranks(4, rank_of_training, spec, 1)
    assert {end for _, _, end in four} == {
        "Stopped on request after step 1 of 4; a checkpoint is saved."
    }
    two = in_ranks(2, rank_of_training, spec)
    assert [end for _, _, end in two] == ["finished"] * 2
    before = [image for seen, _, _ in four for _, image in seen]
    assert len(before) == 4
    after = [image for _, image in sorted(two[0][0] + two[1][0])]
    assert sorted(before + after[:4]) == list(range(8))  # the first epoch
    assert sorted(after[4:]) == list(range(8))  # the second one


# The second rank does one step, and the next one once it was asked to stop: so long all others
# wait for it. Python imports a module of this name before all else.
PAUSING = """
import os, time
if os.environ.get("RANK") == "1":
    from dino_trainer.train import loop
    accumulate, calls = loop.accumulate, []
    def pausing(run, *more):
        calls.append(run.step)
        while len(calls) > 1 and not run.stop.is_set():
            time.sleep(0.01)
        return accumulate(run, *more)
    loop.accumulate = pausing
"""


class Command:
    """`dino train` as on a node, with its output in a file. Python finds PAUSING in `folder`."""

    def __init__(self, folder: Path, spec: ExperimentSpec, **env: str) -> None:
        path = folder / f"spec{env.get('JOB_COMPLETION_INDEX', '')}.yaml"
        path.write_text(yaml.safe_dump(spec.model_dump(mode="json", exclude_defaults=True)))
        self.log = path.with_suffix(".log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dino_trainer", "train", "-e", path],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "DINO_WORK_DIR": str(folder / "work"),
                    "OMP_NUM_THREADS": "1",
                    "PYTHONPATH": str(folder),
                    **env,
                },
            )

    @property
    def ranks(self) -> list[int]:
        """Their process ids."""
        pid = self.process.pid
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]

    def wait_for(self, path: Path) -> None:
        while not path.exists():
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)

    def wait_for_line(self, text: str) -> None:
        while text not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)

    def end(self) -> int:
        return self.process.wait(LONG)


@pytest.fixture
def commands() -> Iterator[list[Command]]:
    """Whatever is in it is ended with the test."""
    started: list[Command] = []
    yield started
    for command in started:
        command.process.kill()


def test_two_nodes_are_killed_and_stopped_and_end_as_if_nothing_was(
    tmp_path: Path, commands: list[Command]
) -> None:
    """A killed process costs the steps since the checkpoint; a stop of one node stops both.

    In the end stand the bits of two processes on one node that nothing happened to.
    """
    often = ("train.checkpoint_interval=1", "train.checkpoint_interval_unit=step")
    spec = a_run(tmp_path, "nodes", "train.num_epochs=4", "train.num_nodes=2", *often)
    folder = tmp_path / "nodes" / "train"
    first, second = two_nodes(tmp_path, spec, commands)
    first.wait_for(folder / LATEST)
    os.kill(second.ranks[0], signal.SIGKILL)
    first.wait_for_line("Process 2 of 2: SIGKILL ended the process. All processes start again")
    first.wait_for_line("Resuming after step")
    second.process.send_signal(signal.SIGTERM)
    codes = [command.end() for command in commands]
    logs = first.log.read_text() + second.log.read_text()
    assert codes == [143, 143], logs
    assert logs.count("; a checkpoint is saved.") == 2
    assert "Traceback" not in logs
    assert not (folder / "result.json").exists()

    in_ranks(2, rank_of_training, spec)
    in_ranks(2, rank_of_training, a_run(tmp_path, "one", "train.num_epochs=4", *often))
    for file in (LATEST, BEST):
        parts, whole = results(tmp_path, "nodes", file), results(tmp_path, "one", file)
        for name in whole.keys() & {"model", "ema", "optimizer"}:
            assert_same(whole[name], parts[name], name)


def two_nodes(folder: Path, spec: ExperimentSpec, commands: list[Command]) -> list[Command]:
    port = OneNode().meet(Event()).env["MASTER_PORT"]
    (folder / "sitecustomize.py").write_text(PAUSING)
    for index in range(2):
        env = {
            "DINO_RDZV_ENDPOINT": f"localhost:{port}",
            "JOB_COMPLETION_INDEX": str(index),
            "DINO_RDZV_ID": "test",
        }
        commands.append(Command(folder, spec, **env))
    return commands
