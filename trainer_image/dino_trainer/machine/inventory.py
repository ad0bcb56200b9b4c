"""What this machine has to train with: cores, memory, the CPU's instructions, GPUs.

Numbers are those of this process: its control group may have less than the machine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from dino_trainer.machine.cores import cores

# Products of bfloat16 in hardware, as Linux calls them: of x86, and of ARM.
_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}
# Compute capability of Ampere, the first with bf16.
_AMPERE = (8, 0)
_UNLIMITED = 1 << 60
_ARCHITECTURE = re.compile(r"(?P<kind>sm|compute)_(?P<major>\d+)(?P<minor>\d)((?P<exact>a)|f)?")


@dataclass(frozen=True)
class Gpu:
    """One that PyTorch can use. memory: in bytes. capability: major and minor."""

    name: str
    memory: int
    capability: tuple[int, int]

    @property
    def bf16(self) -> bool:
        return self.capability >= _AMPERE


@dataclass(frozen=True)
class Machine:
    """memory: of the host, in bytes. instructions: flags of the CPU, as Linux lists them."""

    cores: int
    memory: int
    instructions: frozenset[str]
    gpus: tuple[Gpu, ...] = ()

    @property
    def bf16(self) -> bool | None:
        """Whether what trains here multiplies bfloat16 in hardware; None where it is not known."""
        return bf16(self.gpus, self.instructions)


def bf16(gpus: Sequence[Gpu], instructions: frozenset[str]) -> bool | None:
    """Whether the first GPU, or a CPU with these instructions, multiplies it in hardware.

    None where no instruction is listed, as outside of Linux.
    """
    if gpus:
        return gpus[0].bf16
    return bool(instructions & _BF16) if instructions else None


def this_machine() -> Machine:
    """The machine that this process runs on, with the GPUs that it can train on."""
    try:
        seen = gpus()
    except RuntimeError:  # the driver lists GPUs, and none of them begins to work
        seen = ()
    return Machine(cores(), memory(), cpu_instructions(), trainable(seen, architectures()))


def gpus() -> tuple[Gpu, ...]:
    """The GPUs that PyTorch sees; none without a word where it cannot use them."""
    import torch

    if not torch.cuda.is_available():
        return ()
    devices = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return tuple(Gpu(one.name, one.total_memory, (one.major, one.minor)) for one in devices)


def architectures() -> tuple[str, ...]:
    """What this PyTorch was compiled for, in CUDA's words: sm_90, compute_120; none where it does
    not say, as for GPUs of others than NVIDIA."""
    import torch

    return tuple(torch.cuda.get_arch_list()) if torch.version.cuda else ()


def trainable(seen: Sequence[Gpu], built: Sequence[str]) -> tuple[Gpu, ...]:
    """Those that PyTorch has kernels for; it lists others, too, and fails at the first step.

    Only the first ones, since a training takes those. built: of `architectures`.
    """
    codes = [match for one in built if (match := _ARCHITECTURE.fullmatch(one))]
    if not codes:
        return tuple(seen)
    return tuple(takewhile(lambda gpu: any(_runs(code, gpu) for code in codes), seen))


def _runs(code: re.Match[str], gpu: Gpu) -> bool:
    """Whether a GPU runs it: machine code within a major version, what a driver compiles after it.

    With an `a` at its end it is for one GPU alone.
    """
    made_for = (int(code["major"]), int(code["minor"]))
    if code["exact"]:
        return made_for == gpu.capability
    later = made_for <= gpu.capability
    return later and (code["kind"] == "compute" or made_for[0] == gpu.capability[0])


def cpu_instructions(path: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The flags of the first core; none where the system does not list them."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return frozenset()
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def memory(proc: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """The host's memory in bytes, or the control group's limit where smaller; 0 if unknown."""
    limits = [_limit(cgroup / name) for name in ("memory.max", "memory/memory.limit_in_bytes")]
    sizes = [limit for limit in (_total(proc), *limits) if 0 < limit < _UNLIMITED]
    return min(sizes, default=0)


def _total(proc: Path) -> int:
    try:
        lines = proc.read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    fields = (line.split() for line in lines)
    return next((int(field[1]) * 1024 for field in fields if field[:1] == ["MemTotal:"]), 0)


def _limit(path: Path) -> int:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError:
        return 0
    return int(text) if text.isdecimal() else 0
