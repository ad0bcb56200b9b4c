"""What a training step costs where no GPU is needed to see it: operations and waits."""

from __future__ import annotations

import collections
from typing import Any

import torch
from small import a_detector, images, published, targets
from torch.utils._python_dispatch import TorchDispatchMode

from dino_trainer.model import Criterion, build_dino

# Operations that make the host wait for the device, were the tensors there.
WAITS = {
    "aten._local_scalar_dense.default",
    "aten.nonzero.default",
    "aten.masked_select.default",
    "aten._unique2.default",
    "aten.equal.default",
}


class Count(TorchDispatchMode):
    """Counts every operation that reaches the dispatcher."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: collections.Counter[str] = collections.Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen[str(func)] += 1
        return func(*args, **(kwargs or {}))


def test_a_training_step_never_asks_the_device_for_a_number() -> None:
    model = a_detector().train()
    batch, mask = images((96, 128), (64, 100))
    batch_targets = targets(3, 1)
    with Count() as count:
        outputs = model(batch, mask, batch_targets)
        Criterion(model.cfg)(outputs, batch_targets).total.backward()
    assert not set(count.seen) & WAITS, set(count.seen) & WAITS


def test_the_matcher_copies_once(monkeypatch: Any) -> None:
    copies = []
    plain = torch.Tensor.cpu

    def cpu(tensor: torch.Tensor) -> torch.Tensor:
        copies.append(tuple(tensor.shape))
        return plain(tensor)

    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    model = a_detector().train()
    batch, mask = images((96, 128), (64, 100))
    batch_targets = targets(3, 1)
    Criterion(model.cfg)(model(batch, mask, batch_targets), batch_targets).total.backward()
    assert copies == [(3, 2, 20, 3)]  # two layers and the proposals, images, queries, boxes


def test_operations_of_a_published_step() -> None:
    """Forward, loss and backward of R50 with 6 + 6 layers; the published code takes 12,000."""
    model = build_dino(published(num_queries=30), 91).train()
    criterion = Criterion(model.cfg)
    batch, mask = images((96, 128), (64, 100))
    batch_targets = targets(3, 5)
    with Count() as count:
        criterion(model(batch, mask, batch_targets), batch_targets).total.backward()
    assert sum(count.seen.values()) <= 5000, count.seen.most_common(20)


def test_the_model_compiles_without_a_graph_break() -> None:
    """``fullgraph`` raises at the first one; the published code has 31."""
    model = a_detector().train()
    batch, mask = images((96, 128), (64, 100))

    def whole(names: tuple[str, ...]) -> list[Any]:
        return [torch.compile(getattr(model, n), backend="eager", fullgraph=True) for n in names]

    project, locate, encode, decode = whole(("_project", "_locate", "_encode", "_decode"))
    maps = project(batch, mask)
    tokens = locate(maps, mask)
    outputs = decode(encode(maps, tokens), tokens, model._denoise(targets(3, 1), None))
    assert outputs.denoising is not None
