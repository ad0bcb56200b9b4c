"""Where the checks run: the device, its clock and its memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

ROUNDS = 12


@dataclass(frozen=True)
class Machine:
    """A device, and whether the run is a rehearsal: small sizes on a CPU."""

    device: torch.device
    rehearsal: bool

    def wait(self) -> None:
        """Until the device has done all that it was asked."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def milliseconds(self, run: Callable[[], object], rounds: int = ROUNDS) -> float:
        """The median of some rounds, after two that are not counted."""
        rounds = 2 if self.rehearsal else rounds
        for _ in range(1 if self.rehearsal else 2):
            run()
        times = []
        for _ in range(rounds):
            self.wait()
            start = time.perf_counter()
            run()
            self.wait()
            times.append(1000 * (time.perf_counter() - start))
        return sorted(times)[len(times) // 2]

    def peak_mib(self, run: Callable[[], object]) -> float | None:
        """The most memory of the device that was in use while it ran; None on a CPU."""
        if self.device.type != "cuda":
            run()
            return None
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        run()
        self.wait()
        return torch.cuda.max_memory_allocated(self.device) / 2**20


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference, relative to the largest number of `b`."""
    a, b = a.double().cpu(), b.double().cpu()
    return float((a - b).abs().max() / b.abs().max())
