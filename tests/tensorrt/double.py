"""The module; see the package."""

from __future__ import annotations

import enum
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.tensorrt.binding import TensorRTWorld, bind
from tests.tensorrt.building import Builder
from tests.tensorrt.parsing import OnnxParser
from tests.tensorrt.running import Runtime


def read_surface(major: int) -> dict[str, Any]:
    """What the real bindings of this version offer."""
    return json.loads(Path(__file__).with_name(f"surface-{major}.json").read_text())


def install(monkeypatch: pytest.MonkeyPatch, major: int = 11) -> TensorRTWorld:
    """Makes `import tensorrt` give the double of TensorRT 10 or 11."""
    world = TensorRTWorld(major, read_surface(major))
    monkeypatch.setitem(sys.modules, "tensorrt", make(world))
    return world


def make(world: TensorRTWorld) -> ModuleType:
    """The module."""
    module = ModuleType("tensorrt")
    module.__version__ = world.version
    for name, members in world.surface["enums"].items():
        setattr(module, name, enum.IntEnum(name, members))
    module.ILogger = _base("ILogger", Severity=module.__dict__.pop("Severity"))
    module.IProgressMonitor = _base("IProgressMonitor")
    module.init_libnvinfer_plugins = lambda logger, namespace: isinstance(logger, module.ILogger)
    for cls in (Builder, OnnxParser, Runtime):
        setattr(module, cls.real, bind(cls, module, world))
    return module


def _base(name: str, **content: Any) -> type:
    """A class to extend: the bindings insist on its __init__ being called."""

    def start(self: Any) -> None:
        self._started = True

    return type(name, (), {"__init__": start, **content})
