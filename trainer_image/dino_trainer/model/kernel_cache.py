"""Kernels for CPUs that an image brings compiled, a set for each level of x86-64.

To compile them takes seconds, which every pod would spend before its first step. An image is built
on one CPU and runs on others, so that its kernels are made for a level that many CPUs have, not for
the one at hand. A CPU below all levels, or another kind, compiles its own as without an image.

`python -m dino_trainer.model.kernel_cache FOLDER` makes the sets when an image is built.
"""

from __future__ import annotations

import os
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
_MAKE = "from dino_trainer.model.sampling_cpu import precompile; precompile()"


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


def use_shipped(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Let numba find the kernels that DINO_KERNELS holds for this CPU; call before its import.

    numba takes a cache only from a folder that it may write to, and an image's are read-only: the
    files, some hundred kilobytes, are copied to the scratch space. What is set already stays.

    Returns:
        Whether there are any. Without them numba compiles as ever.
    """
    level, shipped = level_of(cpu_flags()), environment.get(Env.KERNELS)
    if not shipped or not level or CPU_NAME in environment or CACHE_DIR in environment:
        return False
    scratch = environment.get(Env.WORK_DIR) or tempfile.gettempdir()
    try:
        copy = tempfile.mkdtemp(prefix="kernels-", dir=scratch)
        shutil.copytree(Path(shipped) / level, copy, dirs_exist_ok=True)
    except OSError:
        return False
    environment.update({CPU_NAME: level, CPU_FEATURES: "", CACHE_DIR: copy})
    return True


def make(folder: Path) -> None:
    """Compile the kernels of each level into a folder of its name, each in its own process.

    Raises:
        subprocess.CalledProcessError: if that fails; the reason is on the standard error.
    """
    for level in LEVELS:
        of_level = {CPU_NAME: level, CPU_FEATURES: "", CACHE_DIR: str(folder / level)}
        subprocess.run([sys.executable, "-c", _MAKE], env={**os.environ, **of_level}, check=True)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
