"""CPUs, memory and GPUs of a pod."""

from __future__ import annotations

from dino_api import names as api
from dino_api.resources.dinojob import DinoJobSpec
from dino_operator.plan.model import Object

CPU = "500m"
"""The least that is requested where nobody says: a pod without any starves beside busy ones."""
GPU_SHARE, CPU_SHARE = 1000, 250
"""Thousandths of a CPU for a process and for each of its workers, with GPUs and without. A GPU
waits for each of them; on CPUs alone small things are trained, beside others on a small node."""
MOST_WORKERS = 2
"""So many count: nodes have at least 4 CPUs for each GPU, of which the kubelet keeps a part."""
PREFLIGHT_MEMORY = "1Gi"

_SMALL = {"n": 1e-9, "u": 1e-6, "m": 1e-3}
_DECIMAL = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_BINARY = {f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTPE", 1)}
_SUFFIXES = _SMALL | _DECIMAL | _BINARY


def amount(text: str) -> float:
    """A quantity as a number of CPUs or bytes. Raises ValueError, KeyError for another text."""
    digits = text.rstrip("numkKMGTPEi")
    return float(digits) * _SUFFIXES[text[len(digits) :]]


def cpus(spec: DinoJobSpec, workers: int, each: str = "") -> str:
    """Requested where spec.resources.cpu is absent, and not limited.

    workers: processes that read images, of each process of the pod. each: for each process, where
    the installation says it.
    """
    asked = spec.resources
    processes = asked.gpus or asked.processes
    if each:
        return _of_thousandths(processes * round(amount(each) * 1000))
    share = GPU_SHARE if asked.gpus else CPU_SHARE
    wanted = processes * (1 + min(workers, MOST_WORKERS)) * share
    return max(CPU, _of_thousandths(wanted), key=amount)


def _of_thousandths(wanted: int) -> str:
    return f"{wanted}m" if wanted % 1000 else str(wanted // 1000)


def of(spec: DinoJobSpec, workers: int, each: str = "") -> Object:
    """Requests equal limits: the pod gets what it asked for and is evicted last."""
    limits = _limits(spec)
    if spec.resources.gpus:
        limits[api.GPU_RESOURCE] = str(spec.resources.gpus)
    return _with_limits({"cpu": cpus(spec, workers, each), **limits}, limits)


def of_preflight(spec: DinoJobSpec) -> Object:
    """No GPU, and of the rest as much as reading data takes, within the same limits."""
    limits = _limits(spec)
    requests = {"cpu": min(CPU, limits.get("cpu", CPU), key=amount)}
    if "memory" in limits:
        requests["memory"] = min(PREFLIGHT_MEMORY, limits["memory"], key=amount)
    return _with_limits(requests, limits)


def _limits(spec: DinoJobSpec) -> dict[str, str]:
    wished = (("cpu", spec.resources.cpu), ("memory", spec.resources.memory))
    return {name: value for name, value in wished if value is not None}


def _with_limits(requests: dict[str, str], limits: dict[str, str]) -> Object:
    return {"requests": requests, "limits": limits} if limits else {"requests": requests}
