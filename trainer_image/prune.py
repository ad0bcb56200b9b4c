"""Removes from the trainer's image what nothing of it can use, and refuses what is too big.

Whole files and folders go, and of five libraries what debuggers read. Runs inside the image's build
only: `installed` in the layer that installed the packages, `size` at its end. `ldd` and imports
tell that nothing is missed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MB = 1_000_000
LIMITS = {"cpu": 1_800 * MB, "gpu": 5_700 * MB}
"""Bytes of all files in INSTALLED, unpacked. What is beside it is the base image's, which may be
another."""
INSTALLED = Path("/opt/venv")
ELF = b"\x7fELF"


@dataclass(frozen=True)
class UnusedFiles:
    """Files below site-packages that go from images of these devices, and why none needs them."""

    patterns: tuple[str, ...]
    why: str
    devices: tuple[str, ...] = ("cpu", "gpu")


UNUSED = (
    UnusedFiles(("nvidia/**/*.a", "triton/**/*.a"), "static libraries: nothing is linked here"),
    UnusedFiles(
        ("triton/backends/amd/lib/libtriton_amd_codegen.so", "triton/instrumentation/*TestLib.so"),
        "Triton opens the first to compile for AMD's GPUs, the second in its own tests",
    ),
    UnusedFiles(
        ("triton/_C/libproton.so", "triton/backends/nvidia/lib/cupti*"),
        "Triton's profiler, which `import triton.profiler` alone opens, with its copies of CUPTI",
    ),
    UnusedFiles(
        ("triton/plugins/*", "triton/FileCheck"),
        "for plug-ins of Triton's compiler and for its tests",
    ),
    UnusedFiles(
        ("nvidia/cu13/lib/libcusolverMg.so.*",),
        "several GPUs for one matrix: torch is not linked with it",
    ),
    UnusedFiles(
        ("nvidia/nvshmem/lib/*.bc",),
        "device code for Triton kernels that speak NVSHMEM: ours do not",
    ),
    UnusedFiles(
        ("nvidia/*/include", "torch/bin/protoc*", "torch/share"),
        "for building extensions of torch; Triton has headers of its own",
    ),
    UnusedFiles(
        ("torch/include", "torchao/_C_*.so"),
        "no compiler is here; torchao opens what it finds of its kernels, which are for GPUs",
        ("cpu",),
    ),
    UnusedFiles(
        (
            *("networkx/**/tests", "numpy/**/tests", "scipy/**/tests", "sympy/**/tests"),
            *("numba/tests", "onnx/backend/test", "test"),
        ),
        "the libraries' own tests",
    ),
)


STRIPPED = (
    "llvmlite/binding/libllvmlite.so",
    "nvidia/nccl/lib/libnccl.so.*",
    "torch/lib/libtorch_cpu.so",
    "torch/lib/libtorch_cuda.so",
    "triton/_C/libtriton.so",
)
"""Libraries that come with what debuggers read, of Triton's 300 MB: nothing is loaded by it."""


def unused(site: Path, device: str) -> Iterator[tuple[UnusedFiles, list[Path]]]:
    """What of these packages goes, rule by rule."""
    for rule in UNUSED:
        if device in rule.devices:
            yield rule, sorted({path for each in rule.patterns for path in site.glob(each)})


def remove(site: Path, device: str) -> set[str]:
    """Take it away, say how much, and return the names of the libraries that went."""
    gone = set[str]()
    for rule, paths in unused(site, device):
        paths = [path for path in paths if path.exists()]  # one may lie within another
        bytes_ = sum(map(size, paths))
        for path in paths:
            gone |= {each.name for each in files(path) if ".so" in each.name}
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        print(f"removed {bytes_ / MB:5.0f} MB: {rule.why}")
    return gone


def strip(site: Path) -> None:
    """Take from libraries what debuggers read, where there is a program for it."""
    if not shutil.which("strip"):
        return print("nothing was stripped: there is no binutils here")
    saved = 0
    for path in (path for each in STRIPPED for path in sorted(site.glob(each))):
        before, fresh = size(path), path.with_name(f"{path.name}.stripped")
        subprocess.run(["strip", "--strip-unneeded", "-o", fresh, path], check=True)
        shutil.copymode(path, fresh)
        fresh.replace(path)
        saved += before - size(path)
    return print(f"removed {saved / MB:5.0f} MB: what debuggers read of {len(STRIPPED)} libraries")


def files(path: Path) -> Iterator[Path]:
    """A file, or all below a folder, without following links."""
    if path.is_dir() and not path.is_symlink():
        for folder, _, names in os.walk(path):
            yield from (Path(folder, name) for name in names)
    elif path.exists():
        yield path


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    return sum(each.lstat().st_size for each in files(path))


def missed(site: Path, gone: set[str]) -> list[str]:
    """Libraries that are linked with one that went."""
    there = {each.name for each in files(site)}
    broken = []
    for path in files(site):
        if ".so" in path.name and path.read_bytes()[:4] == ELF:
            text = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
            lacks = {line.split()[0] for line in text.splitlines() if "not found" in line}
            broken += [f"{path.relative_to(site)} needs {name}" for name in lacks & gone - there]
    return broken


def check_size(device: str, root: Path = INSTALLED) -> None:
    """Say how big what was installed is, and refuse what is over its limit."""
    report = subprocess.run(
        ["du", "--summarize", "--one-file-system", "--apparent-size", "--block-size=1", root],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    size, limit = int(report.split()[0]), LIMITS[device]
    says = f"{root} of the image for {device.upper()}s has {size / MB:,.0f} MB, unpacked"
    print(f"{says}; the limit is {limit / MB:,.0f} MB")
    if size > limit:
        raise SystemExit(
            "error: it is too big: see what grew, or raise LIMITS in trainer_image/prune.py"
        )


def main(step: str, device: str, site: str) -> None:
    """One step of the build."""
    if step == "size":
        return check_size(device)
    if broken := missed(Path(site), remove(Path(site), device)):
        raise SystemExit("error: a library that is needed was removed:\n" + "\n".join(broken))
    strip(Path(site))
    return None


if __name__ == "__main__":
    main(*sys.argv[1:])
