"""The runtime of the double: engines whose kernels are ONNX Runtime's; see the package."""

from __future__ import annotations

import ctypes
import pickle
from typing import Any

import numpy as np
import onnx
import onnxruntime

from tests.tensorrt.binding import Bound, bind, check_logger, log_error

TYPES = {
    onnx.TensorProto.FLOAT: ("FLOAT", np.float32),
    onnx.TensorProto.FLOAT16: ("HALF", np.float16),
    onnx.TensorProto.INT64: ("INT64", np.int64),
    onnx.TensorProto.UINT8: ("UINT8", np.uint8),
}


class Runtime(Bound):
    """Loads what `Builder` made, of the same version and for the same kind of GPU."""

    real = "Runtime"

    def __init__(self, logger: Any) -> None:
        check_logger(self.module, logger)
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
        data = bytes(serialized_engine)
        if not data.startswith(b"ftrt"):
            return self._refuse("Serialization assertion magicTagRead == kMAGIC_TAG failed.")
        content = pickle.loads(data[4:])
        if content["version"] != self.world.version:
            return self._refuse("The engine plan file is not compatible: version tag.")
        if content["gpu"] != self.world.gpu:
            return self._refuse("The engine was generated for another compute capability.")
        return bind(CudaEngine, self.module, self.world)(content, self._logger)

    def _refuse(self, text: str) -> None:
        log_error(self._logger, text)


class CudaEngine(Bound):
    """ICudaEngine."""

    real = "ICudaEngine"

    def __init__(self, content: dict[str, Any], logger: Any) -> None:
        self._content, self._logger = content, logger
        graph = onnx.load_from_string(content["onnx"]).graph
        self._inputs = [value.name for value in graph.input]
        self._values = {value.name: value for value in (*graph.input, *graph.output)}

    @property
    def name(self) -> str:
        return self._content["name"]

    @property
    def num_layers(self) -> int:
        return self._content["layers"]

    @property
    def num_io_tensors(self) -> int:
        return len(self._values)

    def get_tensor_name(self, index: int) -> str:
        return list(self._values)[index]

    def get_tensor_mode(self, name: str) -> Any:
        return self.module.TensorIOMode["INPUT" if name in self._inputs else "OUTPUT"]

    def get_tensor_dtype(self, name: str) -> Any:
        return self.module.DataType[TYPES[self._values[name].type.tensor_type.elem_type][0]]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        dims = self._values[name].type.tensor_type.shape.dim
        return tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims)

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Any]:
        assert profile_index == 0
        return list(self._content["profile"][name])

    def create_execution_context(self) -> Any:
        return bind(ExecutionContext, self.module, self.world)(self)


class ExecutionContext(Bound):
    """IExecutionContext: reads and writes the caller's memory."""

    real = "IExecutionContext"

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._session = onnxruntime.InferenceSession(
            engine._content["onnx"], providers=["CPUExecutionProvider"]
        )

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if name not in self._engine._inputs:
            return self._refuse(f"{name} is no input")
        low, _, high = self._engine._content["profile"][name]
        sides = list(zip(low, shape, high, strict=False))
        if len(shape) != len(low) or not all(a <= own <= b for a, own, b in sides):
            return self._refuse(f"Set dimension {shape} is outside of {low} to {high}")
        self._shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        shape = self._engine.get_tensor_shape(name)
        batch = next(iter(self._shapes.values()), (-1,))[0]
        return tuple(batch if side == -1 else side for side in shape)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if name not in self._engine._values:
            return self._refuse(f"{name} is no input or output")
        self._addresses[name] = int(memory)
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        int(stream_handle)
        names = list(self._engine._values)
        missing = [name for name in names if not self._addresses.get(name)]
        if missing or not self._shapes:
            return self._refuse(f"Neither shape nor address is set for {missing or names}")
        inputs = {name: self._at(name) for name in self._engine._inputs}
        outputs = names[len(inputs) :]
        for name, value in zip(outputs, self._session.run(outputs, inputs), strict=True):
            self._at(name)[...] = value
        return True

    def _at(self, name: str) -> np.ndarray:
        """The caller's memory as an array."""
        kind = np.dtype(TYPES[self._engine._values[name].type.tensor_type.elem_type][1])
        shape = self.get_tensor_shape(name)
        size = int(np.prod(shape)) * kind.itemsize
        memory = (ctypes.c_char * size).from_address(self._addresses[name])
        return np.frombuffer(memory, kind).reshape(shape)

    def _refuse(self, text: str) -> bool:
        log_error(self._engine._logger, text)
        return False
