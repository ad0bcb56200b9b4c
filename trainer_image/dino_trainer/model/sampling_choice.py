"""Which sampler is used where, and the check that a kernel passes before a GPU trains with it.

On a CPU the compiled kernel, where numba is installed. On a GPU the Triton kernels, once they gave
the numbers of ``grid_sample`` there; otherwise ``grid_sample``, with a warning that says why. In an
exported model the gather.
"""

from __future__ import annotations

import functools
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice

import torch
from torch import Tensor

from dino_api.names import Env
from dino_trainer.model import sampling, sampling_cpu
from dino_trainer.model.sampling_grid import sample_by_grid

CHOICES = ("grid_sample",)  # what DINO_SAMPLING may say
# Largest difference from grid_sample in float32 (float64), relative to the largest number.
TOLERANCES = {
    torch.float64: 1e-9,
    torch.float32: 1e-4,
    torch.float16: 5e-3,
    torch.bfloat16: 3e-2,
}
SIDES = ((3, 5), (2, 2), (1, 1), (4, 1))
IMAGES, QUERIES = 2, 37  # more queries than a program takes, and no multiple of them
NAMES = ("the output", "the gradient of the value", "that of the locations", "that of the weights")


@dataclass(frozen=True)
class Case:
    """What makes a kernel of its own: where, the value's type, heads, their width, samples."""

    device: torch.device
    dtype: torch.dtype
    m: int
    e: int
    v: int
    p: int


def sampler_for(value: Tensor, locations: Tensor) -> str:
    """The fastest sampler for these inputs, a key of ``attention.SAMPLERS``.

    The environment's DINO_SAMPLING=grid_sample asks for that one everywhere. On a GPU it is also
    taken under ``torch.use_deterministic_algorithms``: torch then says what it thinks of it.

    Raises:
        ValueError: DINO_SAMPLING asks for something else.
    """
    if torch.compiler.is_exporting():
        return "gather"  # of plain operators, which every runtime has
    m, v, p = locations.shape[2:5]
    return _choose(value.device, value.dtype, m, value.shape[2] // m, v, p)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # found out while a model is traced, not traced itself
def _choose(device: torch.device, dtype: torch.dtype, m: int, e: int, v: int, p: int) -> str:
    """Takes the parts of a case one by one: a trace makes no constant of a record, or a tuple."""
    asked = os.environ.get(Env.SAMPLING)
    if asked:
        if asked not in CHOICES:
            raise ValueError(f"{Env.SAMPLING} is {asked!r}. Use grid_sample, or leave it unset.")
        return asked
    if device.type == "cpu":
        return "compiled" if sampling_cpu.available() else "grid_sample"
    if device.type != "cuda" or torch.are_deterministic_algorithms_enabled():
        return "grid_sample"
    return "compiled" if trusted(Case(device, dtype, m, e, v, p)) else "grid_sample"


@functools.cache
def trusted(case: Case) -> bool:
    """Whether the compiled kernel passes the check; warns where it does not. Once in a process.

    The check waits for the device. It runs in a thread of its own: autocast, inference mode and
    hooks on what is kept for a backward pass are a thread's state.
    """
    with ThreadPoolExecutor(1) as thread:
        problem = thread.submit(problem_of, case).result()
    if problem:
        warnings.warn(
            f"Deformable sampling on {name_of(case.device)} goes on with grid_sample, slower: "
            f"{problem}",
            RuntimeWarning,
            stacklevel=2,
        )
    return not problem


def name_of(device: torch.device) -> str:
    """What a person calls the device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def problem_of(case: Case) -> str:
    """Run the compiled kernel on a few queries; say in one line what is wrong, or nothing."""
    try:
        ours, expected = (_run(case, compiled) for compiled in (True, False))
    # Compiler, driver and device each raise their own; training can go on without the kernel.
    except Exception as error:  # noqa: BLE001
        return f"the compiled kernel raised {type(error).__name__}: {_one_line(str(error))}"
    limit = TOLERANCES[case.dtype]
    for name, a, b in zip(NAMES, ours, expected, strict=True):
        difference = ((a.double() - b.double()).abs().max() / b.double().abs().max()).item()
        if not difference <= limit:
            return (
                f"the compiled kernel's numbers for {case.dtype} differ in {name} by "
                f"{difference:.1e} of its largest, above {limit:.0e}"
            )
    return ""


def _one_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:300] if lines else "no message"


def _run(case: Case, compiled: bool) -> tuple[Tensor, ...]:
    """Return the output of one sampler on the case's inputs, and its three gradients."""
    shapes, value, locations, weights, grad = _inputs(case)
    if not compiled:  # the same numbers, in the type that sums are kept in
        value, grad = value.to(locations.dtype), grad.to(locations.dtype)
    leaves = [t.to(case.device).requires_grad_() for t in (value, locations, weights)]
    if compiled:
        out = sampling.sample(leaves[0], [n for shape in shapes for n in shape], *leaves[1:])
    else:
        out = sample_by_grid(leaves[0], shapes, *leaves[1:])
    return out.detach(), *torch.autograd.grad(out, leaves, grad.to(case.device))


def _inputs(
    case: Case,
) -> tuple[tuple[tuple[int, int], ...], Tensor, Tensor, Tensor, Tensor]:
    """Return shapes, value, locations, weights and a gradient of the output, the same each time.

    Locations lie in and around the levels, and not where their gradient jumps.
    """
    generator = torch.Generator().manual_seed(0)
    kept = torch.float64 if case.dtype == torch.float64 else torch.float32

    def random(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=kept)

    shapes = tuple(islice(cycle(SIDES), case.v))
    sizes = torch.tensor([(w, h) for h, w in shapes], dtype=kept)[:, None]  # [v, 1, 2]
    d = case.m * case.e
    samples = (IMAGES, QUERIES, case.m, case.v, case.p)
    value = random(IMAGES, sum(h * w for h, w in shapes), d) - 0.5
    cells = (random(*samples, 2) * (sizes + 3)).floor() - 2  # from the second one outside on
    locations = (cells + 0.1 + 0.8 * random(*samples, 2) + 0.5) * 2 / sizes - 1
    weights = random(*samples).flatten(3).softmax(-1)
    grad = random(IMAGES, QUERIES, d) - 0.5
    return shapes, value.to(case.dtype), locations, weights, grad.to(case.dtype)
