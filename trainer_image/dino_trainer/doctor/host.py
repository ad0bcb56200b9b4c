"""The host: cores, memory, shared memory, disk, and what its CPU multiplies in hardware."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from dino_api.names import Env
from dino_trainer.doctor.line import Line, LineState
from dino_trainer.errors import from_os_error

_GIB = 1 << 30
_MIB = 1 << 20
# The smallest training of the examples takes 2.5; checkpoints of it take tens of megabytes.
_LEAST_MEMORY, _LEAST_DISK = 4 * _GIB, 10 * _GIB
# Docker's own 64 MiB holds two batches of four images of 800x1333 at most.
_LEAST_SHARED = 512 * _MIB
_VNNI = {"avx512_vnni", "avx_vnni"}
# Of makers' product lines, only what all of a line have.
_WITH_AVX512 = (
    "Nothing to do, but for another CPU: AMD's since Zen 4 and Intel's Xeon Scalable have it; "
    "Intel's for desktops and laptops have not, since Alder Lake."
)
_WITH_VNNI = (
    "Nothing to do, but for another CPU: AMD's since Zen 4, Intel's Core since the 11th generation "
    "and Xeon Scalable since the second have it."
)
UNLISTED = "this system does not list the CPU's instructions"


def cpu_line(usable: int, all_cores: int) -> Line:
    """all_cores: of the whole machine."""
    detail = (
        f"{usable} of {all_cores} cores may be used" if usable < all_cores else f"{usable} cores"
    )
    if usable > 1:
        return Line("CPU", LineState.OK, detail)
    return Line(
        "CPU",
        LineState.WARN,
        detail,
        "Raise the quota (docker run --cpus, resources.cpu): images are read beside the training.",
    )


def memory_line(size: int) -> Line:
    """size: in bytes, 0 where it is not known."""
    if not size:
        return Line("memory", LineState.WARN, "not known on this system")
    detail = f"{size / _GIB:.1f} GiB"
    if size >= _LEAST_MEMORY:
        return Line("memory", LineState.OK, detail)
    return Line(
        "memory",
        LineState.WARN,
        detail,
        "Lower dataset.batch_size and dataset.workers, or raise it.",
    )


def shared_memory_line(path: Path) -> Line:
    """path: the folder of shared memory."""
    name = "shared memory"
    try:
        size = shutil.disk_usage(path).total
    except OSError:
        return Line(name, LineState.WARN, f"no {path}", "Set dataset.workers: 0.")
    detail = f"{size / _MIB:,.0f} MiB in {path}"
    if size >= _LEAST_SHARED:
        return Line(name, LineState.OK, detail)
    remedy = "docker run --shm-size=2g (the operator's pods have it), or set dataset.workers: 0."
    return Line(name, LineState.WARN, detail, remedy)


def disk_line(folder: Path) -> Line:
    """folder: of staged data, which need not be there yet."""
    try:
        free = _free(folder.absolute())
    except OSError as error:
        why = from_os_error(error, str(folder))
        return Line("disk", LineState.MISSING, why.message, why.remedy, why.reason)
    detail = f"{free / _GIB:,.1f} GiB free in {folder}, where data is copied to"
    if free >= _LEAST_DISK:
        return Line("disk", LineState.OK, detail)
    return Line(
        "disk", LineState.WARN, detail, f"Free some, or name another folder: {Env.CACHE_DIR}."
    )


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
    there = "avx512f" in flags
    yield _instruction("AVX-512", there, "trainings on the CPU are slower", _WITH_AVX512, flags)
    there, what = bool(flags & _VNNI), "INT8 files run slower on the CPU, and as exactly"
    yield _instruction("VNNI", there, what, _WITH_VNNI, flags)


def _instruction(name: str, there: bool, without: str, remedy: str, flags: frozenset[str]) -> Line:
    if there:
        return Line(name, LineState.OK, "in this CPU")
    if not flags:
        return Line(name, LineState.WARN, f"{UNLISTED}, so it is not known")
    if not flags & {"sse2", "avx", "avx2"}:
        return Line(name, LineState.MISSING, "this is no x86 CPU")
    return Line(name, LineState.MISSING, f"not in this CPU: {without}", remedy)
