"""The sampling kernels on the device: the numbers of grid_sample, and the time beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from dino_trainer.model import sampling_choice
from dino_trainer.model.attention import SAMPLERS, ms_deform_attn
from tests.gpu.machine import Machine, difference
from tests.gpu.rows import Row, bounded, seen, skipped, wanted

NAME = "sampling"
HEADS, WIDTH, LEVELS, POINTS = 8, 32, 4, 4  # as published
STRIDES = (8, 16, 32, 64)
SIZE, SMALL = (800, 1333), (64, 96)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SHAPES = ((8, 32, 4, 4), (4, 16, 4, 4), (3, 5, 3, 1), (1, 33, 2, 2), (8, 48, 5, 8))


def numbers(machine: Machine) -> Iterator[Row]:
    """The check that a training makes at its first step, for heads and widths of many kinds."""
    for dtype in (*DTYPES, torch.float64):
        for m, e, v, p in SHAPES:
            case = sampling_choice.Case(machine.device, dtype, m, e, v, p)
            problem = sampling_choice.problem_of(case)
            what = f"{short(dtype)}, {m} heads of {e}, {v} levels, {p} points"
            yield Row(NAME, what, "wrong" if problem else "ok", note=problem)


def large(machine: Machine) -> Iterator[Row]:
    """Output and gradients at the size of a training, and their times beside grid_sample's."""
    for batch in (2,) if machine.rehearsal else (2, 8):
        for dtype in DTYPES:
            yield from _at(machine, batch, dtype)


def _at(machine: Machine, batch: int, dtype: torch.dtype) -> Iterator[Row]:
    height, width = SMALL if machine.rehearsal else SIZE
    shapes = tuple((-(-height // s), -(-width // s)) for s in STRIDES)
    what = f"{short(dtype)} {height}x{width} b{batch}"
    value, locations, weights = _inputs(machine.device, batch, shapes)
    expected = _gradients("grid_sample", value, shapes, locations, weights)
    ours = _gradients("compiled", value.to(dtype), shapes, locations, weights)
    limit = sampling_choice.TOLERANCES[dtype]
    for name, a, b in zip(sampling_choice.NAMES, ours, expected, strict=True):
        yield bounded(NAME, f"{what}: {name}", difference(a, b), limit)
    for way, timed in (("forward", _forward), ("both ways", _gradients)):
        # Autocast has grid_sample compute in float32.
        times = {
            backend: machine.milliseconds(partial(timed, backend, v, shapes, locations, weights))
            for backend, v in (("compiled", value.to(dtype)), ("grid_sample", value))
        }
        yield seen(NAME, f"{what}: {way}", times["compiled"], "ms")
        yield _ratio(machine, f"{what}: {way}", times)


def _ratio(machine: Machine, what: str, times: dict[str, float]) -> Row:
    ratio = times["grid_sample"] / times["compiled"]
    if machine.rehearsal:
        return seen(NAME, f"{what}, of grid_sample", ratio, "x")
    return wanted(NAME, f"{what}, of grid_sample", ratio, 1.0, "x")


def _inputs(
    device: torch.device, batch: int, shapes: tuple[tuple[int, int], ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Value [b, s, d], locations [b, s, m, v, p, 2] and weights [b, s, m, v * p] of an encoder."""
    drawn = torch.Generator().manual_seed(0)
    tokens = sum(h * w for h, w in shapes)
    samples = (batch, tokens, HEADS, LEVELS, POINTS)
    value = torch.randn(batch, tokens, HEADS * WIDTH, generator=drawn)
    locations = torch.rand(*samples, 2, generator=drawn) * 2.1 - 1.05
    weights = torch.rand(samples, generator=drawn).flatten(3).softmax(-1)
    return value.to(device), locations.to(device), weights.to(device)


def _forward(
    backend: str, value: Tensor, shapes: tuple[tuple[int, int], ...], *rest: Tensor
) -> Tensor:
    with torch.no_grad():
        return ms_deform_attn(value, shapes, *rest, backend=backend)


def _gradients(
    backend: str, value: Tensor, shapes: tuple[tuple[int, int], ...], *rest: Tensor
) -> tuple[Tensor, ...]:
    """The output, and the gradients of value, locations and weights of its sum of squares."""
    leaves = [one.detach().requires_grad_() for one in (value, *rest)]
    out = ms_deform_attn(leaves[0], shapes, *leaves[1:], backend=backend)
    return out.detach(), *torch.autograd.grad(out.float().square().sum(), leaves)


def short(dtype: torch.dtype) -> str:
    """float32 rather than torch.float32."""
    return str(dtype).removeprefix("torch.")


def choice(machine: Machine) -> Iterator[Row]:
    """Which sampler a training takes here."""
    if machine.device.type != "cuda":
        yield skipped(NAME, "what a training takes", "no CUDA device")
        return
    value = torch.zeros(1, 4, HEADS * WIDTH, device=machine.device)
    locations = torch.zeros(1, 1, HEADS, LEVELS, POINTS, 2, device=machine.device)
    taken = sampling_choice.sampler_for(value, locations)
    assert taken in SAMPLERS
    verdict = "ok" if taken == "compiled" else "wrong"
    yield Row(NAME, "what a training takes", verdict, note=taken)  # type: ignore[arg-type]


CHECKS: tuple[Callable[[Machine], Iterator[Row]], ...] = (choice, numbers, large)
