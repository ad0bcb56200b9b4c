"""Half precision where it is safe, float32 where it is not; and activations computed twice."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dino_trainer.model import Criterion, Dino
from dino_trainer.model.attention import DeformableAttention, SelfAttention
from dino_trainer.model.layers import FeedForward, GroupNorm, LayerNorm
from tests.model.small import a_detector, images, targets

HALF = (torch.bfloat16, torch.float16)
SIZES = ((96, 128), (64, 100))


def step(model: Dino, half: torch.dtype | None = None) -> Any:
    """Outputs and losses of one batch; the same noise each time."""
    torch.manual_seed(1)
    batch, mask = images(*SIZES)
    batch_targets = targets(3, 1)
    with torch.autocast("cpu", half or torch.bfloat16, enabled=half is not None):
        outputs = model(batch, mask, batch_targets, torch.Generator().manual_seed(2))
        losses = Criterion(model.cfg)(outputs, batch_targets)
    return outputs, losses


def gradients(model: Dino) -> dict[str, Tensor]:
    step(model)[1].total.backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def saved_bytes(model: Dino) -> int:
    """Bytes that a forward pass keeps for the backward pass, the weights apart."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = step(model)[1]
    assert losses.total.isfinite()
    return sum(t.untyped_storage().nbytes() for p, t in kept.items() if p not in weights)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_activations_computed_twice_give_the_same_gradients_from_fewer_bytes(
    dropout: float,
) -> None:
    model = a_detector(enc_layers=3, dropout_ratio=dropout).train()
    assert model.activation_checkpoint is False
    plain, plain_bytes = gradients(model), saved_bytes(model)
    model.zero_grad(set_to_none=True)
    model.activation_checkpoint = True
    again, fewer_bytes = gradients(model), saved_bytes(model)
    assert plain.keys() == again.keys()
    assert all(plain[name].equal(again[name]) for name in plain)
    assert fewer_bytes < 0.7 * plain_bytes


class Seen:
    """The types of what modules of one kind took in and gave out."""

    def __init__(self, model: nn.Module, *kinds: type[nn.Module]) -> None:
        self.inputs: set[torch.dtype] = set()
        self.outputs: set[torch.dtype] = set()
        for module in model.modules():
            if isinstance(module, kinds):
                module.register_forward_hook(self.note)

    def note(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        self.inputs |= {x.dtype for x in inputs if isinstance(x, Tensor)}
        self.outputs.add(output.dtype)


@pytest.mark.parametrize("half", HALF)
def test_what_stays_in_float32(half: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    model = a_detector().train()
    norms = Seen(model, LayerNorm, GroupNorm)
    lowered = Seen(model, FeedForward, DeformableAttention, SelfAttention)
    scored, sampled, encoded = [], [], []
    choose, sample = model.proposals.choose, DeformableAttention.forward.__globals__
    monkeypatch.setattr(
        model.proposals, "choose", lambda logits: scored.append(logits) or choose(logits)
    )
    plain = sample["ms_deform_attn"]

    def spy(value: Tensor, shapes: Any, locations: Tensor, weights: Tensor) -> Tensor:
        sampled.append((value.dtype, locations.dtype, weights.dtype))
        return plain(value, shapes, locations, weights)

    monkeypatch.setitem(sample, "ms_deform_attn", spy)
    model.decoder.ref_point_head.register_forward_pre_hook(lambda _, x: encoded.append(x[0].dtype))
    outputs, losses = step(model, half)
    assert norms.outputs == {torch.float32}
    assert half in lowered.outputs
    assert {x.dtype for x in scored} == {torch.float32}
    assert set(sampled) == {(half, torch.float32, torch.float32)}
    assert set(encoded) == {torch.float32}  # sines of the reference boxes
    for part in (outputs.layers, outputs.proposals, outputs.denoising.layers):
        assert (part.logits.dtype, part.boxes.dtype) == (torch.float32, torch.float32)
    assert losses.total.dtype == torch.float32


@pytest.mark.parametrize("half", HALF)
def test_losses_in_half_precision_are_close(half: torch.dtype) -> None:
    model = a_detector().train()
    expected, losses = step(model)[1], step(model, half)[1]
    assert losses.names == expected.names
    assert losses.total.isclose(expected.total, rtol=0.02)
    losses.total.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}
