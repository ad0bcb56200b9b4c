"""A training step on the device: its numbers beside a CPU's, its time, launches and memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from dino_trainer.model import DetectorConfig
from tests.bench.train_step_batch import Size
from tests.bench.train_step_ours import OurStep
from tests.gpu.machine import Machine, difference
from tests.gpu.rows import Row, bounded, seen, skipped
from tests.model.small import published, small

NAME = "step"
SIZES = (Size(2, 256, 320), Size(2, 800, 1333), Size(8, 800, 1333))
SMALL = (Size(2, 64, 96),)
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
LOSS = {"fp32": 1e-4, "tf32": 5e-3, "bf16": 5e-2, "fp16": 2e-2}
"""Largest difference of the loss from a CPU's in float32, relative."""
GRADIENT = 1e-3
"""The same of the gradient in fp32, as the length of the difference by that of the gradient.

With fewer digits other queries are chosen and matched: the gradient is then told, not judged.
"""


def step_on(machine: Machine, cfg: DetectorConfig, precision: str) -> OurStep:
    """A training's step on the device. What tf32 allows holds for the whole process."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    return OurStep(cfg, "fp32" if precision == "tf32" else precision, machine.device)


def precisions(machine: Machine) -> tuple[str, ...]:
    """What the device computes in; tf32 and fp16 are a GPU's."""
    return PRECISIONS if machine.device.type == "cuda" else ("fp32", "bf16")


def numbers(machine: Machine) -> Iterator[Row]:
    """Loss and gradient beside the same step on a CPU. Without denoising, which draws noise."""
    cfg = small(use_dn=False, num_queries=100)
    reference = step_on(Machine(torch.device("cpu"), rehearsal=True), cfg, "fp32")
    reference.prepare(Size(2, 192, 256))
    expected = reference.backward()
    wanted = flat(reference)
    for precision in precisions(machine):
        step = step_on(machine, cfg, precision)
        step.model.load_state_dict(reference.model.state_dict())
        step.prepare(Size(2, 192, 256))
        loss = step.backward()
        found = flat(step)
        yield bounded(NAME, f"{precision}: loss", difference(loss, expected), LOSS[precision])
        apart = float((found - wanted).norm() / wanted.norm())
        what = f"{precision}: gradient"
        yield (
            bounded(NAME, what, apart, GRADIENT) if precision == "fp32" else seen(NAME, what, apart)
        )


def flat(step: OurStep) -> Tensor:
    """All gradients in one row, float64 on the host."""
    return torch.cat(
        [
            (torch.zeros_like(p) if p.grad is None else p.grad).double().cpu().flatten()
            for p in step.trainable
        ]
    )


def cost(machine: Machine) -> Iterator[Row]:
    """Time, memory, launches and waits of the published detector's step by size and precision."""
    for precision in precisions(machine):
        step = step_on(machine, small() if machine.rehearsal else published(), precision)
        for size in SMALL if machine.rehearsal else SIZES:
            yield from _cost(machine, step, precision, size)
        del step


def _cost(machine: Machine, step: OurStep, precision: str, size: Size) -> Iterator[Row]:
    what = f"{precision} {size}"
    step.prepare(size)
    try:
        peak = machine.peak_mib(step.run)
    except torch.OutOfMemoryError:
        yield skipped(NAME, what, "the device's memory does not suffice")
        return
    yield seen(NAME, f"{what}: time", machine.milliseconds(step.run), "ms")
    if peak is not None:
        yield seen(NAME, f"{what}: peak memory", peak, "MiB")
        yield seen(NAME, f"{what}: kernel launches", launches(step.run))
        yield seen(NAME, f"{what}: waits of the host", waits(step.run), note="matcher and loss")


def launches(run: Callable[[], object]) -> int:
    """Kernels that one run starts, by torch's profiler."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        run()
        torch.cuda.synchronize()
    return sum(event.count for event in profile.key_averages() if "LaunchKernel" in event.key)


def waits(run: Callable[[], object]) -> int:
    """How often one run makes the host wait for the device, as torch warns of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(one.message) for one in caught)


def compiled(machine: Machine) -> Iterator[Row]:
    """`torch.compile` beside eager, in fp32 and bf16 where the device has it."""
    size = SMALL[0] if machine.rehearsal else SIZES[1]
    for precision in ("bf16",):
        step = step_on(machine, small() if machine.rehearsal else published(), precision)
        step.prepare(size)
        eager = machine.milliseconds(step.run)
        step.model.compile(dynamic=False)
        yield seen(NAME, f"{precision} {size}: compiled", machine.milliseconds(step.run), "ms")
        yield seen(NAME, f"{precision} {size}: eager", eager, "ms")


def one_process(machine: Machine) -> Iterator[Row]:
    """DistributedDataParallel of one process: the same loss as without it."""
    from torch.distributed import TCPStore, destroy_process_group, init_process_group

    cfg = small(use_dn=False)
    step = step_on(machine, cfg, "fp32")
    step.prepare(Size(2, 96, 128))
    alone = step.backward()
    backend = "nccl" if machine.device.type == "cuda" else "gloo"
    store = TCPStore("127.0.0.1", 0, 1, is_master=True)
    init_process_group(backend, store=store, rank=0, world_size=1)
    try:
        step.model = nn.parallel.DistributedDataParallel(step.model)  # type: ignore[assignment]
        yield bounded(NAME, f"DDP over {backend}: loss", difference(step.backward(), alone), 1e-5)
    finally:
        destroy_process_group()


CHECKS: tuple[Callable[[Machine], Iterator[Row]], ...] = (numbers, cost, one_process, compiled)
