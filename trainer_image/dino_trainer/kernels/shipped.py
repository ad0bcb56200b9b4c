"""What numba compiles the CPU's kernels for, and the compiled ones that an image brings.

The target is a level of x86-64, not the CPU at hand. An image is built on one CPU and runs on
others, and to compile takes seconds, which every pod would spend before its first step. And LLVM's
tuning for some CPUs costs: for znver4, which it takes an EPYC of 2024 for, the gradient takes 1.5
times as long as for x86-64-v3 or -v4 on that very CPU. A CPU below all levels, or another kind,
is compiled for as numba would.

`python -m dino_trainer.kernels.shipped FOLDER` makes the sets when an image is built.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, MutableMapping
from contextlib import suppress
from pathlib import Path

from dino_api.names import Env

# What Linux calls the features that a level of the x86-64 psABI adds; the best level first.
_V3 = frozenset(("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"))
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
LEVELS = {"x86-64-v4": _V4, "x86-64-v3": _V3}

# Variables of numba's own.
CPU_NAME, CPU_FEATURES, CACHE_DIR = "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_CACHE_DIR"
CPU_FACTS = Path("/proc/cpuinfo")
COMPILE = "from dino_trainer.kernels.sampling import precompile; precompile()"


def cpu_flags() -> frozenset[str]:
    """Return the features of this CPU in Linux' words; empty where nothing tells them."""
    with suppress(OSError):
        for line in CPU_FACTS.read_text(encoding="utf-8").splitlines():
            name, _, words = line.partition(":")
            if name.strip() == "flags":
                return frozenset(words.split())
    return frozenset()


def level_of(flags: Collection[str]) -> str | None:
    """Return the best level all of whose features are there, None if there is none."""
    return next((level for level, needed in LEVELS.items() if needed <= set(flags)), None)


def choose_target(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have numba compile for the CPU's level and find what DINO_KERNELS holds for it.

    Call before numba is imported. What is set already stays.
    """
    level = level_of(cpu_flags())
    if level is None or CPU_NAME in environment:
        return
    environment.update(target(level))
    shipped, scratch = environment.get(Env.KERNELS), environment.get(Env.WORK_DIR)
    if not shipped or not scratch or CACHE_DIR in environment:
        return
    with suppress(OSError):  # they are compiled where they cannot be copied
        environment[CACHE_DIR] = str(_copied(Path(shipped) / level, Path(scratch)))


def _copied(kernels: Path, scratch: Path) -> Path:
    """Return the copy of the kernels in the scratch space, which all processes there share.

    numba takes a cache only from a folder that it may write to, and an image's are read-only; they
    are some hundred kilobytes. It finds by itself if a copy is of other sources.

    Raises:
        OSError: if there are no such kernels, or no room.
    """
    copy = scratch / f"kernels-{kernels.name}"
    if not copy.is_dir() and kernels.is_dir():
        with tempfile.TemporaryDirectory(prefix="kernels-", dir=scratch) as aside:
            shutil.copytree(kernels, Path(aside) / kernels.name)
            with suppress(OSError):  # another process was faster
                (Path(aside) / kernels.name).rename(copy)
    if not copy.is_dir():
        raise FileNotFoundError(copy)
    return copy


def target(level: str) -> dict[str, str]:
    """Return numba's variables for a level; it implies its features."""
    return {CPU_NAME: level, CPU_FEATURES: ""}


def make(folder: Path) -> None:
    """Compile the kernels of each level into a folder of its name, each in its own process.

    Makes an empty folder on a machine of another kind: its compiler knows no such level.

    Raises:
        subprocess.CalledProcessError: if that fails; the reason is on the standard error.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for level in LEVELS if platform.machine() == "x86_64" else ():
        of_level = {**target(level), CACHE_DIR: str(folder / level)}
        subprocess.run([sys.executable, "-c", COMPILE], env={**os.environ, **of_level}, check=True)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
