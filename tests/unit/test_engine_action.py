"""`dino gen_trt_engine`: what is checked first, what is built, and what is published."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from dino_api.experiment import ExperimentSpec
from dino_api.failures import by_reason
from dino_api.loading import load
from dino_api.names import Action, FailureReason
from dino_api.result import ModelComparison, Result, ScoredModel
from dino_trainer.actions import gen_trt_engine
from dino_trainer.data import splits
from dino_trainer.data.coco import CocoDataset
from dino_trainer.detectors.opening import open_model
from dino_trainer.errors import TrainerError
from dino_trainer.gates import engine_gate
from dino_trainer.quantize import engine_calibration
from dino_trainer.results.output import Output
from dino_trainer.run import RunContext
from dino_trainer.spec.sections import output_folder
from dino_trainer.tensorrt import gpu, latency
from tests.tensorrt import double, engines, models
from tests.unit.training_builders import Recorder, a_dataset, source


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> double.World:
    """TensorRT 11, its GPU, and few runs for latencies."""
    monkeypatch.setattr(latency, "RUNS", 3)
    monkeypatch.setattr(latency, "WARM_UP", 1)
    return engines.install(monkeypatch)


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    """The exported model where `dino export` leaves it."""
    return models.save(models.a_model(), tmp_path / "results/export/dino_model.onnx")


def a_spec(tmp_path: Path, tested: bool = True, **tensorrt: Any) -> ExperimentSpec:
    """The section `gen_trt_engine.tensorrt`, with test data or without."""
    spec: dict[str, Any] = {
        "results_dir": str(tmp_path / "results"),
        "dataset": {"workers": 0, "batch_size": 3},
        "gen_trt_engine": {"tensorrt": tensorrt},
    }
    if tested:
        folder = tmp_path / "data"
        spec["dataset"]["test_data_sources"] = [
            source(folder if folder.exists() else a_dataset(folder))
        ]
    return load(spec, (), Action.GEN_TRT_ENGINE)[0]


def run(spec: ExperimentSpec, stop: Event | None = None) -> tuple[Result, Recorder, RunContext]:
    """One run of the action."""
    recorder = Recorder()
    work = Path(spec.results_dir).parent / "work"
    context = RunContext(
        Output(output_folder(spec, Action.GEN_TRT_ENGINE), work),
        recorder,  # type: ignore[arg-type]  # the part of it that actions use
        work,
        stop or Event(),
        "digest",
        "test",
        action=Action.GEN_TRT_ENGINE,
    )
    return gen_trt_engine.run(spec, context), recorder, context


def failure(spec: ExperimentSpec, stop: Event | None = None) -> TrainerError:
    """How a run ends."""
    with pytest.raises(TrainerError) as caught:
        run(spec, stop)
    return caught.value


def test_an_engine_is_built_compared_and_published(
    world: double.World, onnx_file: Path, tmp_path: Path
) -> None:
    spec = a_spec(tmp_path, opt_batch_size=2, max_batch_size=4)
    result, recorder, context = run(spec)
    folder = tmp_path / "results/gen_trt_engine"
    assert result.model is not None
    assert result.model.uri == str(folder / "dino_model.engine")
    assert (result.model.format, result.model.precision) == ("engine", "fp32")
    assert [one.name for one in result.artifacts] == [
        "dino_model.engine",
        "dino_model.engine.json",
    ]
    context.output.confirm(result.artifacts)
    found = result.comparison
    assert found is not None
    assert (found.reference.format, found.candidate.format) == ("onnx", "engine")
    assert (found.images, found.loss) == (8, 0)
    assert found.matched == pytest.approx(1)
    described = json.loads((folder / "dino_model.engine.json").read_text())
    assert described["gpu"] == "NVIDIA H200"
    assert described["tensorrt"] == world.version
    assert described["batch"] == [1, 2, 4]
    assert described["workspace"] == 1024 << 20
    assert described["onnx"]["uri"] == str(onnx_file)
    assert len(described["onnx"]["sha256"]) == 64
    assert [row["batch"] for row in described["latency"]] == [1, 2, 4]
    assert described["comparison"]["matched"] == pytest.approx(1)
    assert sum("images/s" in line for line in recorder.events) == 1
    assert not (folder / "dino_model.engine.unchecked").exists()
    assert world.configs[0]._flags == set()  # TF32 is off


def test_the_engine_can_be_opened_by_evaluate(
    world: double.World, onnx_file: Path, tmp_path: Path
) -> None:
    result, _, context = run(a_spec(tmp_path))
    assert result.model is not None
    evaluated = replace(context, action=Action.EVALUATE)
    detector = open_model(result.model.uri, a_spec(tmp_path), evaluated)
    assert detector.info.class_names == models.CLASSES
    assert detector.info.file.sha256 == result.model.sha256


def test_fp16_is_in_the_graph(world: double.World, onnx_file: Path, tmp_path: Path) -> None:
    """rf-detr's and TAO's flags gave FP32 on TensorRT 11 without a word."""
    result, recorder, _ = run(a_spec(tmp_path, data_type="FP16"))
    built = world.networks[0]._model
    assert {name.removesuffix("_half") for name in models.of_type(built)} > models.LOWERED
    assert result.comparison is not None
    assert result.comparison.candidate.precision == "fp16"
    assert any("nodes compute in float16" in line for line in recorder.events)


def test_int8_is_the_graphs_own_with_biases_that_tensorrt_takes(
    world: double.World, tmp_path: Path
) -> None:
    model = models.quantized(models.a_model())
    models.save(model, tmp_path / "results/export/dino_model.onnx")
    result, _, _ = run(a_spec(tmp_path, data_type="INT8"))
    kinds = [node.op_type for node in world.networks[0]._model.graph.node]
    assert kinds.count("QuantizeLinear") == 2
    assert kinds.count("DequantizeLinear") == 2  # the bias's is folded
    assert result.model is not None
    assert result.model.precision == "int8"


def calibrated(tmp_path: Path, spec: ExperimentSpec) -> tuple[Result, Recorder]:
    """An INT8 engine from the file in float32; how much it may lose is not what is tested."""
    models.save(models.a_model(), tmp_path / "results/export/dino_model.onnx")
    spec.gen_trt_engine.tensorrt.data_type = "INT8"
    result, recorder, _ = run(spec)
    return result, recorder


def check_int8(world: double.World, result: Result) -> None:
    """Both convolutions of the backbone are quantized, with ranges that TensorRT takes."""
    graph = world.networks[0]._model.graph
    made = {node.output[0]: node.op_type for node in graph.node}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    kinds = [made.get(name) for node in convolutions for name in node.input[:2]]
    assert kinds == ["DequantizeLinear"] * 4
    assert not any(one.data_type == onnx.TensorProto.INT32 for one in graph.initializer)
    assert result.comparison is not None
    assert result.comparison.reference.precision == "fp32"
    assert result.comparison.candidate.precision == "int8"


def test_int8_takes_ranges_from_calibration_data(world: double.World, tmp_path: Path) -> None:
    spec = a_spec(tmp_path)
    sources = spec.dataset.test_data_sources
    spec.dataset.quant_calibration_data_sources = sources
    result, recorder = calibrated(tmp_path, spec)
    check_int8(world, result)
    assert "Calibrating INT8 on 8 images." in recorder.events


def test_calibration_data_that_stand_in_for_test_data_are_read_once(
    world: double.World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = a_spec(tmp_path)
    spec.dataset.quant_calibration_data_sources = spec.dataset.test_data_sources
    spec.dataset.test_data_sources = None
    plain, keys = splits.read_split, []

    def counted(sources: Any, key: str, *rest: Any) -> CocoDataset:
        keys.append(key)
        return plain(sources, key, *rest)

    for module in (engine_gate, engine_calibration):
        monkeypatch.setattr(module, "read_split", counted)
    result, recorder = calibrated(tmp_path, spec)
    check_int8(world, result)
    assert "Calibrating INT8 on 8 images." in recorder.events
    assert keys == ["quant_calibration_data_sources"]


def test_int8_takes_ranges_from_taos_folders_of_images(world: double.World, tmp_path: Path) -> None:
    spec = a_spec(tmp_path)
    folder = a_dataset(tmp_path / "calibration", 4, seed=3) / "images"
    (folder / "broken.png").write_bytes(b"no image")
    spec.gen_trt_engine.tensorrt.calibration.cal_image_dir = [str(folder)]
    result, recorder = calibrated(tmp_path, spec)
    check_int8(world, result)
    assert any("broken.png is left out: it is a text" in line for line in recorder.events)


def test_a_static_batch_is_the_engines(world: double.World, tmp_path: Path) -> None:
    models.save(models.a_model(batch=4), tmp_path / "results/export/dino_model.onnx")
    result, _, _ = run(a_spec(tmp_path))
    described = json.loads(Path(f"{result.model and result.model.uri}.json").read_text())
    assert described["batch"] == [4, 4, 4]
    error = failure(a_spec(tmp_path, max_batch_size=8))
    assert "takes batches of 4 only, and gen_trt_engine.tensorrt.max_batch_size is 8" in str(error)


def test_without_test_data_random_pictures_are_compared(
    world: double.World, onnx_file: Path, tmp_path: Path
) -> None:
    result, recorder, _ = run(a_spec(tmp_path, tested=False))
    assert result.comparison is not None
    assert result.comparison.loss is None
    assert result.comparison.matched == pytest.approx(1)
    assert any("no mAP is compared" in line for line in recorder.events)


def wrong_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT 11.1 built engines that silently found something else (TensorRT issue 4813)."""
    right = gen_trt_engine.build.lowered

    def wrong(graph: Any, data_type: str) -> str:
        said = right(graph, data_type)
        value = graph.graph.initializers["reference"]
        value.const_value = gen_trt_engine.ir.tensor(np.full(4, 0.4, np.float32), name="reference")
        return said

    monkeypatch.setattr(gen_trt_engine.build, "lowered", wrong)


def test_an_engine_that_finds_something_else_is_not_published(
    world: double.World, onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "results/gen_trt_engine"
    run(a_spec(tmp_path))  # of an earlier model
    wrong_numbers(monkeypatch)
    error = failure(a_spec(tmp_path))
    assert error.reason == FailureReason.GATE_FAILED
    assert "99 % are needed for FP32" in error.message
    assert "another TensorRT version" in error.remedy
    assert error.kept is not None
    assert error.kept.comparison is not None
    assert error.kept.comparison.matched is not None
    assert error.kept.comparison.matched < 0.99
    assert [one.name for one in error.kept.artifacts] == ["comparison.json"]
    assert json.loads((folder / "comparison.json").read_text())["problems"]
    left = {file.name for file in folder.iterdir()}
    assert not {name for name in left if name.startswith("dino_model")}, "nor the earlier one"
    assert "timing.cache" in left


def test_gates_are_as_narrow_as_the_precision_allows() -> None:
    def closed(data_type: str, matched: float, loss: float | None) -> bool:
        scored = ScoredModel(format="onnx", mAP=0.5)
        found = ModelComparison(reference=scored, candidate=scored, matched=matched, loss=loss)
        return bool(engine_gate.problems(found, data_type))

    assert [closed("FP32", m, 0.0) for m in (0.995, 0.985)] == [False, True]
    assert [closed("FP16", m, 0.004) for m in (0.92, 0.88)] == [False, True]
    assert [closed("FP16", m, None) for m in (0.8, 0.4)] == [False, True]  # random images
    assert [closed("INT8", 0.5, loss) for loss in (0.004, 0.006)] == [False, True]
    assert not closed("INT8", 0.5, -0.1)  # better than what it was made from


REFUSED: dict[str, tuple[Callable[[], Any], dict[str, Any], str]] = {
    "quantized, and FP16 asked for": (
        lambda: models.quantized(models.a_model()),
        {"data_type": "FP16"},
        "is quantized to INT8, and gen_trt_engine.tensorrt.data_type is FP16",
    ),
    "quantized for CPUs": (
        lambda: models.quantized(models.a_model(), kind=np.uint8),
        {"data_type": "INT8"},
        "is quantized for CPUs",
    ),
    "INT8 without images": (models.a_model, {"data_type": "INT8"}, "no calibration images"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_graph_cannot_be_is_refused(
    world: double.World, tmp_path: Path, case: str
) -> None:
    make, asked, said = REFUSED[case]
    models.save(make(), tmp_path / "results/export/dino_model.onnx")
    error = failure(a_spec(tmp_path, **asked))
    assert error.reason == FailureReason.INVALID_SPEC
    assert said in error.message
    assert not world.networks


def test_library_and_gpu_are_looked_for_before_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no ONNX file at all: that would be said next."""
    find = gpu.first_gpu
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    first = failure(a_spec(tmp_path))
    engines.install(monkeypatch)
    monkeypatch.setattr(gpu, "first_gpu", find)
    second = failure(a_spec(tmp_path))
    engines.install(monkeypatch)
    third = failure(a_spec(tmp_path))
    reasons = [first.reason, second.reason, third.reason]
    assert reasons == [
        FailureReason.NO_TENSORRT,
        FailureReason.NO_GPU,
        FailureReason.INPUT_NOT_FOUND,
    ]


def test_a_stopped_build_keeps_what_it_measured(
    world: double.World, onnx_file: Path, tmp_path: Path
) -> None:
    stop = Event()
    stop.set()
    error = failure(a_spec(tmp_path), stop)
    assert error.reason == FailureReason.PREEMPTED
    measured = len(world.timed)
    run(a_spec(tmp_path))
    assert measured > 20
    assert len(world.timed) == measured


def test_the_command_lines_own_places_are_used_and_never_overwritten(
    world: double.World, onnx_file: Path, tmp_path: Path
) -> None:
    spec = a_spec(tmp_path)
    spec.gen_trt_engine.trt_engine = str(tmp_path / "deploy/mine.engine")
    spec.gen_trt_engine.timing_cache = str(tmp_path / "deploy/tactics")
    run(spec)
    there = {file.name for file in (tmp_path / "deploy").iterdir()}
    assert {"mine.engine", "mine.engine.json", "tactics"} <= there
    assert "mine.engine exists" in failure(spec).message


def test_a_checkpoint_is_to_be_exported_first(world: double.World, tmp_path: Path) -> None:
    spec = a_spec(tmp_path)
    spec.gen_trt_engine.onnx_file = str(tmp_path / "dino_model_best.pth")
    error = failure(spec)
    assert "is no ONNX file but checkpoint" in error.message
    assert "dino export" in error.remedy


def test_the_remedy_names_what_the_image_takes() -> None:
    """The build argument, empty unless it is given."""
    remedy = by_reason(FailureReason.NO_TENSORRT).remedy
    dockerfile = (Path(__file__).parents[2] / "trainer_image/Dockerfile").read_text()
    assert "build argument TENSORRT" in remedy
    assert "\nARG TENSORRT=\n" in dockerfile


def test_the_guide_says_what_each_precision_may_lose() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "actions.md").read_text()
    (row,) = [line for line in guide.splitlines() if line.startswith("| `gen_trt_engine` | Tens")]
    for data_type, limits in engine_gate.LIMITS.items():
        assert f"{data_type} {limits.max_loss:g}" in row
        least = limits.least_matched
        assert (f"{data_type} {100 * least:g} %" if least else f"{data_type} any") in row
    assert f"on random images {100 * (engine_gate.ON_RANDOM['FP16'] or 0):g} %" in row
