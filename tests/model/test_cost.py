"""What a training step costs where no GPU is needed to see it: operations and waits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from dino_trainer.model import Criterion, attention, dino, layers, losses, products
from dino_trainer.model.dino import ProposalHead
from tests.bench.growth_step import most_held
from tests.bench.train_step_batch import Size
from tests.bench.train_step_counts import WAITS, Count, activation_bytes, count_operations
from tests.bench.train_step_ours import OurStep
from tests.model.small import a_detector, images, published, targets


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


class Sampling(TorchDispatchMode):
    """Notes the tensors that the sampling operators get."""

    def __init__(self) -> None:
        super().__init__()
        self.tensors: list[torch.Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "dino":
            self.tensors += [x for x in args if isinstance(x, torch.Tensor)]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("sampler, most", [("compiled", 3900), ("grid_sample", 4800)])
def test_operations_of_a_published_step(
    sampler: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of a step, clipping and AdamW too, of R50 with 6 + 6 layers; published: 12,000.

    "compiled" is also what a GPU takes: one operator each way, with a kernel for either device.
    """
    monkeypatch.setattr(attention, "sampler_for", lambda value, locations: sampler)
    monkeypatch.setattr(layers, "FEW_PLACES", 0)  # as on a GPU
    step = OurStep(published(num_queries=30))
    step.prepare(Size(2, 96, 128))
    step.run()  # the first one makes the optimiser's state
    counts = count_operations(step.run)
    assert counts["operations"] <= most
    assert counts["waits"] == 2  # the matcher, and the loop for the loss


def test_the_sampling_operators_get_tensors_that_need_no_copy() -> None:
    """Six encoder and decoder layers each: three tensors forward, four backward."""
    step = OurStep(published(num_queries=30))
    step.prepare(Size(1, 64, 64))
    with Sampling() as sampling:
        step.run()
    assert len(sampling.tensors) == 12 * (3 + 4)
    assert all(tensor.is_contiguous() for tensor in sampling.tensors)


def test_activations_of_an_image_of_the_published_model() -> None:
    """Kept for the backward pass, 256 x 320; in bf16 on a CPU with attention's softmax."""
    step = OurStep()
    step.prepare(Size(1, 256, 320))
    assert activation_bytes(step.model, step.forward) <= 258e6
    assert activation_bytes(step.model, lambda: step.forward(bf16=True)) <= 382e6


def test_a_feed_forward_block_holds_few_rows_of_the_widest_layer_at_once(
    monkeypatch: Any,
) -> None:
    """Beside what goes in and comes out: one part's rows, forward; seven and weights, backward."""
    monkeypatch.setattr(products, "NUMBERS_ON_CPU", 2**18)  # 128 rows, 2,048 wide
    norm, block = layers.LayerNorm(256), layers.FeedForward(256, 2048, 0.0, "relu")
    rows, part, weights = 2000, 4 * 2**18, 4 * 2 * 256 * 2048
    x = torch.randn(1, rows, 256, requires_grad=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as forward:
        y = block.add_to(norm, x)
    assert most_held(forward) <= 2.1 * x.nbytes + 1.5 * part
    grad = torch.ones_like(y)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as backward:
        y.backward(grad)
    assert most_held(backward) <= 1.1 * x.nbytes + 2 * weights + 7 * part


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


class Choosing(torch.nn.Module):
    """The choice of queries alone."""

    def __init__(self, proposals: ProposalHead) -> None:
        super().__init__()
        self.proposals = proposals

    def forward(self, embedded: torch.Tensor) -> torch.Tensor:
        assert self.proposals.class_head is not None
        return self.proposals._chosen(self.proposals.class_head, embedded)


def test_an_exported_graph_takes_any_batch_whatever_its_classes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is computed with the size of the batch bounds the batches that a graph takes."""
    monkeypatch.setattr(dino, "LOGITS_AT_ONCE", 4 * 5000)
    proposals = a_detector(classes=5000).eval().proposals
    assert isinstance(proposals, ProposalHead)
    batch = torch.export.Dim("batch", min=1, max=64)
    embedded = torch.zeros(2, 30, proposals.project.out_features)
    graph = torch.export.export(Choosing(proposals), (embedded,), dynamic_shapes=({0: batch},))
    assert graph.module()(embedded.repeat(4, 1, 1)).shape == (8, proposals.queries)


class Sizes(TorchDispatchMode):
    """Counts what operators give, by their numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            self.made.append(made.numel())
        return made


def test_slopes_are_computed_for_a_training_alone() -> None:
    """A validation asks for the loss, too, and nothing of it is differentiated."""
    logits = torch.randn(2, 1, 5, 7)
    positive = torch.rand(1, 5, 7) < 0.1
    counts, sums = {}, {}
    for trained in (True, False):
        x = logits.clone().requires_grad_(trained)
        with Sizes() as sizes:
            sums[trained] = losses._focal_sums(x, positive, 0.25)
        counts[trained] = sum(made == logits.numel() for made in sizes.made)
        assert (sums[trained].grad_fn is not None) == trained
    assert torch.equal(sums[True], sums[False])
    assert counts[True] - counts[False] >= 7, counts


def test_queries_are_chosen_among_classes_a_few_tokens_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 5,000 classes the logits of all tokens would take most of a step's memory."""
    model = a_detector(classes=5000).eval()
    batch, mask = images((96, 128), (64, 100))
    with torch.no_grad():
        whole = model(batch, mask)
    held: list[int] = []
    assert isinstance(model.proposals, ProposalHead)
    assert model.proposals.class_head is not None
    model.proposals.class_head.register_forward_hook(lambda *call: held.append(call[2].numel()))
    monkeypatch.setattr(dino, "LOGITS_AT_ONCE", 2**18)
    with torch.no_grad():
        parts = model(batch, mask)
    *choosing, chosen = held
    assert len(choosing) > 1
    assert max(choosing) <= 2**18
    assert chosen == 2 * model.cfg.num_queries * 5000
    torch.testing.assert_close(parts.logits, whole.logits)
    torch.testing.assert_close(parts.boxes, whole.boxes)
