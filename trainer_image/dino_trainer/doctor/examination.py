"""All lines, in the order in which people ask."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from dino_api.failures import by_reason
from dino_api.names import SHARED_MEMORY
from dino_trainer.data.stage import data_root
from dino_trainer.doctor.gpu import Torch, bf16_line, driver_here, gpu_lines, torch_here, torch_line
from dino_trainer.doctor.host import (
    cpu_line,
    disk_line,
    instruction_lines,
    memory_line,
    shared_memory_line,
)
from dino_trainer.doctor.line import Line, LineState
from dino_trainer.doctor.s3 import s3_lines
from dino_trainer.doctor.software import (
    onnx_providers,
    onnx_runtime_line,
    tensorrt_line,
    tensorrt_version,
)
from dino_trainer.errors import failure_of
from dino_trainer.machine.cores import cores
from dino_trainer.machine.inventory import cpu_instructions, memory

Look = Callable[[], Iterable[Line]]


def examine(uri: str, work: Path) -> list[Line]:
    """Looks at this machine. uri: an s3:// URI to list, or "". work: as of `dino train`.

    Raises nothing: a part that cannot be looked at is a line, and the others are looked at.
    """
    torch = _torch()
    gpus = torch.gpus if isinstance(torch, Torch) else ()
    parts: list[tuple[str, Look]] = [
        ("PyTorch", lambda: [torch_line(torch)] if isinstance(torch, str) else []),
        ("GPU", lambda: gpu_lines(torch, driver_here())),
        ("bf16", lambda: [bf16_line(gpus, cpu_instructions())]),
        ("CPU", lambda: [cpu_line(cores(), os.cpu_count() or 1)]),
        ("memory", lambda: [memory_line(memory())]),
        ("shared memory", lambda: [shared_memory_line(Path(SHARED_MEMORY))]),
        ("disk", lambda: [disk_line(data_root(work / "data"))]),
        ("CPU instructions", lambda: instruction_lines(cpu_instructions())),
        ("ONNX Runtime", lambda: [onnx_runtime_line(onnx_providers(), bool(gpus))]),
        ("TensorRT", lambda: [tensorrt_line(tensorrt_version(), bool(gpus))]),
        ("S3", lambda: s3_lines(uri)),
    ]
    return [line for name, look in parts for line in _guarded(name, look)]


def code_of(lines: Sequence[Line]) -> int:
    """0 unless something that was asked for fails: then the code of the first such line."""
    return next((by_reason(line.reason).exit_code or 1 for line in lines if line.reason), 0)


def _torch() -> Torch | str:
    """PyTorch of this process, or why nothing is known of it."""
    try:
        return torch_here()
    except Exception as error:  # noqa: BLE001 - as in `_guarded`
        return f"cannot be looked at: {failure_of(error).message}"


def _guarded(name: str, look: Look) -> Iterator[Line]:
    """The lines of a part; one more, called like the part, for what it raises."""
    try:
        yield from look()
    # Whoever asks has a machine on which something is wrong: the rest is what helps to find it.
    except Exception as error:  # noqa: BLE001
        failure = failure_of(error)
        detail = f"cannot be looked at: {failure.message}"
        yield Line(name, LineState.MISSING, detail, failure.remedy, failure.reason)
