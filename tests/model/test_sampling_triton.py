"""The Triton kernels without a GPU: what they compute, what they compile to, what is launched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.bench.train_step_counts import Count

triton = pytest.importorskip("triton", reason="Triton is not installed (a torch without CUDA).")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.runtime.driver import driver  # noqa: E402
from triton.runtime.jit import JITFunction  # noqa: E402

from dino_trainer.model import sampling_triton  # noqa: E402

HERE = Path(__file__).parent
SHAPES = [16, 32, 8, 16, 4, 8, 2, 4]
HEADS, WIDTH, POINTS = 8, 32, 4  # as published


def test_the_kernels_compute_what_grid_sample_does() -> None:
    """Runs ``interpreted_sampling.py``."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "interpreted_sampling.py"],
        cwd=HERE,
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"\b10 passed", run.stdout), run.stdout


def inputs(shapes: list[int], queries: int, dtype: torch.dtype) -> tuple[Any, ...]:
    """Value, shapes, locations and weights; nothing is computed with them."""
    levels, tokens = len(shapes) // 2, sum(h * w for h, w in zip(*[iter(shapes)] * 2, strict=True))
    return (
        torch.zeros(1, tokens, HEADS * WIDTH, dtype=dtype),
        shapes,
        torch.zeros(1, queries, HEADS, levels, POINTS, 2),
        torch.zeros(1, queries, HEADS, levels * POINTS),
    )


def both_ways(shapes: list[int], queries: int, dtype: torch.dtype) -> None:
    """Forward and backward, as the operator calls them."""
    value, _, locations, weights = inputs(shapes, queries, dtype)
    out = sampling_triton.forward(value, shapes, locations, weights)
    sampling_triton.backward(out, value, shapes, locations, weights)


class NoDevice:
    """In place of Triton's driver: says what to compile for."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_device(self) -> int:
        return self.capability  # a cache of kernels for each

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, 32)


def compiling_for(capability: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """Have launches compile and stop there; return the kernels, filled as they come."""
    kernels: dict[str, list[Any]] = {"forward_kernel": [], "backward_kernel": []}
    plain = JITFunction.run

    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        kernels[self.__name__].append(plain(self, *args, grid=grid, warmup=True, **kwargs))

    monkeypatch.setattr(driver, "_active", NoDevice(capability))
    monkeypatch.setattr(JITFunction, "run", compile_only)
    monkeypatch.setattr(sampling_triton, "adds_vectors", lambda device: capability >= 90)
    return kernels


def usage(cubin: bytes, folder: Path) -> dict[str, int]:
    """Registers, and bytes of stack, shared and local memory, as the assembler left them."""
    (folder / "kernel.cubin").write_bytes(cubin)
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    shown = subprocess.run(
        [tool, "-res-usage", folder / "kernel.cubin"], capture_output=True, text=True, check=True
    ).stdout
    return {name: int(n) for name, n in re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", shown)}


@pytest.mark.parametrize(
    "capability, dtype, levels, addition",
    [
        (80, torch.float32, 1, "red.global.gpu.relaxed.add.f32"),
        (90, torch.bfloat16, 4, "red.global.gpu.relaxed.add.v4.f32"),
        (100, torch.float16, 1, "red.global.gpu.relaxed.add.v4.f32"),
    ],
)
def test_the_kernels_compile_for(
    capability: int,
    dtype: torch.dtype,
    levels: int,
    addition: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """To machine code without spilled registers, once for all sizes of images."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernels = compiling_for(capability, monkeypatch)
    both_ways(SHAPES[: 2 * levels], 16, dtype)
    both_ways([h + 1 for h in SHAPES[: 2 * levels]], 1, dtype)
    for name, (first, other) in kernels.items():
        assert first is other
        used = usage(first.asm["cubin"], tmp_path)
        print(f"sm_{capability} {dtype} {levels} levels {name}: {used}, {first.metadata.shared} B")
        assert used["STACK"] == used["LOCAL"] == 0
        assert used["REG"] <= 128
        assert first.metadata.shared <= 4096
    assert addition in kernels["backward_kernel"][0].asm["ptx"]


@pytest.mark.parametrize("dtype, casts", [(torch.float32, 0), (torch.bfloat16, 1)])
def test_a_gpu_runs_one_kernel_each_way(
    dtype: torch.dtype, casts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And fills the value's gradient with zeros, and makes it the value's type again."""
    launched = []

    def launch(kernel: Any, tensors: tuple[Tensor, ...], *_: Any) -> None:
        launched.append(kernel.__name__)

    monkeypatch.setattr(sampling_triton, "_launch", launch)
    with Count() as count:
        both_ways(SHAPES, 5, dtype)
    made = inputs(SHAPES, 5, dtype)
    zeros = sum(isinstance(x, Tensor) for x in made)
    assert launched == ["forward_kernel", "backward_kernel"]
    assert count.seen.pop("aten.zeros.default") == zeros  # the inputs
    assert count.seen == {
        "aten.new_empty.default": 1,
        "aten.zeros_like.default": 1,
        "aten.empty_like.default": 2,
    } | ({"aten._to_copy.default": 1} if casts else {})
