"""TensorRT 10 and 11 through their Python API: build an engine, load one, run it.

The only module that imports tensorrt, and only when it is asked to. Networks are strongly typed:
TensorRT 11 knows no others, and TensorRT 10 makes one where its network is created so. What removed
flags and calibrators did is said by the types and Q/DQ nodes of the graph (see `precision`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TypeVar, cast

from dino_api import memory
from dino_api.actions import ACTIONS
from dino_api.names import Action, FailureReason
from dino_trainer.errors import TrainerError, invalid_spec
from dino_trainer.storage.store import Say
from dino_trainer.tensorrt import protocols as types
from dino_trainer.tensorrt.listeners import (
    LAST_ERRORS,
    PhaseListener,
    TensorRtMessages,
    make_log,
    make_monitor,
)

Created = TypeVar("Created")
MAJORS = (10, 11)
TensorShape = tuple[int, ...]


@dataclass(frozen=True)
class InputShapes:
    """The shapes of one input that an engine takes, and the one that it is tuned for."""

    min: TensorShape
    opt: TensorShape
    max: TensorShape


@dataclass(frozen=True)
class Request:
    """What to build.

    onnx: the serialized graph. name: what the engine is called, kept inside it. profiles: by input.
    workspace: bytes that a layer may use besides its inputs and outputs. timing: measured tactics
    of an earlier build, or nothing.
    """

    onnx: bytes
    name: str
    profiles: Mapping[str, InputShapes]
    workspace: int
    timing: bytes = b""


@dataclass(frozen=True)
class BuildOutput:
    """A serialized engine (None where the build was stopped), and all tactics measured so far."""

    plan: bytes | None
    timing: bytes


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of an engine; -1 in the shape stands for what is open."""

    name: str
    dtype: str  # as TensorRT names it: FLOAT, HALF, INT64, UINT8, …
    shape: TensorShape
    is_input: bool
    profile: InputShapes | None  # of inputs


def load() -> types.TensorRT:
    """The module, of a version that this one knows.

    Raises:
        TrainerError: NoTensorRT where it is missing, its libraries are, or it is another version.
    """
    try:
        module = import_module("tensorrt")
    except (ImportError, OSError) as error:
        raise TrainerError(
            FailureReason.NO_TENSORRT, f"TensorRT cannot be loaded here: {error}."
        ) from error
    version = str(getattr(module, "__version__", "?"))
    if version.partition(".")[0] not in map(str, MAJORS):
        raise TrainerError(
            FailureReason.NO_TENSORRT,
            f"TensorRT {version} is installed; this trainer knows 10 and 11.",
        )
    return cast(types.TensorRT, module)


def build(request: Request, watch: PhaseListener, say: Say, verbose: bool = False) -> BuildOutput:
    """Builds an engine for the current CUDA device.

    watch: hears of every step, and stops the build by False; say: hears warnings, all with
    `verbose`. TensorRT's threads call both, one at a time.

    Raises:
        TrainerError: NoTensorRT; NoGPU where TensorRT cannot use it; InvalidSpec where it cannot
            read the graph or build it; DeviceOutOfMemory.
    """
    trt = load()
    heard = TensorRtMessages(say, watch)
    log, monitor = make_log(trt, heard, verbose), make_monitor(trt, heard)
    trt.init_libnvinfer_plugins(log, "")
    builder = _started(lambda: trt.Builder(log), heard)
    network = _strongly_typed(trt, builder)
    _parse(trt, network, log, request.onnx)
    network.name = request.name
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace)
    # On from the start, and it would give products of float32 no more digits than float16 has.
    config.clear_flag(trt.BuilderFlag.TF32)
    config.progress_monitor = monitor
    _add_profile(builder, network, config, request.profiles)
    _attach_timing(config, request.timing, say)
    plan = builder.build_serialized_network(network, config)
    if heard.failure:
        raise heard.failure
    if plan is None and not heard.stopped:
        raise _build_failure(heard.last(), request.workspace)
    measured = config.get_timing_cache()
    timing = bytes(memoryview(measured.serialize())) if measured else b""
    return BuildOutput(None if plan is None else bytes(memoryview(plan)), timing)


def _started(make: Callable[[], Created], heard: TensorRtMessages) -> Created:
    """Builder or Runtime. The bindings raise TypeError where CUDA cannot be used."""
    try:
        return make()
    except (TypeError, RuntimeError) as error:
        raise TrainerError(
            FailureReason.NO_GPU,
            f"TensorRT cannot use the GPU: {heard.last()}.",
            "Check that the node's driver is as new as the CUDA that TensorRT was built for.",
        ) from error


def _strongly_typed(trt: types.TensorRT, builder: types.Builder) -> types.Network:
    """A network that computes in the types that its graph states.

    TensorRT 10 takes the flag when a network is created, and ignores it elsewhere; TensorRT 11
    always makes such a network, and deprecates the flag.
    """
    if trt.__version__.startswith("11."):
        return builder.create_network(0)
    flag = trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    network = builder.create_network(1 << int(flag))
    if not network.get_flag(flag):
        raise TrainerError(
            FailureReason.NO_TENSORRT,
            f"TensorRT {trt.__version__} makes no strongly typed network here: an engine would be "
            "of another precision than asked for.",
        )
    return network


def _parse(trt: types.TensorRT, network: types.Network, log: types.Logger, onnx: bytes) -> None:
    parser = trt.OnnxParser(network, log)
    if parser.parse(onnx):
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    where = [
        f"node {e.node_name() or '(unnamed)'} ({e.node_operator()}): {e.desc()}"
        for e in errors[:LAST_ERRORS]
    ]
    more = f" and {len(errors) - LAST_ERRORS} more" if len(errors) > LAST_ERRORS else ""
    raise invalid_spec(
        f"TensorRT {trt.__version__} cannot read the ONNX file: "
        f"{'; '.join(where) or 'it gave no reason'}{more}.",
        "Export the model with `dino export`, whose operators TensorRT knows.",
    )


def _add_profile(
    builder: types.Builder,
    network: types.Network,
    config: types.BuilderConfig,
    profiles: Mapping[str, InputShapes],
) -> None:
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shapes = profiles[tensor.name]
        try:
            profile.set_shape(tensor.name, shapes.min, shapes.opt, shapes.max)
        except ValueError as error:
            raise _bad_profile(profiles, str(error)) from error
    if config.add_optimization_profile(profile) < 0:
        raise _bad_profile(profiles, "they are not valid")


def _bad_profile(profiles: Mapping[str, InputShapes], why: str) -> TrainerError:
    shapes = "; ".join(f"{n} {p.min}, {p.opt}, {p.max}" for n, p in profiles.items())
    return invalid_spec(
        f"TensorRT refuses the shapes {shapes} (smallest, tuned for, largest): {why}.",
        "Make min_batch_size <= opt_batch_size <= max_batch_size, as the ONNX file's batch allows.",
    )


def _attach_timing(config: types.BuilderConfig, timing: bytes, say: Say) -> None:
    """What another GPU or version measured is refused by TensorRT, and costs only the time."""
    cache = config.create_timing_cache(timing)
    if cache is not None and config.set_timing_cache(cache, False):
        return
    say("The timing cache is of another GPU or TensorRT version: tactics are measured again.")
    empty = config.create_timing_cache(b"")
    if empty is not None:
        config.set_timing_cache(empty, False)


def _build_failure(messages: str, workspace: int) -> TrainerError:
    text = f"TensorRT could not build the engine: {messages}."
    lowered = messages.lower().replace(" ", "")
    if "outofmemory" in lowered or "cudamalloc" in lowered:
        return TrainerError(
            FailureReason.DEVICE_OUT_OF_MEMORY,
            text,
            memory.remedy(
                "use a GPU that nothing else uses", ACTIONS[Action.GEN_TRT_ENGINE].less_memory
            ),
        )
    return invalid_spec(
        text,
        f"Raise gen_trt_engine.tensorrt.workspace_size (now {workspace >> 20} MB), or try "
        "data_type FP32; with gen_trt_engine.verbose=true the log says more.",
    )


class Engine:
    """A loaded engine with one execution context. Not for use from several threads."""

    def __init__(self, plan: bytes, say: Say) -> None:
        """Loads `plan` on the current CUDA device.

        Raises TrainerError: NoTensorRT; InvalidSpec where TensorRT cannot read it;
        DeviceOutOfMemory where it does not fit.
        """
        trt = load()
        self._heard = TensorRtMessages(say)
        self._log = make_log(trt, self._heard)
        trt.init_libnvinfer_plugins(self._log, "")
        self._runtime = _started(lambda: trt.Runtime(self._log), self._heard)
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise invalid_spec(
                f"TensorRT {trt.__version__} cannot load the engine here: {self._heard.last()}.",
                "Build it again with `dino gen_trt_engine` on a GPU and with a TensorRT of the "
                "same kind as where it runs.",
            )
        context = engine.create_execution_context()
        if context is None:
            raise TrainerError(
                FailureReason.DEVICE_OUT_OF_MEMORY,
                f"The engine does not fit into the GPU's memory: {self._heard.last()}.",
                "Use a GPU with more memory that is free, or build for a smaller largest batch.",
            )
        self._engine, self._context = engine, context
        self.name, self.layers = engine.name, engine.num_layers
        self.tensors = {tensor.name: tensor for tensor in self._read_tensors()}

    def _read_tensors(self) -> Iterator[TensorInfo]:
        engine = self._engine
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            is_input = engine.get_tensor_mode(name).name == "INPUT"
            profile = None
            if is_input:
                low, tuned, high = map(tuple, engine.get_tensor_profile_shape(name, 0))
                profile = InputShapes(low, tuned, high)
            dtype, shape = engine.get_tensor_dtype(name).name, tuple(engine.get_tensor_shape(name))
            yield TensorInfo(name, dtype, shape, is_input, profile)

    def shapes(self, inputs: Mapping[str, TensorShape]) -> dict[str, TensorShape]:
        """The shape of every output for inputs of these shapes, which `run` then takes.

        Raises TrainerError InvalidSpec for a shape that no profile covers.
        """
        for name, shape in inputs.items():
            if not self._context.set_input_shape(name, shape):
                raise invalid_spec(
                    f"The engine does not take {name} of {shape}: {self._heard.last()}.",
                    "Use a batch and an image size that it was built for.",
                )
        outputs = [tensor.name for tensor in self.tensors.values() if not tensor.is_input]
        return {name: tuple(self._context.get_tensor_shape(name)) for name in outputs}

    def run(self, addresses: Mapping[str, int], stream: int) -> None:
        """Starts a run on a CUDA stream; memory at `addresses` must stay until the stream is done.

        Raises TrainerError InternalError where TensorRT does not start.
        """
        for name, address in addresses.items():
            if not self._context.set_tensor_address(name, address):
                raise _not_run(f"it takes no address for {name}")
        if not self._context.execute_async_v3(stream):
            raise _not_run(self._heard.last())


def _not_run(why: str) -> TrainerError:
    return TrainerError(FailureReason.INTERNAL_ERROR, f"TensorRT did not run the engine: {why}.")
