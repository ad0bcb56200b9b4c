"""`dino inference` in several processes leaves the very files that one process leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from threading import Event
from typing import Any
from unittest import mock

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from PIL import Image

from dino_api.experiment import ExperimentSpec
from dino_api.loading import load
from dino_api.names import Action, FailureReason
from dino_trainer.actions import inference
from dino_trainer.detectors import onnx_detector
from dino_trainer.distributed.meeting import OneNode
from dino_trainer.errors import TrainerError
from dino_trainer.inference import collecting, files, rendering
from dino_trainer.inference.collecting import ImageOrder
from dino_trainer.inference.rendering import FinishedImage, Renderer
from dino_trainer.model import build_dino
from dino_trainer.model_files import checkpoint
from tests.patience import LONG
from tests.unit.ranks import World, in_ranks
from tests.unit.training_builders import Recorder, a_context

NAMES = ("", "red", "", "blue")
IMAGES = 11


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of many sizes, three of which cannot be read, and a model that finds something."""
    rng = np.random.default_rng(0)
    (tmp_path / "images" / "deep").mkdir(parents=True)
    for number in range(IMAGES):
        size = rng.integers(30, 90, 2)
        pixels = rng.integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.{'jpg' if number else 'gif'}")
    for number in (3, 4, 9):
        (tmp_path / "images" / f"{number}.jpg").write_bytes(b"\xff\xd8 broken")
    (tmp_path / "images" / "notes.txt").touch()
    (tmp_path / "classmap.txt").write_text("red\n\nblue\n")
    spec = load({**structure(), "results_dir": "x"})[0]
    torch.manual_seed(0)
    model = build_dino(spec.model, len(NAMES))
    content = {"model": model.state_dict(), "spec": spec.model_dump(mode="json"),
               "class_names": list(NAMES)}  # fmt: skip
    checkpoint.write(content, tmp_path / "model.pth")
    return tmp_path


def structure() -> dict[str, Any]:
    keys = {
        "backbone": "timm/test_efficientnet", "return_interm_indices": [2, 3],
        "num_feature_levels": 2, "hidden_dim": 32, "nheads": 2, "enc_layers": 1, "dec_layers": 1,
        "dim_feedforward": 32, "num_queries": 10, "num_select": 10,
    }  # fmt: skip
    sizes = {"fixed_size": None, "test_random_resize": 64, "random_resize_max_size": 128}
    return {"model": keys, "dataset": {"augmentation": sizes}}


def spec_of(folder: Path, *overrides: str) -> ExperimentSpec:
    content = {
        "results_dir": str(folder / "results"),
        "dataset": {
            "infer_data_sources": {
                "image_dir": [str(folder / "images")],
                "classmap": str(folder / "classmap.txt"),
            },
            "batch_size": 2,
            "workers": 0,
        },
        "inference": {
            "checkpoint": str(folder / "model.pth"),
            "num_gpus": 0,
            "conf_threshold": 0.0,
        },
    }
    return load(content, overrides, Action.INFERENCE)[0]


def infer(
    world: World, spec: ExperimentSpec, packed: bool = False, often: bool = False
) -> tuple[Any, list[str], list[int]]:
    """The action as one rank: its result, what it said, and the images done as it told them.

    packed: as for a remote output. often: they meet after each turn, and send next to nothing.
    """
    context = a_context(spec, Recorder(), Event(), Action.INFERENCE, Path(spec.results_dir).parent)
    with ExitStack() as patched:
        if packed:
            patched.enter_context(mock.patch.object(files, "is_remote", return_value=True))
        if often:
            patched.enter_context(mock.patch.object(collecting, "IMAGES_BETWEEN_MEETINGS", 1))
            patched.enter_context(mock.patch.object(collecting, "MOST_BYTES", 3000))
        result = inference.run(spec, replace(context, world=world))
    recorder = context.reporter
    assert isinstance(recorder, Recorder)
    return result.to_dict(), recorder.events, [step.step or 0 for step in recorder.steps]


def left(folder: Path) -> dict[str, bytes]:
    """All files below `folder` by name; the next run begins without them.

    Not the list of them, which has the time of each.
    """
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }
    rmtree(folder)
    return found


def alone(spec: ExperimentSpec, **options: bool) -> tuple[Any, list[str], list[int]]:
    """As one process, with as many threads as each of several has: the order of sums."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return infer(World.alone(), spec, **options)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("packed", [False, True])
def test_two_and_three_processes_leave_what_one_leaves(folder: Path, packed: bool) -> None:
    """Every byte of it, in folders and archives; what the first one says and counts, too."""
    spec, results = spec_of(folder), folder / "results" / "inference"
    result, events, steps = alone(spec, packed=packed)
    want = left(results)
    assert len(want) == (4 if packed else 2 + 2 * (IMAGES - 3))
    found = json.loads(want["predictions.json"])
    assert len({one["image_id"] for one in found["annotations"]}) == IMAGES - 3
    assert [one["id"] for one in found["annotations"]] == [
        number + 1 for number in range(len(found["annotations"]))
    ]
    assert [one["file_name"] for one in found["info"]["skipped"]] == ["3.jpg", "4.jpg", "9.jpg"]
    assert steps == [2, 4, 6, 8, 10, 11]
    for size, often in ((2, False), (3, True)):
        (first, told, counted), *others = in_ranks(size, infer, spec, packed, often)
        assert left(results) == want
        assert first == result
        assert told == [
            event.replace("1 thread(s).", f"1 thread(s) in each of {size} processes.")
            for event in events
        ]
        assert counted[-1] == IMAGES
        assert counted == sorted(set(counted))
        assert len(counted) == (-(-6 // size) if often else 1)
        assert all(one["artifacts"] == [] for one, _, _ in others if "artifacts" in one)


def test_fewer_batches_than_processes(folder: Path) -> None:
    spec = spec_of(folder, "dataset.batch_size=8")
    alone(spec)
    want = left(folder / "results" / "inference")
    in_ranks(3, infer, spec, False, True)
    assert left(folder / "results" / "inference") == want


def stopped(world: World, spec: ExperimentSpec, rank: int) -> None:
    """One rank is asked to stop after its first turn."""
    context = a_context(spec, Recorder(), Event(), Action.INFERENCE, Path(spec.results_dir).parent)
    add = Renderer.add

    def watched(*arguments: Any) -> None:
        add(*arguments)
        if world.rank == rank:
            context.stop.set()

    with (
        mock.patch.object(Renderer, "add", watched),
        mock.patch.object(collecting, "IMAGES_BETWEEN_MEETINGS", 1),
    ):
        inference.run(spec, replace(context, world=world))


@pytest.mark.parametrize("rank", [0, 1])
def test_a_stop_of_one_process_stops_them_all(folder: Path, rank: int) -> None:
    """With one reason: a pod that ended with success would not be started again."""
    want = ("Preempted", f"Stopped on request after 4 of {IMAGES} images.")
    assert in_ranks(2, stopped, spec_of(folder), rank) == [want, want]
    assert not (folder / "results" / "inference" / "predictions.json").exists()


def full(world: World, spec: ExperimentSpec) -> None:
    """The disk of the second process has no space left."""
    error = TrainerError(FailureReason.DISK_FULL, "No space left.")
    patched = mock.patch.object(rendering, "encode", side_effect=error)
    with patched if world.rank else ExitStack():
        infer(world, spec, often=True)


def test_what_ends_one_process_ends_the_others_without_a_result(folder: Path) -> None:
    (first, _), (second, message) = in_ranks(2, full, spec_of(folder))
    assert (first, second, message) == ("PeerLost", "DiskFull", "No space left.")
    assert not (folder / "results" / "inference" / "predictions.json").exists()


def with_own_spec(world: World, specs: list[ExperimentSpec]) -> None:
    infer(world, specs[world.rank])


def test_a_process_with_other_images_ends_them_all(folder: Path) -> None:
    """Before any is looked at: results would stand under the names of other images."""
    other = folder / "other"
    other.mkdir()
    for number in range(IMAGES):
        (other / f"{number}.png").touch()
    source = f"dataset.infer_data_sources.image_dir=[{other}]"
    specs = [spec_of(folder), spec_of(folder, source)]
    for reason, message in in_ranks(2, with_own_spec, specs):
        assert reason == "InvalidDataset"
        assert message.startswith(f"Process 2 of 2 has found {IMAGES} images, and the first one ")


def none_readable(world: World, spec: ExperimentSpec) -> None:
    infer(world, spec)


def test_where_no_image_can_be_read_the_first_process_says_so(folder: Path) -> None:
    for path in (folder / "images").iterdir():
        if path.is_file() and path.suffix != ".txt":
            path.write_bytes(b"broken")
    (reason, message), (other, _) = in_ranks(2, none_readable, spec_of(folder))
    assert (reason, other) == ("InvalidDataset", "PeerLost")
    assert message.startswith(f"None of the {IMAGES} images can be read; 0.gif: ")


def test_images_wait_for_those_before_them() -> None:
    order = ImageOrder(2, 2)
    order.add(1, [FinishedImage(2), FinishedImage(3)])
    assert list(order.ready()) == []
    order.add(0, [FinishedImage(0)])
    assert [image.index for image in order.ready()] == [0]
    order.add(0, [FinishedImage(1), FinishedImage(4)])
    assert [image.index for image in order.ready()] == [1, 2, 3, 4]


def test_an_onnx_file_runs_on_the_gpu_of_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four GPUs the first one would do all the work."""
    asked: list[object] = []
    here = ["CPUExecutionProvider", "CUDAExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: here)
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda *_, providers: asked.append(providers)
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    onnx_detector._session(Path("model.onnx"), "model.onnx")
    assert asked == [[("CUDAExecutionProvider", {"device_id": 3}), ("CPUExecutionProvider", {})]]


def test_two_nodes_leave_what_one_process_leaves(folder: Path) -> None:
    """The command itself: the second node has work and results of its own, and keeps nothing."""
    alone(spec_of(folder))
    want = left(folder / "results" / "inference")
    port = OneNode().meet(Event()).env["MASTER_PORT"]
    started = []
    for index in range(2):
        own = folder / f"node{index}"
        own.mkdir()
        path = own / "spec.yaml"
        spec = spec_of(folder, "inference.num_nodes=2", f"results_dir={own / 'results'}")
        path.write_text(yaml.safe_dump(spec.model_dump(mode="json", exclude_defaults=True)))
        env = {
            **os.environ,
            "DINO_WORK_DIR": str(own / "work"),
            "DINO_RDZV_ENDPOINT": f"localhost:{port}",
            "DINO_RDZV_ID": "test",
            "JOB_COMPLETION_INDEX": str(index),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "dino_trainer", "inference", "-e", str(path)]
        started.append(
            subprocess.Popen(
                command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        )
    outputs = [process.communicate(timeout=LONG)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], outputs
    first, second = (left(folder / f"node{index}" / "results" / "inference") for index in range(2))
    assert json.loads(first.pop("result.json"))["dataset"]["images"] == IMAGES - 3
    assert {name: first[name] for name in want} == want
    assert second == {}
