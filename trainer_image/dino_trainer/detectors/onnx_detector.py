"""An ONNX file as a detector, run by ONNX Runtime. Shapes: b batch, h x w the file's input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as states
from torch import Tensor

from dino_api.result import ModelFile
from dino_trainer.data.loader import Batch
from dino_trainer.detectors.exported_graph import detections_of, inputs_of
from dino_trainer.errors import TrainerError, invalid_spec
from dino_trainer.model import Detections
from dino_trainer.model_files.graph_metadata import (
    END_TO_END_OUTPUTS,
    RAW_INPUT,
    RAW_OUTPUTS,
    GraphMetadata,
    Variant,
)
from dino_trainer.model_files.info import ModelInfo

_REMEDY = "Name a file that `dino export` or `dino quantize` made."
# In the order of preference; the CPU can run everything.
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
# What ONNX Runtime raises on a file that it cannot run; they have no base of their own.
_STATES = (each for each in vars(states).values() if isinstance(each, type))
_REFUSALS: tuple[type[Exception], ...] = (
    *(each for each in _STATES if issubclass(each, Exception)),
    RuntimeError,
)
_ERRORS_ONLY = 3
# The key of a session's options that makes ONNX Runtime exact on x86 without VNNI.
EXACT = "session.x64quantprecision"


class OnnxDetector:
    """Runs one file, on the GPU where ONNX Runtime has a provider for it, else on the CPU.

    Takes any number of images: where the file has a fixed batch, in several runs, of which the last
    is filled up by repeating an image whose detections are dropped.

    path: the file on this machine, which `info.file.uri` names for everyone.
    """

    def __init__(
        self, path: Path, session: onnxruntime.InferenceSession, info: ModelInfo, variant: Variant
    ) -> None:
        self.path, self.session, self.info, self.variant = path, session, info, variant
        self.device = torch.device("cpu")  # pixels are prepared there

    @torch.inference_mode()
    def __call__(self, batch: Batch, sizes: Tensor) -> list[Detections]:
        """Detects; see `Detector`."""
        inputs = inputs_of(batch, self.info, self.variant)
        outputs = {
            name: torch.from_numpy(value) for name, value in self.run(inputs.numpy()).items()
        }
        return detections_of(outputs, self.info, self.variant, sizes)

    def run(self, inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Every output by name, for ``inputs`` [b, 3, h, w] of any b."""
        size = self.info.batch_size or len(inputs)
        runs = [self._run_once(inputs[at : at + size], size) for at in range(0, len(inputs), size)]
        return {name: np.concatenate([one[name] for one in runs]) for name in runs[0]}

    def _run_once(self, inputs: NDArray[Any], size: int) -> dict[str, NDArray[Any]]:
        count = len(inputs)
        if count < size:
            inputs = np.concatenate([inputs, np.repeat(inputs[-1:], size - count, axis=0)])
        names = outputs_of(self.variant)
        outputs = self.session.run(list(names), {RAW_INPUT: np.ascontiguousarray(inputs)})
        return {name: value[:count] for name, value in zip(names, outputs, strict=True)}


def open_onnx(path: Path, file: ModelFile) -> OnnxDetector:
    """The detector in the file at ``path``, which is known as ``file``.

    Raises:
        TrainerError: InvalidSpec where it is no ONNX file, one that ONNX Runtime cannot run, one
            without our metadata, or whose inputs and outputs are not what the metadata says.
    """
    session = _session(path, file.uri)
    with _texts(file.uri):
        props = session.get_modelmeta().custom_metadata_map
    metadata = GraphMetadata.from_props(props, file.uri)
    if metadata.cut_off:
        del session  # or two would hold the weights
        session = _session(path, file.uri, exact=True)
    with _texts(file.uri):
        _check_names(session, metadata, file.uri)
        _check_shapes(session, metadata, file.uri)
    return OnnxDetector(path, session, metadata.info(file), metadata.variant)


@contextmanager
def _texts(uri: str) -> Iterator[None]:
    """Names and metadata in a file may be no text."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise _refused(uri, error) from error


def outputs_of(variant: Variant) -> tuple[str, ...]:
    """The outputs of a raw or an end-to-end graph."""
    return END_TO_END_OUTPUTS if variant == "end_to_end" else RAW_OUTPUTS


def _session(path: Path, uri: str, *, exact: bool = False) -> onnxruntime.InferenceSession:
    """exact: INT8 weights are computed with as UINT8, which is slower, and right on every x86."""
    options = onnxruntime.SessionOptions()
    if exact:
        options.add_session_config_entry(EXACT, "1")
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = torch.get_num_threads()
    here = onnxruntime.get_available_providers()
    providers = [(name, _of_this_process(name)) for name in _PROVIDERS if name in here]
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers)
    except (states.InvalidProtobuf, states.NoModel) as error:
        raise invalid_spec(f"{uri} is no ONNX file, or not a whole one.", _REMEDY) from error
    except _REFUSALS as error:
        raise _refused(uri, error) from error


def _of_this_process(provider: str) -> dict[str, int]:
    """The options of a provider: of several processes each has a GPU of its own."""
    on_gpu = provider == _PROVIDERS[0] and torch.cuda.is_available()
    return {"device_id": torch.cuda.current_device()} if on_gpu else {}


def _refused(uri: str, error: Exception) -> TrainerError:
    lines = str(error).splitlines() or ["no message"]
    return invalid_spec(
        f"{uri} cannot be run by ONNX Runtime {onnxruntime.__version__}: {lines[0][:300]}", _REMEDY
    )


def _check_names(session: onnxruntime.InferenceSession, metadata: GraphMetadata, uri: str) -> None:
    own = [one.name for one in session.get_inputs()], [one.name for one in session.get_outputs()]
    expected = [RAW_INPUT], list(outputs_of(metadata.variant))
    if own != expected:
        graph = " -> ".join(", ".join(names) for names in own)
        wanted = " -> ".join(", ".join(names) for names in expected)
        raise invalid_spec(f"{uri} has the graph {graph}, and a detector has {wanted}.", _REMEDY)


def _check_shapes(session: onnxruntime.InferenceSession, metadata: GraphMetadata, uri: str) -> None:
    """Metadata of one model on the graph of another."""
    sides = session.get_inputs()[0].shape[2:]
    if tuple(sides) != metadata.input_size:
        height, width = metadata.input_size
        raise invalid_spec(
            f"{uri} takes images of {_times(reversed(sides))} pixels, and its metadata says "
            f"{width}x{height}.",
            _REMEDY,
        )
    classes = session.get_outputs()[0].shape[2:]
    if metadata.variant == "raw" and classes != [len(metadata.class_names)]:
        raise invalid_spec(
            f"{uri} tells {_times(classes)} classes, and its metadata names "
            f"{len(metadata.class_names)}.",
            _REMEDY,
        )


def _times(sides: Iterable[object]) -> str:
    """Sides as people write them; a graph may have any number of them, and of any kind."""
    return "x".join(map(str, sides)) or "no"
