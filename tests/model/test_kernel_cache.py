"""Kernels that an image brings compiled are found by a fresh process, and nothing else changes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dino_api.names import Env
from dino_trainer.model import kernel_cache
from dino_trainer.model.kernel_cache import (
    CACHE_DIR,
    CPU_NAME,
    LEVELS,
    cpu_flags,
    level_of,
    use_shipped,
)

AVX2, AVX512 = LEVELS["x86-64-v3"], LEVELS["x86-64-v4"]
# Samples and differentiates once, and says how often a kernel was found and how often compiled.
SAMPLE = """
import torch
from dino_trainer.model import sampling_cpu
value, shapes = torch.randn(1, 6, 64), [2, 3]
places, weights = torch.rand(1, 5, 2, 1, 2, 2), torch.rand(1, 5, 2, 2)
out = sampling_cpu.forward(value, shapes, places, weights)
sampling_cpu.backward(out, value, shapes, places, weights)
for kernel in (sampling_cpu._forward(32), sampling_cpu._backward(32)):
    print(sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values()))
"""


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        (AVX512 | {"avx512_vnni"}, "x86-64-v4"),
        (AVX512 - {"avx512vl"}, "x86-64-v3"),
        (AVX2, "x86-64-v3"),
        (AVX2 - {"fma"}, None),
        (frozenset(), None),
    ],
)
def test_the_level_is_the_best_that_the_cpu_has_whole(
    flags: frozenset[str], level: str | None
) -> None:
    assert level_of(flags) == level


def test_a_fresh_process_compiles_nothing(tmp_path: Path) -> None:
    level = level_of(cpu_flags())
    if level is None:
        pytest.skip("this CPU is below x86-64-v3, or none of that kind: no image has its kernels")
    shipped, scratch = tmp_path / "shipped", tmp_path / "scratch"
    scratch.mkdir()
    plain = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    of_level = {CPU_NAME: level, "NUMBA_CPU_FEATURES": "", CACHE_DIR: str(shipped / level)}
    subprocess.run([sys.executable, "-c", kernel_cache._MAKE], env=plain | of_level, check=True)

    pod = plain | {Env.KERNELS: str(shipped), Env.WORK_DIR: str(scratch)}
    ran = subprocess.run(
        [sys.executable, "-c", SAMPLE], env=pod, check=True, capture_output=True, text=True
    )

    assert ran.stdout.split("\n") == ["1 0", "1 0", ""]


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {Env.KERNELS: "/nowhere"},
        {Env.KERNELS: "here", CACHE_DIR: "/mine"},
        {Env.KERNELS: "here", CPU_NAME: "generic"},
    ],
)
def test_what_is_set_or_missing_is_left_alone(environment: dict[str, str], tmp_path: Path) -> None:
    for level in LEVELS:
        (tmp_path / level).mkdir()
    given = {k: str(tmp_path) if v == "here" else v for k, v in environment.items()}
    before = dict(given)

    assert not use_shipped(given)
    assert given == before
