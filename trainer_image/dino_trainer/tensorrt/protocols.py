"""The part of TensorRT's Python API that is used here, as types.

TensorRT ships no type stubs. Names and parameters are those of the bindings of 10.16 and 11.4: a
test compares them with what was read out of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

Dims = Sequence[int]


class EnumMember(Protocol):
    """A member of one of TensorRT's enumerations."""

    @property
    def name(self) -> str:
        """Its name, such as FLOAT."""

    def __int__(self) -> int: ...


class HostMemory(Protocol):
    """Bytes that TensorRT holds; `bytes()` and `memoryview()` read them."""

    def __buffer__(self, flags: int, /) -> memoryview: ...


class NetworkTensor(Protocol):
    """An input or output of a network; -1 in the shape stands for what is open."""

    name: str
    dtype: EnumMember
    shape: Dims


class Network(Protocol):
    """INetworkDefinition."""

    name: str
    num_inputs: int
    num_layers: int

    def get_input(self, index: int) -> NetworkTensor: ...
    def get_flag(self, flag: EnumMember) -> bool: ...


class OptimizationProfile(Protocol):
    """IOptimizationProfile."""

    def set_shape(self, input: str, min: Dims, opt: Dims, max: Dims) -> None: ...


class TimingCache(Protocol):
    """ITimingCache."""

    def serialize(self) -> HostMemory: ...


class Logger(Protocol):
    """What extends ILogger."""

    def log(self, severity: EnumMember, msg: str) -> None: ...


class Monitor(Protocol):
    """What extends IProgressMonitor."""

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None: ...
    def step_complete(self, phase_name: str, step: int) -> bool: ...
    def phase_finish(self, phase_name: str) -> None: ...


class BuilderConfig(Protocol):
    """IBuilderConfig."""

    progress_monitor: Monitor

    def clear_flag(self, flag: EnumMember) -> None: ...
    def set_memory_pool_limit(self, pool: EnumMember, pool_size: int) -> None: ...
    def add_optimization_profile(self, profile: OptimizationProfile) -> int: ...
    def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCache | None: ...
    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool: ...
    def get_timing_cache(self) -> TimingCache | None: ...


class Builder(Protocol):
    """Builder."""

    def create_network(self, flags: int = 0) -> Network: ...
    def create_builder_config(self) -> BuilderConfig: ...
    def create_optimization_profile(self) -> OptimizationProfile: ...
    def build_serialized_network(
        self, network: Network, config: BuilderConfig
    ) -> HostMemory | None: ...


class ParserError(Protocol):
    """What the ONNX parser could not read."""

    def desc(self) -> str: ...
    def node_name(self) -> str: ...
    def node_operator(self) -> str: ...


class OnnxParser(Protocol):
    """OnnxParser."""

    num_errors: int

    def parse(self, model: bytes) -> bool: ...
    def get_error(self, index: int) -> ParserError: ...


class ExecutionContext(Protocol):
    """IExecutionContext."""

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool: ...
    def get_tensor_shape(self, name: str) -> Dims: ...
    def set_tensor_address(self, name: str, memory: int) -> bool: ...
    def execute_async_v3(self, stream_handle: int) -> bool: ...


class CudaEngine(Protocol):
    """ICudaEngine."""

    name: str
    num_io_tensors: int
    num_layers: int

    def get_tensor_name(self, index: int) -> str: ...
    def get_tensor_mode(self, name: str) -> EnumMember: ...
    def get_tensor_dtype(self, name: str) -> EnumMember: ...
    def get_tensor_shape(self, name: str) -> Dims: ...
    def get_tensor_profile_shape(self, name: str, profile_index: int) -> Sequence[Dims]: ...
    def create_execution_context(self) -> ExecutionContext | None: ...


class Runtime(Protocol):
    """Runtime."""

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> CudaEngine | None: ...


class TensorRT(Protocol):
    """The module."""

    __version__: str
    BuilderFlag: Any
    ILogger: Any
    IProgressMonitor: Any
    MemoryPoolType: Any
    NetworkDefinitionCreationFlag: Any

    def Builder(self, logger: Logger) -> Builder: ...
    def OnnxParser(self, network: Network, logger: Logger) -> OnnxParser: ...
    def Runtime(self, logger: Logger) -> Runtime: ...
    def init_libnvinfer_plugins(self, logger: Logger, namespace: str) -> bool: ...
