"""The builder of the double; see the package."""

from __future__ import annotations

import json
import pickle
from typing import Any

import onnx

from tests.tensorrt.binding import Bound, HostMemory, bind, check_logger, log_error

WEAK = {"FP16", "BF16", "INT8", "FP8", "INT4", "FP4"}
OUTER, INNER = "Building engine", "Timing tactics"  # phases, one within the other
STEPS = {OUTER: 3, INNER: 4}


class Builder(Bound):
    """Serializes the graph itself with all that TensorRT ties an engine to."""

    real = "Builder"

    def __init__(self, logger: Any) -> None:
        check_logger(self.module, logger)
        self._logger = logger
        if not self.world.cuda:
            log_error(logger, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def create_network(self, flags: int = 0) -> Any:
        known = sum(1 << value for value in self.module.NetworkDefinitionCreationFlag)
        if flags & ~known:
            log_error(self._logger, f"createNetworkV2: unknown flags {flags}")
            return None
        made = bind(Network, self.module, self.world)(flags)
        self.world.networks.append(made)
        return made

    def create_builder_config(self) -> Any:
        made = bind(BuilderConfig, self.module, self.world)(self._logger)
        self.world.configs.append(made)
        return made

    def create_optimization_profile(self) -> Any:
        return bind(OptimizationProfile, self.module, self.world)()

    def build_serialized_network(self, network: Any, config: Any) -> HostMemory | None:
        if refusal := self.world.fails or _refusal(network, config):
            log_error(self._logger, refusal)
            return None
        self._time(network, config)
        if not _told(config.progress_monitor):
            return None
        content = {
            "version": self.world.version,
            "gpu": self.world.gpu,
            "name": network.name,
            "onnx": network._model.SerializeToString(),
            "profile": config._profiles[0]._shapes if config._profiles else {},
            "layers": network.num_layers,
        }
        return HostMemory(b"ftrt" + pickle.dumps(content))

    def _time(self, network: Any, config: Any) -> None:
        """Measures what the timing cache does not hold."""
        known = config._cache._known if config._cache else set()
        new = [node.name for node in network._model.graph.node if node.name not in known]
        self.world.timed += new
        known.update(new)


def _refusal(network: Any, config: Any) -> str:
    """Why TensorRT would not build this."""
    if network._model is None:
        return "Network must have at least one output"
    weak = {flag.name for flag in config._flags} & WEAK
    if network._typed and weak:
        return f"Strongly typed network cannot be built with {sorted(weak)} precision flags."
    if config._workspace < 1 << 20:
        return "Could not find any implementation for node: insufficient workspace."
    shapes = config._profiles[0]._shapes if config._profiles else {}
    tensors = [network.get_input(index) for index in range(network.num_inputs)]
    return next(filter(None, (_unfit(one, shapes.get(one.name)) for one in tensors)), "")


def _unfit(tensor: Any, shapes: Any) -> str:
    if shapes is None:
        return "" if -1 not in tensor.shape else "no optimization profile has been defined."
    for shape in shapes:
        pairs = list(zip(tensor.shape, shape, strict=False))
        if len(shape) != len(tensor.shape) or any(own not in (-1, asked) for own, asked in pairs):
            return f"{tensor.name}: profile {shape} does not fit {tuple(tensor.shape)}."
    return ""


def _told(monitor: Any) -> bool:
    """Tells a progress monitor of a whole build: whether it let it go on to the end."""
    if monitor is None:
        return True
    monitor.phase_start(OUTER, None, STEPS[OUTER])
    monitor.phase_start(INNER, OUTER, STEPS[INNER])
    for phase in (INNER, OUTER):
        goes_on = all(monitor.step_complete(phase, step) for step in range(STEPS[phase]))
        monitor.phase_finish(phase)
        if not goes_on:
            return False
    return True


class Network(Bound):
    """INetworkDefinition, which a parser fills."""

    real = "INetworkDefinition"

    def __init__(self, flags: int) -> None:
        typed = 1 << self.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED
        self._typed = self.world.major >= 11 or bool(flags & typed)
        self._model: Any = None
        self.name = "Unnamed Network 0"

    @property
    def num_inputs(self) -> int:
        return len(self._model.graph.input) if self._model else 0

    @property
    def num_layers(self) -> int:
        return len(self._model.graph.node) if self._model else 0

    def get_input(self, index: int) -> Any:
        return Tensor(self._model.graph.input[index])

    def get_flag(self, flag: Any) -> bool:
        return flag.name == "STRONGLY_TYPED" and self._typed


class Tensor:
    """ITensor of an input."""

    def __init__(self, value: onnx.ValueInfoProto) -> None:
        dims = value.type.tensor_type.shape.dim
        self.name = value.name
        self.shape = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims)


class OptimizationProfile(Bound):
    """IOptimizationProfile. That shapes fit the network is only found out by the build."""

    real = "IOptimizationProfile"

    def __init__(self) -> None:
        self._shapes: dict[str, tuple[Any, Any, Any]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        shapes = tuple(min), tuple(opt), tuple(max)
        same_rank = len({len(shape) for shape in shapes}) == 1
        if not same_rank or not all(0 <= a <= b <= c for a, b, c in zip(*shapes, strict=True)):
            raise ValueError("Shape provided for min, opt and max is inconsistent")
        self._shapes[input] = shapes


class BuilderConfig(Bound):
    """IBuilderConfig."""

    real = "IBuilderConfig"

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._profiles, self._flags = list[Any](), {self.module.BuilderFlag.TF32}
        self._workspace: int = 8 << 30
        self._cache: Any = None
        self.progress_monitor = None

    def set_flag(self, flag: Any) -> None:
        self._flags.add(self._known(flag))

    def clear_flag(self, flag: Any) -> None:
        self._flags.discard(self._known(flag))

    def _known(self, flag: Any) -> Any:
        if not isinstance(flag, self.module.BuilderFlag):
            raise TypeError("incompatible function arguments: a BuilderFlag is needed")
        return flag

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        if not isinstance(pool, self.module.MemoryPoolType):
            raise TypeError("set_memory_pool_limit(): incompatible function arguments")
        self._workspace = int(pool_size)

    def add_optimization_profile(self, profile: Any) -> int:
        if not profile._shapes:
            return -1
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> Any:
        return bind(TimingCache, self.module, self.world)(bytes(serialized_timing_cache))

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        if cache._of not in (None, [self.world.version, self.world.gpu]) and not ignore_mismatch:
            log_error(self._logger, "The timing cache was created on another device.")
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> Any:
        return self._cache


class TimingCache(Bound):
    """ITimingCache: the names of the nodes that were timed."""

    real = "ITimingCache"

    def __init__(self, data: bytes) -> None:
        content = json.loads(data) if data else {"of": None, "known": []}
        self._of, self._known = content["of"], set(content["known"])

    def serialize(self) -> HostMemory:
        content = {"of": [self.world.version, self.world.gpu], "known": sorted(self._known)}
        return HostMemory(json.dumps(content).encode())
