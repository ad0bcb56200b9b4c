"""Engines as detectors: any number of images, the right pixels, and only where they belong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from dino_api.names import FailureReason
from dino_trainer.data.loader import normalise
from dino_trainer.detectors.engine_detector import EngineDetector, open_engine
from dino_trainer.errors import TrainerError
from dino_trainer.model import Detections, postprocess
from dino_trainer.model.dino import Outputs, Predictions
from dino_trainer.model_files.naming import ENGINE_METADATA_SUFFIX
from dino_trainer.tensorrt import gpu
from tests.tensorrt import double, engines, models


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> double.World:
    """TensorRT 11 and its GPU."""
    return engines.install(monkeypatch)


def opened(path: Path) -> EngineDetector:
    """The detector, silent."""
    return open_engine(path, engines.a_file(path), lambda _: None)


def by_onnx_runtime(count: int) -> list[Detections]:
    """What the ONNX file finds in `engines.a_batch(count)`."""
    batch, sizes = engines.a_batch(count)
    spec = models.a_spec()
    config = spec.dataset.augmentation
    pixels = normalise(batch.images, None, config.input_mean, config.input_std).numpy()
    session = onnxruntime.InferenceSession(models.a_model().SerializeToString())
    logits, boxes = map(torch.from_numpy, session.run(None, {"inputs": pixels}))
    return postprocess(Outputs(Predictions(logits[None], boxes[None]), None, None), sizes, 5)


# Smaller than the smallest batch; between; more than the largest, with a rest that is too small.
@pytest.mark.parametrize("count", [1, 3, 9])
def test_every_image_is_looked_at(world: double.World, tmp_path: Path, count: int) -> None:
    """TAO drops the images of a last batch that is not full."""
    detector = opened(engines.an_engine(tmp_path, world, (2, 2, 4)))
    found = detector(*engines.a_batch(count))
    expected = by_onnx_runtime(count)
    assert len(found) == count
    for own, theirs in zip(found, expected, strict=True):
        assert own.labels.tolist() == theirs.labels.tolist()
        assert own.scores.tolist() == pytest.approx(theirs.scores.tolist(), abs=1e-5)
        assert own.boxes.numpy() == pytest.approx(theirs.boxes.numpy(), abs=1e-3)


def test_a_fixed_batch_is_filled_up(world: double.World, tmp_path: Path) -> None:
    model = models.a_model(batch=4)
    detector = opened(engines.an_engine(tmp_path, world, (4, 4, 4), model))
    assert detector.info.batch_size == 4
    assert len(detector(*engines.a_batch(5))) == 5


def test_an_engine_says_what_it_detects(world: double.World, tmp_path: Path) -> None:
    info = opened(engines.an_engine(tmp_path, world, precision="fp16")).info
    assert (info.class_names, info.input_size, info.num_select) == (models.CLASSES, models.SIZE, 5)
    assert (info.file.format, info.file.precision) == ("engine", "fp16")
    assert info.batch_size is None
    assert info.spec.model.num_queries == models.QUERIES


def test_detections_that_the_graph_selects_are_scaled_to_the_originals(
    world: double.World, tmp_path: Path
) -> None:
    path = engines.an_engine(tmp_path, world, model=models.selecting())
    described = path.with_name(f"{path.name}{ENGINE_METADATA_SUFFIX}")
    content = json.loads(described.read_text())
    content["props"]["dino.variant"] = "end_to_end"
    described.write_text(json.dumps(content))
    batch, sizes = engines.a_batch(3)
    found = opened(path)(batch, sizes)
    height, width = models.SIZE
    brightest = batch.images.float().amax((1, 2, 3))
    for n, one in enumerate(found):
        assert one.labels.tolist() == [1]
        assert one.scores.tolist() == pytest.approx([float(brightest[n]) / 255])
        # The graph says (0, 0, 24, 16): half of the input's width and height.
        half = [0, 0, (96 + n) * 24 / width, (64 + n) * 16 / height]
        assert one.boxes[0].tolist() == pytest.approx(half)


def test_images_of_another_size_are_refused(world: double.World, tmp_path: Path) -> None:
    detector = opened(engines.an_engine(tmp_path, world))
    with pytest.raises(TrainerError, match=r"takes images of 48x32 pixels, .* of 64x64"):
        detector(*engines.a_batch(1, (64, 64)))


def refused(path: Path) -> TrainerError:
    """How opening ends."""
    with pytest.raises(TrainerError) as caught:
        opened(path)
    assert caught.value.reason == FailureReason.INVALID_SPEC
    return caught.value


def test_an_engine_of_another_gpu_is_refused_by_name(world: double.World, tmp_path: Path) -> None:
    path = engines.an_engine(tmp_path, world)
    world.gpu = "NVIDIA L4"
    error = refused(path)
    assert "built on NVIDIA H200 (compute capability 9.0), and this is NVIDIA L4" in error.message
    assert "nodeSelector" in error.remedy


def test_an_engine_of_another_version_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = engines.an_engine(tmp_path, engines.install(monkeypatch, 10))
    engines.install(monkeypatch, 11)
    assert "built by TensorRT 10.16.1.11, and this is 11.4.0.106" in refused(path).message


def test_an_engine_without_its_description_is_refused(world: double.World, tmp_path: Path) -> None:
    path = engines.an_engine(tmp_path, world)
    beside = path.with_name(f"{path.name}{ENGINE_METADATA_SUFFIX}")
    text = beside.read_text()
    for bad in ("{", "[]", text.replace('"schema": 1', '"schema": 9')):
        beside.write_text(bad)
        assert "no description of an engine" in refused(path).message
    beside.unlink()
    assert "dino_model.engine.json is not there" in refused(path).message


def test_the_description_of_another_engine_is_refused(world: double.World, tmp_path: Path) -> None:
    one = engines.an_engine(tmp_path / "one", world)
    source = replace(engines.describe(world, (1, 1, 1)).onnx, sha256="ef" * 32)
    other = engines.an_engine(tmp_path / "other", world, onnx=source)
    one.write_bytes(other.read_bytes())
    assert "describes another engine" in refused(one).message


def test_without_a_gpu_or_the_library_the_reason_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, find = tmp_path / "dino_model.engine", gpu.first_gpu
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = []
    for _ in range(2):
        with pytest.raises(TrainerError) as caught:
            open_engine(path, engines.a_file(path))
        found.append(caught.value.reason)
        engines.install(monkeypatch)
        monkeypatch.setattr(gpu, "first_gpu", find)
    assert found == [FailureReason.NO_TENSORRT, FailureReason.NO_GPU]


def test_the_drivers_version_is_read(tmp_path: Path) -> None:
    file = tmp_path / "version"
    file.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.03  Release Build\n"
    )
    assert gpu.driver_version(file) == "580.159.03"
    assert gpu.driver_version(tmp_path / "none") is None


def test_latency_is_the_median_of_many_runs() -> None:
    from dino_trainer.tensorrt import latency

    runs, now = [], iter(np.cumsum([[0.0, 0.002]] * latency.RUNS).tolist())
    timing = latency.measure(4, lambda: runs.append(1), lambda: next(now))
    assert len(runs) == latency.WARM_UP + latency.RUNS
    assert timing == latency.Latency(4, 2.0, 2.0, 2000.0)
    skewed = latency.timing_of(1, [0.001] * 95 + [0.5] * 5)
    assert (skewed.median_ms, skewed.images_per_second) == (1.0, 1000.0)
    assert latency.batches(1, 1, 8) == [1, 8]
    assert latency.table([timing])[1].split() == ["4", "2.00", "2.00", "2000.0"]
