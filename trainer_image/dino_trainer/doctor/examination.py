"""All lines, in the order in which people ask."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dino_api.failures import by_reason
from dino_api.names import SHARED_MEMORY
from dino_trainer.doctor.gpu import driver_here, gpu_lines, torch_here
from dino_trainer.doctor.host import host_lines
from dino_trainer.doctor.line import Line
from dino_trainer.doctor.s3 import s3_lines
from dino_trainer.doctor.software import onnx_providers, software_lines, tensorrt_version
from dino_trainer.machine.cores import cores
from dino_trainer.machine.inventory import Machine, cpu_instructions, memory


def examine(uri: str, work: Path) -> list[Line]:
    """Looks at this machine. uri: an s3:// URI to list, or "". work: the folder of staged data."""
    torch = torch_here()
    machine = Machine(cores(), memory(), cpu_instructions(), torch.gpus)
    return [
        *gpu_lines(torch, driver_here(), machine),
        *host_lines(machine, os.cpu_count() or 1, Path(SHARED_MEMORY), work),
        *software_lines(onnx_providers(), tensorrt_version(), bool(torch.gpus)),
        *s3_lines(uri),
    ]


def code_of(lines: Sequence[Line]) -> int:
    """0 unless something that was asked for fails: then the code of the first such line."""
    return next((by_reason(line.reason).exit_code or 1 for line in lines if line.reason), 0)
