"""What runs a model's files: ONNX Runtime with its providers, and TensorRT."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from dino_trainer.doctor.line import Line, LineState
from dino_trainer.tensorrt.python_api import MAJORS

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def onnx_runtime_line(providers: Sequence[str] | str, gpus: bool) -> Line:
    """providers: of ONNX Runtime, or why it cannot be loaded."""
    name = "ONNX Runtime"
    if isinstance(providers, str):
        return Line(name, LineState.MISSING, providers, "pip install onnxruntime")
    names = ", ".join(one.removesuffix("ExecutionProvider") for one in providers)
    if gpus and _CUDA not in providers:
        remedy = "Install onnxruntime-gpu in place of onnxruntime for ONNX files on the GPU."
        return Line(name, LineState.WARN, f"{names}, not the GPU", remedy)
    return Line(name, LineState.OK, names)


def tensorrt_line(version: str | None, gpus: bool) -> Line:
    """version: of TensorRT, None where there is none that can be loaded."""
    name, known = "TensorRT", " and ".join(map(str, MAJORS))
    if version is None:
        remedy = "pip install tensorrt" if gpus else "It needs an NVIDIA GPU."
        what = "not installed: gen_trt_engine does not run here, nor do its engines"
        return Line(name, LineState.MISSING, what, remedy)
    if not version.startswith(tuple(f"{major}." for major in MAJORS)):
        return Line(name, LineState.WARN, version, f"{known} are known: install one of them.")
    if not gpus:
        return Line(name, LineState.WARN, f"{version}, and no GPU to build for", "Run it on a GPU.")
    return Line(name, LineState.OK, version)


def onnx_providers() -> Sequence[str] | str:
    """The providers that this ONNX Runtime was built with, or why it is not there."""
    try:
        providers: Sequence[str] = import_module("onnxruntime").get_available_providers()
    except (ImportError, OSError) as error:
        return f"cannot be loaded: {error}"
    return providers


def tensorrt_version() -> str | None:
    """The version of the package; None where there is none that can be loaded."""
    try:
        return str(import_module("tensorrt").__version__)
    except (ImportError, OSError, AttributeError):
        return None
