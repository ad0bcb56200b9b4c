"""Kernels that an image brings compiled are found by a fresh process, and nothing else changes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from dino_api.names import Env
from dino_trainer.kernels import shipped
from dino_trainer.kernels.sampling import WIDTHS
from dino_trainer.kernels.shipped import (
    CACHE_DIR,
    COMPILE,
    CPU_NAME,
    LEVELS,
    choose_target,
    cpu_flags,
    level_of,
    target,
)

AVX2, AVX512 = LEVELS["x86-64-v3"], LEVELS["x86-64-v4"]
LEVEL = level_of(cpu_flags())
needs_level = pytest.mark.skipif(
    LEVEL is None, reason="this CPU is below x86-64-v3, or none of that kind: no image serves it"
)
# Samples and differentiates once with each width, and says how often a kernel was found and how
# often compiled.
SAMPLE = """
import torch
from dino_trainer.kernels.sampling import WIDTHS, backward_kernel, forward_kernel
from dino_trainer.model import sampling_cpu
for width in WIDTHS:
    value, shapes = torch.randn(1, 6, 2 * width), [2, 3]
    places, weights = torch.rand(1, 5, 2, 1, 2, 2), torch.rand(1, 5, 2, 2)
    out = sampling_cpu.forward(value, shapes, places, weights)
    sampling_cpu.backward(out, value, shapes, places, weights)
    for kernel in (forward_kernel(width), backward_kernel(width)):
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


@needs_level
def test_a_fresh_process_compiles_nothing(tmp_path: Path) -> None:
    level = LEVEL or ""
    image, scratch = tmp_path / "image", tmp_path / "scratch"
    scratch.mkdir()
    plain = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    of_level = target(level) | {CACHE_DIR: str(image / level)}
    subprocess.run([sys.executable, "-c", COMPILE], env=plain | of_level, check=True)

    pod = plain | {Env.KERNELS: str(image), Env.WORK_DIR: str(scratch)}
    ran = subprocess.run(
        [sys.executable, "-c", SAMPLE], env=pod, check=True, capture_output=True, text=True
    )

    assert ran.stdout.split() == ["1", "0"] * 2 * len(WIDTHS)


def chosen(environment: Mapping[str, str]) -> dict[str, str]:
    """What is set in an environment."""
    after = {**environment}
    choose_target(after)
    return {key: value for key, value in after.items() if key not in environment}


@needs_level
def test_numba_compiles_for_the_level_without_an_image_too(tmp_path: Path) -> None:
    assert chosen({}) == target(LEVEL or "")
    nothing = {Env.KERNELS: str(tmp_path), Env.WORK_DIR: str(tmp_path)}
    assert chosen(nothing) == target(LEVEL or "")


@needs_level
def test_what_is_set_is_left_alone(tmp_path: Path) -> None:
    image = {Env.KERNELS: str(tmp_path), Env.WORK_DIR: str(tmp_path)}
    (tmp_path / (LEVEL or "")).mkdir()
    assert chosen(image | {CPU_NAME: "generic"}) == {}
    assert chosen(image | {CACHE_DIR: "/mine"}) == target(LEVEL or "")


@needs_level
def test_processes_share_one_copy(tmp_path: Path) -> None:
    image, scratch = tmp_path / "image", tmp_path / "scratch"
    kernels = image / (LEVEL or "") / "model"
    kernels.mkdir(parents=True)
    scratch.mkdir()
    (kernels / "one.nbi").write_text("compiled")
    pod = {Env.KERNELS: str(image), Env.WORK_DIR: str(scratch)}

    first, second = chosen(pod), chosen(pod)

    assert first == second == target(LEVEL or "") | {CACHE_DIR: str(scratch / f"kernels-{LEVEL}")}
    assert [path.name for path in scratch.iterdir()] == [f"kernels-{LEVEL}"]
    assert (scratch / f"kernels-{LEVEL}" / "model" / "one.nbi").read_text() == "compiled"


def test_another_kind_of_cpu_is_compiled_for_as_numba_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = tmp_path / "cpuinfo"
    facts.write_text("processor\t: 0\nFeatures\t: fp asimd evtstrm\n")
    monkeypatch.setattr(shipped, "CPU_FACTS", facts)
    assert chosen({Env.KERNELS: str(tmp_path)}) == {}


def test_an_image_for_another_kind_of_cpu_is_built_without_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    shipped.make(tmp_path / "kernels")
    assert list((tmp_path / "kernels").iterdir()) == []
