"""The GPU that engines are built for and run on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch

from dino_api.names import FailureReason
from dino_trainer.errors import TrainerError

_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class EngineGpu:
    """A GPU as an engine is bound to it.

    name: as the driver says. capability: such as 9.0. memory: bytes. driver, cuda: versions.
    """

    device: torch.device
    name: str
    capability: str
    memory: int
    driver: str | None
    cuda: str | None


def first_gpu() -> EngineGpu:
    """The GPU that this process sees first. Raises NoGPU where there is none."""
    if not torch.cuda.is_available():
        raise TrainerError(
            FailureReason.NO_GPU,
            f"An engine is built and run on a GPU, and PyTorch {torch.__version__} finds none "
            "here.",
            "Ask for one (spec.resources.gpus: 1), on a node of the kind where the engine will "
            "run, with an image built with CUDA.",
        )
    device = torch.device("cuda", torch.cuda.current_device())
    known = torch.cuda.get_device_properties(device)
    return EngineGpu(
        device,
        known.name,
        f"{known.major}.{known.minor}",
        known.total_memory,
        driver_version(),
        torch.version.cuda,
    )


def driver_version(file: Path = _DRIVER) -> str | None:
    """What the kernel module says of itself; None where it is not to be seen."""
    try:
        match = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)", file.read_text())
    except OSError:
        return None
    return match.group(1) if match else None
