"""Linear layers as nodes of the graph that keep little for the backward pass.

What a product with few weights gave takes many bytes to keep and little time to make again. So the
inputs are kept, and what lies behind them is not. Gradients are written out: half of the operations
of torch's, and fewer copies.

Shapes: b batch, n rows, d hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Rows that a block of linear layers computes at once: 2,048 numbers wide they take 67 MB.
ROWS_AT_ONCE = 2**13
# Numbers that the widest of the layers gives at once on a CPU in a training: 34 MB. glibc has room
# for them in what tensors of tokens left free; larger ones make the heap grow, which never shrinks.
NUMBERS_ON_CPU = 2**23
# On a CPU, where no gradient is asked for: 4 MB, which a core's cache holds until the next layer.
ROWS_IN_CACHE = 2**9


def full(x: Tensor) -> Tensor:
    """Return ``x`` in float32 if it is of half precision, else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def lowered_type(x: Tensor) -> torch.dtype:
    """Return the type that linear layers compute ``x`` in: autocast's, or that of ``x``."""
    if torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype


def dense(rows: Tensor, *layers: nn.Linear, keep: bool = False) -> Tensor:
    """Return float[n, outputs]: ``layers`` one after another with ReLU between them.

    One node of the graph, with the gradient written out: half of the operations, and every ReLU,
    forward and backward, in place. Heeds ``torch.autocast``.

    What lies between two layers is the largest part of what a detector would keep for the backward
    pass, and one product makes it again, of six that a block of two layers takes in a step.

    Args:
        rows: float[n, inputs].
        layers: each with a bias.
        keep: keep what lies between the layers: for a block that is itself computed twice.
    """
    weights = [part for layer in layers for part in (layer.weight, layer.bias)]
    # Nothing lies behind one layer, and in an exported graph the number of parts would bound the
    # batch.
    keep = keep or len(layers) == 1 or torch.compiler.is_exporting()
    kind = lowered_type(rows)
    if keep or torch.is_grad_enabled():
        return _Dense.apply(kind, keep, rows, *weights)
    return _through(rows.to(kind), *_turned(weights, kind), _at_once(rows))


def _at_once(rows: Tensor) -> int:
    """Return how many of ``rows`` a block computes at once where no gradient is asked for."""
    return ROWS_IN_CACHE if rows.device.type == "cpu" else ROWS_AT_ONCE


def _at_once_in_training(weights: Sequence[Tensor]) -> int:
    """Return how many rows a block of ``weights`` [outputs, inputs] computes at once."""
    if weights[0].device.type != "cpu":
        return ROWS_AT_ONCE
    return max(1, NUMBERS_ON_CPU // max(weight.shape[0] for weight in weights))


def _turned(parameters: Sequence[Tensor], kind: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
    """Return the weights [inputs, outputs] and the biases of ``kind``; given are each in turn."""
    weights, biases = _in_kind(parameters, kind)
    return [weight.t() for weight in weights], biases


def _in_kind(parameters: Sequence[Tensor], kind: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
    """Return the weights [outputs, inputs] and the biases of ``kind``; given are each in turn."""
    return [p.to(kind) for p in parameters[::2]], [p.to(kind) for p in parameters[1::2]]


def _through(rows: Tensor, turned: Sequence[Tensor], biases: Sequence[Tensor], most: int) -> Tensor:
    """Return what the layers make of ``rows``, ``most`` of them at once."""

    def of(part: Tensor) -> Tensor:
        return torch.addmm(biases[-1], _inputs(part, turned[:-1], biases[:-1])[-1], turned[-1])

    if rows.shape[0] <= most:
        return of(rows)
    made = rows.new_empty(rows.shape[0], turned[-1].shape[1])
    for part, into in zip(rows.split(most), made.split(most), strict=True):
        into.copy_(of(part))
    return made


class _Dense(torch.autograd.Function):
    """See ``dense``; takes weight and bias of each layer in turn."""

    @staticmethod
    def forward(
        ctx: Any, kind: torch.dtype, keep: bool, rows: Tensor, *parameters: Tensor
    ) -> Tensor:
        ctx.types = [rows.dtype, *(p.dtype for p in parameters)]
        weights, biases = _in_kind(parameters, kind)
        whole = rows.to(kind)
        *turned, last = [weight.t() for weight in weights]
        hidden = []
        if keep:
            hidden = _inputs(whole, turned, biases[:-1])[1:]
            made = torch.addmm(biases[-1], hidden[-1] if hidden else whole, last)
        else:
            made = _through(whole, [*turned, last], biases, _at_once_in_training(weights))
        ctx.depth = len(weights)
        ctx.save_for_backward(whole, *weights, *turned, *biases[:-1], *hidden)
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # may be read once only where activations are computed twice
        depth, needed = ctx.depth, ctx.needs_input_grad[2:]
        whole, weights, saved = saved[0], saved[1 : depth + 1], saved[depth + 1 :]
        turned, biases, hidden = (saved[i * (depth - 1) : (i + 1) * (depth - 1)] for i in range(3))
        keep = len(hidden) == depth - 1
        to_rows: Any = _Rows(len(whole))
        grads: list[Tensor | None] = [None] * len(ctx.types[1:])
        most = len(whole) if keep else _at_once_in_training(weights)
        for part, to_part in zip(_parts(whole, most), _parts(grad, most), strict=True):
            inputs = [part, *hidden] if keep else _inputs(part, turned, biases)
            to_input, *others = _to_inputs(to_part, inputs, weights, needed)
            if to_input is not None:
                to_rows.add(to_input.to(ctx.types[0]))
            grads = [_sum(*each) for each in zip(grads, others, ctx.types[1:], strict=True)]
        return None, None, to_rows.whole, *grads


def _parts(rows: Tensor, most: int) -> tuple[Tensor, ...]:
    return (rows,) if rows.shape[0] <= most else rows.split(most)


class _Rows:
    """Rows that come in parts, put side by side as they come: no part is held beside the whole."""

    def __init__(self, rows: int) -> None:
        self.whole: Tensor | None = None
        self._rows, self._filled = rows, 0

    def add(self, part: Tensor) -> None:
        """The next rows; may be kept as they are."""
        rows = part.shape[0]
        if rows == self._rows:
            self.whole = part
            return
        if self.whole is None:
            self.whole = part.new_empty(self._rows, *part.shape[1:])
        self.whole.narrow(0, self._filled, rows).copy_(part)
        self._filled += rows


def _inputs(rows: Tensor, turned: Sequence[Tensor], biases: Sequence[Tensor]) -> list[Tensor]:
    """Return what each layer takes in: ``rows``, and what each but the last gives after ReLU.

    ``turned`` [inputs, outputs] and ``biases`` are those of all but the last.
    """
    inputs = [rows]
    for weight, bias in zip(turned, biases, strict=True):
        inputs.append(torch.ops.aten._addmm_activation(bias, inputs[-1], weight))  # with ReLU
    return inputs


def _to_inputs(
    grad: Tensor, inputs: list[Tensor], weights: Sequence[Tensor], needed: Sequence[bool]
) -> list[Tensor | None]:
    """Return the gradients of rows, and of weight and bias of each layer in turn, where needed."""
    grads: list[Tensor | None] = [None] * len(needed)
    for layer in reversed(range(len(weights))):
        if needed[2 * layer + 1]:
            grads[2 * layer + 1] = grad.t() @ inputs[layer]
        if needed[2 * layer + 2]:
            grads[2 * layer + 2] = grad.sum(0)
        if not any(needed[: 2 * layer + 1]):
            break
        grad = grad @ weights[layer]
        if layer:  # what ReLU made zero has no gradient
            torch.ops.aten.threshold_backward.grad_input(grad, inputs[layer], 0, grad_input=grad)
    if needed[0]:
        grads[0] = grad
    return grads


def _sum(total: Tensor | None, part: Tensor | None, kind: torch.dtype) -> Tensor | None:
    """Add ``part`` to ``total``, None at first, in ``kind``."""
    if part is None:
        return None
    return part.to(kind) if total is None else total.add_(part)


def of_sum(x: Tensor, positions: Tensor, *layers: nn.Linear) -> tuple[Tensor, ...]:
    """Return float[b * n, outputs] of each layer, of ``x + positions`` float[b, n, d].

    Where autocast lowers nothing, ``x`` and ``positions``, which others keep as well, are added
    again in the backward pass. Heeds ``torch.autocast``.

    Args:
        x: float[b, n, d].
        positions: of a shape that broadcasts to it.
        layers: each with a bias.
    """
    weights = [part for layer in layers for part in (layer.weight, layer.bias)]
    made: tuple[Tensor, ...] = _OfSum.apply(lowered_type(x), x, positions, *weights)
    return made


class _OfSum(torch.autograd.Function):
    """See ``of_sum``; takes weight and bias of each layer in turn."""

    @staticmethod
    def forward(
        ctx: Any, kind: torch.dtype, x: Tensor, positions: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.types = [x.dtype, positions.dtype, *(p.dtype for p in parameters)]
        ctx.shapes = x.shape, positions.shape
        weights, biases = _in_kind(parameters, kind)
        whole = x + positions
        rows = whole.to(kind).flatten(0, 1)
        ctx.save_for_backward(*weights, *((x, positions) if whole.dtype == kind else (rows,)))
        return tuple(
            torch.addmm(bias, rows, weight.t())
            for weight, bias in zip(weights, biases, strict=True)
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        saved, needed = ctx.saved_tensors, ctx.needs_input_grad[1:]
        weights, parts = saved[: len(grads)], saved[len(grads) :]
        rows = parts[0] if len(parts) == 1 else (parts[0] + parts[1]).flatten(0, 1)
        to_sum: Tensor | None = None
        to_layers: list[Tensor | None] = []
        for layer, (grad, weight) in enumerate(zip(grads, weights, strict=True)):
            of_weight, of_bias = needed[2 + 2 * layer : 4 + 2 * layer]
            weight_type, bias_type = ctx.types[2 + 2 * layer : 4 + 2 * layer]
            to_layers += [
                (grad.t() @ rows).to(weight_type) if of_weight else None,
                grad.sum(0).to(bias_type) if of_bias else None,
            ]
            if needed[0] or needed[1]:
                if to_sum is None or grad.dtype != to_sum.dtype:
                    to_sum = _sum(to_sum, grad @ weight, ctx.types[0])
                else:
                    to_sum.addmm_(grad, weight)
        if to_sum is None:
            return None, None, None, *to_layers
        shape, of_positions = ctx.shapes
        to_sum = to_sum.view(shape)
        to_positions = to_sum.sum_to_size(of_positions).to(ctx.types[1]) if needed[1] else None
        return None, to_sum, to_positions, *to_layers


def add_block(rows: Tensor, norm: nn.LayerNorm, *layers: nn.Linear) -> Tensor:
    """Return float32[n, d], y + ``layers``(y) of y = ``norm``(rows), with ReLU between the layers.

    Only ``rows`` are kept. Heeds ``torch.autocast``; the norm and the sum are in float32.

    Args:
        rows: float[n, d].
        norm: over d numbers, with weight and bias.
        layers: each with a bias.
    """
    weights = [part for layer in layers for part in (layer.weight, layer.bias)]
    rows = full(rows)
    kind = lowered_type(rows)
    if not torch.is_grad_enabled():
        y: Tensor = norm(rows)
        return y + _through(y.to(kind), *_turned(weights, kind), _at_once(rows))
    made: Tensor = _AddBlock.apply(kind, norm.eps, rows, norm.weight, norm.bias, *weights)
    return made


class _AddBlock(torch.autograd.Function):
    """See ``add_block``; takes the norm's weight and bias, then those of each layer in turn."""

    @staticmethod
    def forward(
        ctx: Any,
        kind: torch.dtype,
        eps: float,
        rows: Tensor,
        scale: Tensor,
        shift: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        ctx.kind, ctx.eps, ctx.types = kind, eps, [p.dtype for p in parameters]
        weights, biases = _in_kind(parameters, kind)
        *turned, last = [weight.t() for weight in weights]
        y, _, _ = torch.native_layer_norm(rows, rows.shape[-1:], scale, shift, eps)
        ctx.save_for_backward(rows, scale, shift, *weights, *turned, *biases[:-1])
        most = _at_once_in_training(weights)
        return y.add_(_through(y.to(kind), [*turned, last], biases, most))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, scale, shift, *parameters = ctx.saved_tensors
        depth = len(ctx.types) // 2
        weights, parameters = parameters[:depth], parameters[depth:]
        turned, biases = parameters[: depth - 1], parameters[depth - 1 :]
        needed = ctx.needs_input_grad[2:]
        to_rows: Any = _Rows(len(rows))
        types = [scale.dtype, shift.dtype, *ctx.types]
        grads: list[Tensor | None] = [None] * len(types)
        most = _at_once_in_training(weights)
        # All that lies between is made of some rows at a time, the norm as well.
        for part, to_part in zip(_parts(rows, most), _parts(grad, most), strict=True):
            y, *moments = torch.native_layer_norm(part, part.shape[-1:], scale, shift, ctx.eps)
            inputs = _inputs(y.to(ctx.kind), turned, biases)
            lowered = to_part.to(ctx.kind)
            to_y, *of_layers = _to_inputs(lowered, inputs, weights, (True, *needed[3:]))
            assert to_y is not None
            to_input, *of_norm = torch.ops.aten.native_layer_norm_backward(
                to_part + to_y, part, part.shape[-1:], *moments, scale, shift, list(needed[:3])
            )
            if needed[0]:
                to_rows.add(to_input)
            others = (*of_norm, *of_layers)
            grads = [_sum(*each) for each in zip(grads, others, types, strict=True)]
        return None, None, to_rows.whole, *grads
