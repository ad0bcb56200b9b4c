"""The host: cores, memory, shared memory, disk, and what its CPU multiplies in hardware."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from dino_api.names import Env
from dino_trainer.doctor.line import Line, State
from dino_trainer.errors import from_os_error

_GIB = 1 << 30
_MIB = 1 << 20
# The smallest training of the examples takes 2.5; checkpoints of it take tens of megabytes.
_LEAST_MEMORY, _LEAST_DISK = 4 * _GIB, 10 * _GIB
# Docker's own 64 MiB holds two batches of four images of 800x1333 at most.
_LEAST_SHARED = 512 * _MIB
_VNNI = {"avx512_vnni", "avx_vnni"}
_LATER = "Nothing to do, but for another CPU: Intel's since Ice Lake and AMD's since Zen 4 have it."


def cpu_line(usable: int, all_cores: int) -> Line:
    """all_cores: of the whole machine."""
    found = (
        f"{usable} of {all_cores} cores may be used" if usable < all_cores else f"{usable} cores"
    )
    if usable > 1:
        return Line("CPU", State.OK, found)
    return Line(
        "CPU",
        State.WARN,
        found,
        "Raise the quota (docker run --cpus, resources.cpu): images are read beside the training.",
    )


def memory_line(size: int) -> Line:
    """size: in bytes, 0 where it is not known."""
    if not size:
        return Line("memory", State.WARN, "not known on this system")
    found = f"{size / _GIB:.1f} GiB"
    if size >= _LEAST_MEMORY:
        return Line("memory", State.OK, found)
    return Line(
        "memory", State.WARN, found, "Lower dataset.batch_size and dataset.workers, or raise it."
    )


def shared_memory_line(path: Path) -> Line:
    """path: the folder of shared memory."""
    name = "shared memory"
    try:
        size = shutil.disk_usage(path).total
    except OSError:
        return Line(name, State.WARN, f"no {path}", "Set dataset.workers: 0.")
    found = f"{size / _MIB:,.0f} MiB in {path}"
    if size >= _LEAST_SHARED:
        return Line(name, State.OK, found)
    remedy = "docker run --shm-size=2g (the operator's pods have it), or set dataset.workers: 0."
    return Line(name, State.WARN, found, remedy)


def disk_line(work: Path) -> Line:
    """work: the folder of staged data, which need not be there yet."""
    try:
        free = _free(work.absolute())
    except OSError as error:
        why = from_os_error(error, str(work))
        return Line("disk", State.MISSING, why.message, why.remedy, why.reason)
    found = f"{free / _GIB:,.1f} GiB free in {work}, where data is copied to"
    if free >= _LEAST_DISK:
        return Line("disk", State.OK, found)
    return Line("disk", State.WARN, found, f"Free some, or name another folder: {Env.WORK_DIR}.")


def _free(folder: Path) -> int:
    """Bytes of the nearest folder above it that is there. Raises OSError."""
    try:
        return shutil.disk_usage(folder).free
    except (FileNotFoundError, NotADirectoryError):
        if folder == folder.parent:
            raise
        return _free(folder.parent)


def instruction_lines(flags: frozenset[str]) -> Iterator[Line]:
    """flags: of the CPU, as Linux lists them."""
    yield _instruction("AVX-512", "avx512f" in flags, "trainings on the CPU are slower", flags)
    what = "INT8 files run slower on the CPU, and as exactly"
    yield _instruction("VNNI", bool(flags & _VNNI), what, flags)


def _instruction(name: str, there: bool, without: str, flags: frozenset[str]) -> Line:
    if there:
        return Line(name, State.OK, "in this CPU")
    if not flags & {"sse2", "avx", "avx2"}:
        return Line(name, State.MISSING, "this is no x86 CPU, or its instructions are not listed")
    return Line(name, State.MISSING, f"not in this CPU: {without}", _LATER)
