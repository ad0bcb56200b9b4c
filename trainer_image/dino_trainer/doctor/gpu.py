"""The GPU: whether there is one, whether PyTorch can use it, and if not, which of both is why."""

from __future__ import annotations

import ctypes
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dino_api.names import FailureReason
from dino_trainer.doctor.host import UNLISTED
from dino_trainer.doctor.line import Line, LineState
from dino_trainer.machine.inventory import Gpu, bf16, gpus

_GIB = 1 << 30
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_HOW = "https://pytorch.org/get-started/locally"


@dataclass(frozen=True)
class Driver:
    """NVIDIA's on the host. gpus: names of what it found. cuda: the newest CUDA that it runs."""

    version: str
    gpus: tuple[str, ...]
    cuda: tuple[int, int] | None


@dataclass(frozen=True)
class Torch:
    """PyTorch here. cuda: what it was built for, None for none. warnings: what it warns of."""

    version: str
    cuda: str | None
    gpus: tuple[Gpu, ...]
    warnings: tuple[str, ...] = ()


def torch_line(why: str) -> Line:
    """PyTorch that cannot be loaded, or be asked for GPUs. why: as `torch_here` says it."""
    remedy = f"Install this project anew (make setup), or PyTorch by itself: {_HOW}"
    return Line("PyTorch", LineState.MISSING, why, remedy, FailureReason.INTERNAL_ERROR)


def gpu_lines(
    torch: Torch | str, driver: Driver | None, env: Mapping[str, str] = os.environ
) -> Iterator[Line]:
    """A line for each GPU, or for why there is none. torch: or why nothing is known of it."""
    if isinstance(torch, Torch) and torch.gpus:
        yield from _usable(torch, driver)
    elif driver is None or not (driver.gpus or driver.cuda):
        yield Line(
            "GPU",
            LineState.MISSING,
            "no NVIDIA driver: actions run on the CPU",
            "Where there is an NVIDIA GPU: install its driver; in a container, start it with GPUs "
            "(docker run --gpus all). Else set train.num_gpus: 0.",
        )
    elif isinstance(torch, Torch):
        yield _unusable(torch, driver, env)
    else:
        detail = f"{_names(driver)} with driver {driver.version}, and no PyTorch to use it"
        yield Line("GPU", LineState.MISSING, detail, "See PyTorch, above.", FailureReason.NO_GPU)


def _names(driver: Driver) -> str:
    return ", ".join(driver.gpus) or "a GPU"


def _usable(torch: Torch, driver: Driver | None) -> Iterator[Line]:
    """GPUs that PyTorch lists, though it may have nothing that runs on them."""
    warned = [[one for one in torch.warnings if _without_kernels(one, gpu)] for gpu in torch.gpus]
    # Where another GPU trains, one that cannot is no failure.
    reason = FailureReason.NO_GPU if all(warned) else None
    for gpu, of_it in zip(torch.gpus, warned, strict=True):
        yield _without(gpu, torch, of_it, reason) if of_it else _fine(gpu, torch, driver)
    known = {one for of_it in warned for one in of_it}
    if others := [one for one in torch.warnings if one not in known]:
        remedy = f"See what it asks for; builds of PyTorch for GPUs and drivers: {_HOW}"
        yield Line("GPU", LineState.WARN, f"PyTorch warns: {_joined(others)}", remedy)


def _without_kernels(warning: str, gpu: Gpu) -> bool:
    """Whether a warning says that this PyTorch was not compiled for that GPU."""
    named = any(f"{gpu.name} {verb} " in warning for verb in ("which", "with"))
    return named and "capability" in warning


def _fine(gpu: Gpu, torch: Torch, driver: Driver | None) -> Line:
    built = f"PyTorch {torch.version} for CUDA {torch.cuda}"
    runs = f", driver {driver.version}" if driver else ""
    return Line("GPU", LineState.OK, f"{gpu.name}, {gpu.memory / _GIB:.0f} GiB; {built}{runs}")


def _without(gpu: Gpu, torch: Torch, warned: Sequence[str], reason: str | None) -> Line:
    detail = f"{gpu.name}, for which PyTorch {torch.version} has no kernels: {_joined(warned)}"
    capability = ".".join(map(str, gpu.capability))
    remedy = (
        f"Install a PyTorch that is built for compute capability {capability}: {_HOW}; newer GPUs "
        "need a newer one, older GPUs an older. Or train without it: train.num_gpus: 0."
    )
    return Line("GPU", LineState.MISSING, detail, remedy, reason)


def _joined(warned: Sequence[str]) -> str:
    """Warnings in one line, each once."""
    return " ".join(" ".join(dict.fromkeys(warned)).split())


def _unusable(torch: Torch, driver: Driver, env: Mapping[str, str]) -> Line:
    """A driver that PyTorch finds no GPU by."""
    says = f" PyTorch says: {_joined(torch.warnings)}" if torch.warnings else ""
    detail = f"{_names(driver)} with driver {driver.version}, which PyTorch cannot use.{says}"
    return Line("GPU", LineState.MISSING, detail, _cure(torch, driver, env), FailureReason.NO_GPU)


def _cure(torch: Torch, driver: Driver, env: Mapping[str, str]) -> str:
    if torch.cuda is None:
        return f"PyTorch {torch.version} was built without CUDA. Install one with: {_HOW}"
    built = _numbers(torch.cuda)
    if driver.cuda and built and built[0] > driver.cuda[0]:
        newest = ".".join(map(str, driver.cuda))
        return (
            f"The driver runs CUDA up to {newest}, and PyTorch is built for {torch.cuda}. Update "
            f"the driver, or install a PyTorch for CUDA {driver.cuda[0]}: {_HOW}"
        )
    if _VISIBLE in env:
        return f"{_VISIBLE}={env[_VISIBLE]!r} hides what it does not list. Unset it."
    return "See whether nvidia-smi works here; in a container, start it with GPUs (--gpus all)."


def bf16_line(gpus: Sequence[Gpu], instructions: frozenset[str]) -> Line:
    """Of what trains here: the first GPU, else the CPU."""
    where = gpus[0].name if gpus else "this CPU"
    there = bf16(gpus, instructions)
    if there:
        return Line("bf16", LineState.OK, f"in {where}: train.precision: bf16")
    remedy = "Leave train.precision at fp32"
    remedy += ", or take fp16 on this GPU." if gpus else "."
    if there is None:
        return Line("bf16", LineState.WARN, f"{UNLISTED}, so it is not known", remedy)
    return Line("bf16", LineState.MISSING, f"not in the hardware of {where}", remedy)


def torch_here() -> Torch | str:
    """PyTorch of this process, or why it cannot be loaded; what it warns of is kept."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return f"cannot be loaded: {error}"

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            listed = gpus()
        except RuntimeError as error:  # the driver lists GPUs, and none of them begins to work
            listed = ()
            warnings.warn(str(error).partition("\n")[0], stacklevel=1)
    messages = tuple(str(one.message).split("(Triggered")[0].strip() for one in caught)
    return Torch(torch.__version__, torch.version.cuda, listed, messages)


def driver_here(proc: Path = Path("/proc/driver/nvidia")) -> Driver | None:
    """NVIDIA's driver as the kernel tells of it, and its library; None where neither is there."""
    cuda = _newest_cuda()
    try:
        text = (proc / "version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return Driver("of unknown version", (), cuda) if cuda else None
    version = re.search(r"\b(\d+\.\d+(?:\.\d+)?)\b", text)
    models = (_model(path) for path in sorted(proc.glob("gpus/*/information")))
    return Driver(version[1] if version else "?", tuple(filter(None, models)), cuda)


def _model(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    model = re.search(r"^Model:\s*(.+?)\s*$", text, re.MULTILINE)
    return model[1] if model else ""


def _newest_cuda() -> tuple[int, int] | None:
    """From the driver's library, which needs no GPU to say it: 12040 is 12.4."""
    number = ctypes.c_int()
    try:
        if ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(number)) != 0:
            return None
    except (OSError, AttributeError):
        return None
    return (number.value // 1000, number.value % 1000 // 10) if number.value else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))
