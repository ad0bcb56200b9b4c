"""Counts that need no clock: operations, waits of the host, bytes kept for the backward pass."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

# Operations that make the host wait for the device, were the tensors there.
WAITS = {
    "aten._local_scalar_dense.default",
    "aten.nonzero.default",
    "aten.masked_select.default",
    "aten._unique2.default",
    "aten.equal.default",
}


class Count(TorchDispatchMode):
    """Counts every operation that reaches the dispatcher, and which of them wait for a device.

    What an optimiser asks for does not count as waiting: it asks for its step numbers, which lie
    on the host also where everything else is on a GPU.
    """

    def __init__(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        super().__init__()
        self.seen: collections.Counter[str] = collections.Counter()
        self.waits = 0
        self._waiting = 1
        if optimizer is not None:
            optimizer.register_step_pre_hook(lambda *_: self._count_waits(0))
            optimizer.register_step_post_hook(lambda *_: self._count_waits(1))

    def _count_waits(self, weight: int) -> None:
        self._waiting = weight

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen[str(func)] += 1
        self.waits += self._waiting * (str(func) in WAITS)
        return func(*args, **(kwargs or {}))


@contextmanager
def copies_to_host() -> Iterator[list[str]]:
    """Note every ``.cpu()`` and ``.tolist()``, which the dispatcher does not see on a CPU."""
    made: list[str] = []
    plain = {name: getattr(Tensor, name) for name in ("cpu", "tolist")}

    def noting(name: str) -> Callable[..., Any]:
        def copy(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            made.append(name)
            return plain[name](tensor, *args, **kwargs)

        return copy

    for name in plain:
        setattr(Tensor, name, noting(name))
    try:
        yield made
    finally:
        for name, method in plain.items():
            setattr(Tensor, name, method)


def count_operations(
    run: Callable[[], object], optimizer: torch.optim.Optimizer | None = None
) -> dict[str, int]:
    """Return the dispatcher operations of ``run`` and how often it would wait for a device."""
    with Count(optimizer) as count, copies_to_host() as copies:
        run()
    return {"operations": sum(count.seen.values()), "waits": count.waits + len(copies)}


def activation_bytes(model: nn.Module, forward: Callable[[], Tensor]) -> int:
    """Return the bytes of all storages kept for the backward pass, the model's own apart."""
    held = [*model.parameters(), *model.buffers()]
    own = {tensor.untyped_storage().data_ptr() for tensor in held}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = forward()
    size = sum(t.untyped_storage().nbytes() for place, t in kept.items() if place not in own)
    assert loss.requires_grad
    return size
