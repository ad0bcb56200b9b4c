"""Reads names and parameters out of TensorRT's Python bindings, which load without its libraries.

    pip download --no-deps --python-version 3.11 tensorrt-cu13-bindings==11.4.0.106
    unzip tensorrt_cu13_bindings-*.whl -d bindings
    python -m tests.tensorrt.read_surface bindings > tests/tensorrt/surface-11.json

The bindings need nine C functions of the libraries. Empty ones are compiled for them (by gcc):
enough to import the module and ask it what it offers, and for nothing else.
"""

from __future__ import annotations

import ctypes
import json
import re
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

CLASSES = (
    *("Builder", "IBuilderConfig", "INetworkDefinition", "ITensor", "IOptimizationProfile"),
    *("ITimingCache", "OnnxParser", "ParserError", "IHostMemory", "Runtime", "ICudaEngine"),
    *("IExecutionContext", "ILogger", "IProgressMonitor"),
)
FUNCTIONS = ("init_libnvinfer_plugins",)
ENUMS = (
    *("BuilderFlag", "NetworkDefinitionCreationFlag", "MemoryPoolType", "TensorIOMode"),
    *("DataType", "OnnxParserFlag"),
)
NEEDED = (
    *("createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL"),
    *("createInferRuntime_INTERNAL", "createNvOnnxParserRefitter_INTERNAL"),
    *("createNvOnnxParser_INTERNAL", "getBuilderPluginRegistry", "getPluginRegistry"),
    *("getNvOnnxParserVersion", "initLibNvInferPlugins"),
)


def load(bindings: Path) -> Any:
    """The extension module below `bindings`, with empty libraries in place of TensorRT's."""
    shared = bindings / "tensorrt_bindings/tensorrt.so"
    found = subprocess.run(["readelf", "-d", shared], capture_output=True, text=True, check=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in re.findall(r"\[(libnv\S+)\]", found.stdout):
            source = "".join(f"void *{one}(void) {{ return 0; }}\n" for one in NEEDED)
            library = Path(folder, name)
            subprocess.run(
                ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-xc", "-", "-o", library],
                input=source, text=True, check=True,
            )  # fmt: skip
            ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
        sys.path.insert(0, str(bindings))
        return import_module("tensorrt_bindings.tensorrt")


def parameters(member: Any) -> list[str] | None:
    """Names of the parameters without self, of the last overload; None for an attribute."""
    if isinstance(member, property) or not callable(member):
        return None
    found = re.findall(r"\w+\((self[^\n]*|\w+: [^\n]*|)\) -> ", member.__doc__ or "")
    return re.findall(r"(?:^|, )(\w+):", found[0])[found[0].startswith("self") :] if found else []


def values(enumeration: Any) -> dict[str, int]:
    """Its members and what `int()` makes of them."""
    return {name: int(member) for name, member in enumeration.__members__.items()}


def surface(trt: Any) -> dict[str, Any]:
    """{class: {member: parameters}}, {enumeration: {member: value}}, {function: parameters}."""
    classes = {
        name: {
            member: parameters(getattr(getattr(trt, name), member))
            for member in dir(getattr(trt, name))
            if member == "__init__" or not member.startswith("_")
        }
        for name in CLASSES
    }
    return {
        "classes": classes,
        "enums": {
            "Severity": values(trt.ILogger.Severity),
            **{name: values(getattr(trt, name)) for name in ENUMS},
        },
        "functions": {name: parameters(getattr(trt, name)) for name in FUNCTIONS},
    }


def lines(part: dict[str, Any]) -> str:
    """JSON with one class, enumeration or function a line."""
    rows = ",\n".join(f" {json.dumps(name)}: {json.dumps(part[name])}" for name in sorted(part))
    return f"{{\n{rows}\n}}"


if __name__ == "__main__":
    found = surface(load(Path(sys.argv[1])))
    print(
        "{" + ",\n".join(f"{json.dumps(key)}: {lines(part)}" for key, part in found.items()) + "}"
    )
