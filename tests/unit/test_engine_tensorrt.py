"""Engines: TensorRT 10 and 11 through one module, against a double that refuses what they do."""

from __future__ import annotations

import inspect
import sys
from threading import Event
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from dino_api.names import FailureReason
from dino_trainer.errors import TrainerError
from dino_trainer.tensorrt import protocols, python_api
from dino_trainer.tensorrt.python_api import Engine, InputShapes, Request
from tests.tensorrt import double, models

OPEN = InputShapes((1, 3, *models.SIZE), (2, 3, *models.SIZE), (4, 3, *models.SIZE))


@pytest.fixture(params=[10, 11])
def trt(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> double.World:
    """Both versions."""
    return double.install(monkeypatch, request.param)


def request(model: onnx.ModelProto | None = None, **changes: Any) -> Request:
    """A build that works."""
    onnx_bytes = (model or models.a_model()).SerializeToString()
    values = {
        "onnx": onnx_bytes,
        "name": "dino",
        "profiles": {"inputs": OPEN},
        "workspace": 1 << 30,
    }
    return Request(**(values | changes))


def build(asked: Request | None = None, **options: Any) -> python_api.BuildOutput:
    """Builds and lets nobody listen."""
    values = {"watch": lambda *_: True, "say": lambda _: None}
    return python_api.build(asked or request(), **(values | options))


def refused(**changes: Any) -> TrainerError:
    """How a build ends."""
    with pytest.raises(TrainerError) as caught:
        build(request(**changes))
    return caught.value


def test_the_parts_that_are_used_are_those_of_the_real_bindings() -> None:
    """Names and parameters in `protocols`, in TensorRT 10 and in 11."""
    real = {"Network": "INetworkDefinition", "OptimizationProfile": "IOptimizationProfile"}
    real |= {"NetworkTensor": "ITensor", "TimingCache": "ITimingCache", "CudaEngine": "ICudaEngine"}
    real |= {"BuilderConfig": "IBuilderConfig", "ExecutionContext": "IExecutionContext"}
    real |= {name: name for name in ("Builder", "OnnxParser", "ParserError", "Runtime")}
    checked = 0
    for major in (10, 11):
        surface = double.read_surface(major)["classes"]
        for ours, name in real.items():
            protocol = getattr(protocols, ours)
            used = [m for m in vars(protocol) if not m.startswith("_")]
            for member in [*used, *protocol.__annotations__]:
                assert member in surface[name], f"{name}.{member} of TensorRT {major}"
                if inspect.isfunction(vars(protocol).get(member)):
                    own = list(inspect.signature(vars(protocol)[member]).parameters)[1:]
                    assert surface[name][member][: len(own)] == own
                checked += 1
    assert checked > 60


def test_an_engine_is_built_and_computes(trt: double.World) -> None:
    built = build()
    assert built.plan is not None
    engine = Engine(built.plan, print)
    assert engine.name == "dino"
    assert engine.tensors["inputs"].profile == OPEN
    pixels = torch.from_numpy(models.pixels(3))
    shapes = engine.shapes({"inputs": tuple(pixels.shape)})
    assert shapes == {"pred_logits": (3, 6, 4), "pred_boxes": (3, 6, 4)}
    outputs = {name: torch.zeros(shape) for name, shape in shapes.items()}
    engine.run({name: one.data_ptr() for name, one in {"inputs": pixels, **outputs}.items()}, 0)
    assert 0 < outputs["pred_boxes"].min() < outputs["pred_boxes"].max() < 1


def test_networks_are_strongly_typed_without_precision_flags(trt: double.World) -> None:
    """TensorRT 10 makes them so by a creation flag alone; as a builder flag it does nothing."""
    build()
    (network,), (config,) = trt.networks, trt.configs
    assert network._typed
    assert config._flags == set()
    assert config._workspace == 1 << 30


def test_the_double_has_what_its_version_has(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for major in (10, 11):
        double.install(monkeypatch, major)
        module = sys.modules["tensorrt"]
        config = module.Builder(a_logger(module)).create_builder_config()
        with pytest.raises(AttributeError):
            config.max_workspace_size = 1 << 30
        found[major] = {
            "FP16": hasattr(module.BuilderFlag, "FP16"),
            "EXPLICIT_BATCH": hasattr(module.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH"),
            "typed bit": int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED),
        }
    assert found == {
        10: {"FP16": True, "EXPLICIT_BATCH": True, "typed bit": 1},
        11: {"FP16": False, "EXPLICIT_BATCH": False, "typed bit": 0},
    }


def a_logger(module: Any) -> Any:
    """The simplest that the bindings take."""

    class Log(module.ILogger):
        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.said: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            self.said.append(msg)

    return Log()


def test_the_double_refuses_weak_typing_in_a_typed_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    double.install(monkeypatch, 10)
    module = sys.modules["tensorrt"]
    log = a_logger(module)
    builder = module.Builder(log)
    network = builder.create_network(1 << module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    assert module.OnnxParser(network, log).parse(models.a_model(1).SerializeToString())
    config = builder.create_builder_config()
    config.set_flag(module.BuilderFlag.FP16)
    assert builder.build_serialized_network(network, config) is None
    assert "precision flags" in log.said[-1]


REFUSALS = {
    "open batch without order": (
        {"profiles": {"inputs": InputShapes(OPEN.max, OPEN.opt, OPEN.min)}},
        "inconsistent",
    ),
    "a profile of another size": (
        {"profiles": {"inputs": InputShapes((1, 3, 9, 9), (1, 3, 9, 9), (1, 3, 9, 9))}},
        "does not fit",
    ),
    "no workspace": ({"workspace": 1 << 10}, "workspace_size (now 0 MB)"),
    "an operator that TensorRT lacks": (
        {"onnx": onnx.parser.parse_model(
            '<ir_version: 9, opset_import: ["": 17, "com.other": 1]> '
            "g (float[1] inputs) => (float[1] y) { y = com.other.Magic (inputs) }"
        ).SerializeToString()},
        "Magic",
    ),
    "biases of int32": (
        {"onnx": models.quantized(models.a_model()).SerializeToString()},
        "DequantizeLinear",
    ),
    "a zero point that is none": (
        {"onnx": models.quantized(models.a_model(), zero=3).SerializeToString()},
        "symmetric",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_what_tensorrt_refuses_is_a_sentence(trt: double.World, case: str) -> None:
    changes, said = REFUSALS[case]
    error = refused(**changes)
    assert error.reason == FailureReason.INVALID_SPEC
    assert said in f"{error.message} {error.remedy}"


def test_a_build_that_runs_out_of_memory_says_so(trt: double.World) -> None:
    trt.fails = "Requested amount of GPU memory could not be allocated: OutOfMemory"
    error = refused()
    assert error.reason == FailureReason.DEVICE_OUT_OF_MEMORY
    assert "max_batch_size" in error.remedy


def test_a_gpu_that_tensorrt_cannot_use_is_named(trt: double.World) -> None:
    trt.cuda = False
    error = refused()
    assert error.reason == FailureReason.NO_GPU
    assert "CUDA initialization failure with error: 35" in error.message


def test_a_missing_library_is_no_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(TrainerError, match="cannot be loaded") as caught:
        python_api.load()
    assert caught.value.reason == FailureReason.NO_TENSORRT
    assert "TENSORRT" in caught.value.remedy


def test_another_version_is_no_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    double.install(monkeypatch)
    monkeypatch.setattr(sys.modules["tensorrt"], "__version__", "8.6.1")
    with pytest.raises(TrainerError, match=r"8\.6\.1 is installed; this trainer knows 10 and 11"):
        python_api.load()


def test_tactics_are_measured_once(trt: double.World) -> None:
    first = build()
    measured = len(trt.timed)
    again = build(request(timing=first.timing))
    assert measured > 20
    assert len(trt.timed) == measured
    assert again.plan == first.plan


def test_tactics_of_another_gpu_are_measured_again(trt: double.World) -> None:
    first, said = build(), list[str]()
    trt.gpu = "NVIDIA L4"
    build(request(timing=first.timing), say=said.append)
    assert any("another GPU" in line for line in said)
    assert trt.timed[: len(trt.timed) // 2] == trt.timed[len(trt.timed) // 2 :]


def test_a_build_tells_its_progress_and_can_be_stopped(trt: double.World) -> None:
    told, stop = [], Event()

    def watch(phase: str, done: int, steps: int) -> bool:
        told.append((phase, done, steps))
        return not stop.is_set()

    build(watch=watch)
    assert [one for one in told if one[0]] == [("Building engine", n, 3) for n in (1, 2, 3)]
    stop.set()
    stopped = build(watch=watch)
    assert stopped.plan is None
    assert stopped.timing  # the next attempt goes on with what was measured


def test_what_a_listener_raises_ends_the_build_not_the_process(trt: double.World) -> None:
    def watch(phase: str, done: int, steps: int) -> bool:
        raise TrainerError(FailureReason.STORAGE_UNAVAILABLE, "The output is gone.")

    with pytest.raises(TrainerError, match="The output is gone"):
        build(watch=watch)


def test_an_engine_of_another_gpu_or_damaged_is_refused(trt: double.World) -> None:
    plan = build().plan or b""
    trt.gpu = "NVIDIA L4"
    for bad, said in ((plan, "compute capability"), (b"nothing" + plan, "magicTag")):
        with pytest.raises(TrainerError, match=said) as caught:
            Engine(bad, lambda _: None)
        assert caught.value.reason == FailureReason.INVALID_SPEC
        assert "Build it again" in caught.value.remedy


def test_runs_outside_of_the_profile_or_without_memory_are_refused(trt: double.World) -> None:
    engine = Engine(build().plan or b"", lambda _: None)
    with pytest.raises(TrainerError, match=r"does not take inputs of \(5, 3, 32, 48\)"):
        engine.shapes({"inputs": (5, 3, *models.SIZE)})
    engine.shapes({"inputs": (1, 3, *models.SIZE)})
    pixels = np.zeros((1, 3, *models.SIZE), np.float32)
    with pytest.raises(TrainerError, match="did not run"):
        engine.run({"inputs": pixels.ctypes.data}, 0)
