"""What ties the double's classes to one TensorRT version; see the package."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

VERSIONS = {10: "10.16.1.11", 11: "11.4.0.106"}


@dataclass
class TensorRTWorld:
    """What a test sets and looks at.

    gpu: the kind of GPU that engines are for. cuda: whether there is one. timed: tactics measured
    so far by all builds. fails: what the next build says instead of succeeding. networks, configs:
    all that were created.
    """

    major: int
    surface: dict[str, Any]
    gpu: str = "NVIDIA H200"
    cuda: bool = True
    fails: str = ""
    timed: list[str] = field(default_factory=list)
    networks: list[Any] = field(default_factory=list)
    configs: list[Any] = field(default_factory=list)

    @property
    def version(self) -> str:
        return VERSIONS[self.major]


class Bound:
    """A class of the module. Attributes that the real class lacks cannot be set."""

    real: str
    world: TensorRTWorld
    module: ModuleType

    def __setattr__(self, key: str, value: Any) -> None:
        if not key.startswith("_") and key not in self.world.surface["classes"][self.real]:
            raise AttributeError(f"{self.real!r} object has no attribute {key!r}")
        object.__setattr__(self, key, value)


def bind(cls: type[Bound], module: ModuleType, world: TensorRTWorld) -> Any:
    """`cls` as part of `module`, after a check that it offers nothing that TensorRT does not."""
    check_surface(world.surface, cls)
    return type(cls.real, (cls,), {"module": module, "world": world})


def check_surface(surface: dict[str, Any], cls: type[Bound]) -> None:
    """Fails where the double offers more than the real class, or calls a parameter otherwise."""
    real = surface["classes"][cls.real]
    for member, value in vars(cls).items():
        if member.startswith("_") or member == "real":
            continue
        assert member in real, f"TensorRT's {cls.real} has no {member}"
        if inspect.isfunction(value):
            own = list(inspect.signature(value).parameters)[1:]
            assert real[member][: len(own)] == own, f"{cls.real}.{member} takes {real[member]}"


def log_error(logger: Any, text: str) -> None:
    """What TensorRT does in place of raising."""
    logger.log(logger.Severity.ERROR, text)


def check_logger(module: ModuleType, logger: Any) -> None:
    """The bindings take nothing else, and nothing whose base was not started."""
    if not isinstance(logger, module.ILogger) or not hasattr(logger, "_started"):
        raise TypeError("__init__(): incompatible constructor arguments")


class HostMemory(bytes):
    """IHostMemory: the buffer protocol and `nbytes`."""

    @property
    def nbytes(self) -> int:
        return len(self)
