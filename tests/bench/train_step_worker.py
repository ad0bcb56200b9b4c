"""A training step in a process of its own: ours, or the published code's.

The two cannot share a process: the published modules have names such as ``util`` and ``models``.
The parent writes one JSON object a line, ``{"do": name, …}``, and reads one JSON answer for each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from dino_api.names import CPU_TUNABLES, Env
from tests.bench.train_step_batch import Size
from tests.bench.train_step_counts import activation_bytes, count_operations

Side = Literal["ours", "peer"]
COMMAND = "from tests.bench.train_step_worker import serve; serve({!r})"
IN_A_POD = {Env.GLIBC_TUNABLES.value: CPU_TUNABLES}
"""Variables of a pod without GPUs that a process can only have from its start."""
SHOWN = 12  # rows of a profile
# torch's counter does not know this product.
WITH_RELU = {torch.ops.aten._addmm_activation: lambda _, a, b, **more: 2 * a[0] * a[1] * b[1]}


class Worker:
    """The parent's end of a worker process.

    side: whose step. python, folder: the interpreter and the checkout; this one's if not given.
    env: variables that it has besides.
    """

    def __init__(
        self,
        side: Side,
        python: str = sys.executable,
        folder: Path | None = None,
        env: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.side = side
        self._process = subprocess.Popen(
            [python, "-c", COMMAND.format(side)],
            cwd=folder,
            env={**os.environ, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def ask(self, do: str, **arguments: Any) -> Any:
        """Return the answer to one request.

        Raises:
            RuntimeError: if the process ended instead of answering.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"The process of {self.side} ended while asked to {do}.")
        return json.loads(line)

    def run(self, bf16: bool = False) -> None:
        """One step on the prepared batch."""
        self.ask("run", bf16=bf16)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve(side: Side) -> None:
    """Answer requests until the input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    served = Served(_build(side))
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(served, request.pop("do"))(**request)
        print(json.dumps(answer), file=answers, flush=True)


def _build(side: Side) -> Any:
    if side == "peer":
        from tests.bench.train_step_published import PublishedStep

        return PublishedStep()
    from dino_trainer.machine.devices import tune_cpu
    from tests.bench.train_step_ours import OurStep

    tune_cpu()
    return OurStep()


class Served:
    """What a worker can be asked."""

    def __init__(self, step: Any) -> None:
        self.step = step

    def prepare(self, size: list[int]) -> None:
        self.step.prepare(Size(*size))

    def run(self, bf16: bool) -> None:
        self.step.run(bf16)

    def gflop(self) -> float:
        """Return the floating-point work of a step's matrix products and convolutions."""
        with FlopCounterMode(display=False, custom_mapping=WITH_RELU) as counter:
            self.step.run(False)
        return counter.get_total_flops() / 1e9

    def peak(self, bf16: bool) -> dict[str, float]:
        """Return the GFLOP/s that this machine reaches in a matrix product and a convolution."""
        kind = torch.bfloat16 if bf16 else torch.float32
        a, b = (torch.randn(2048, 2048, dtype=kind) for _ in range(2))
        x = torch.randn(2, 256, 64, 64, dtype=kind).to(memory_format=torch.channels_last)
        w = torch.randn(256, 256, 3, 3, dtype=kind).to(memory_format=torch.channels_last)
        return {
            "matrix product": _speed(lambda: a @ b, 2 * 2048**3),
            "convolution": _speed(lambda: F.conv2d(x, w, padding=1), 2 * 2 * 64**2 * 256**2 * 9),
        }

    def profile(self, bf16: bool) -> dict[str, float]:
        """Return the percent of a step's time that each of its costliest operations takes."""
        with torch.profiler.profile() as profile:
            self.step.run(bf16)
        found = {event.key: event.self_cpu_time_total for event in profile.key_averages()}
        total = sum(found.values())
        ranked = sorted(found, key=lambda name: -found[name])[:SHOWN]
        return {name: round(100 * found[name] / total, 1) for name in ranked}

    def operations(self) -> dict[str, int]:
        """Return dispatcher operations and host waits of a step."""
        for group in self.step.optimizer.param_groups:
            group["foreach"] = not group["fused"]  # torch's choice on a GPU
        return count_operations(self.step.run, self.step.optimizer)

    def activations(self, bf16: bool) -> int:
        """Return the bytes that the forward pass keeps for the backward pass."""
        return activation_bytes(self.step.modules, lambda: self.step.forward(bf16))

    def recompute(self, on: bool) -> None:
        """Set ``train.activation_checkpoint`` of ours."""
        self.step.model.activation_checkpoint = on

    def graph_breaks(self) -> int:
        """Return how often tracing the model for compilation stops."""
        return sum(
            torch._dynamo.explain(function)(*arguments).graph_break_count
            for function, arguments in self.step.regions()
        )


def _speed(run: Callable[[], object], flop: float) -> float:
    """Return the best of some runs, in GFLOP/s."""
    run()
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return round(flop / min(seconds) / 1e9, 1)
