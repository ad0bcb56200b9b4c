"""Deformable sampling as one operator each way, with a compiled kernel on the CPU and on GPUs.

Shapes: b batch, s tokens of all levels, q queries, m heads, e = d / m, v levels, p points per
level and head.

torch's ``grid_sample`` makes every sample of every head a tensor of its own before they are mixed:
v * p times the output, three times over. These kernels mix the samples of a query as they read
them. Sums are kept in float32 (float64 for float64 input), whatever the type of the value.

``sampling_choice`` says where the operator is used.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dino_trainer.model import sampling_cpu


@torch.library.custom_op("dino::sample", mutates_args=(), device_types="cpu")
def sample(value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor) -> Tensor:
    """Samples; see ``attention.ms_deform_attn``; ``shapes`` is flat here: h0, w0, h1, w1, …"""
    return sampling_cpu.forward(value, shapes, locations, weights)


@sample.register_kernel("cuda")
def _(value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor) -> Tensor:
    from dino_trainer.model import sampling_triton  # Triton is installed where there are GPUs

    return sampling_triton.forward(value, shapes, locations, weights)


@sample.register_fake
def _(value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor) -> Tensor:
    b, q = weights.shape[:2]
    return value.new_empty((b, q, value.shape[2]))


@torch.library.custom_op("dino::sample_backward", mutates_args=(), device_types="cpu")
def sample_backward(
    grad: Tensor, value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of value, locations and weights, each of its tensor's type."""
    return sampling_cpu.backward(grad, value, shapes, locations, weights)


@sample_backward.register_kernel("cuda")
def _(
    grad: Tensor, value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    from dino_trainer.model import sampling_triton

    return sampling_triton.backward(grad, value, shapes, locations, weights)


@sample_backward.register_fake
def _(
    grad: Tensor, value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        value.new_empty(value.shape),
        locations.new_empty(locations.shape),
        weights.new_empty(weights.shape),
    )


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    value, ctx.shapes, locations, weights = inputs
    ctx.save_for_backward(value, locations, weights)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    value, locations, weights = ctx.saved_tensors
    to_value, to_locations, to_weights = sample_backward(
        grad, value, ctx.shapes, locations, weights
    )
    return to_value, None, to_locations, to_weights


sample.register_autograd(_differentiate, setup_context=_keep)
