"""Checkpoints of the published code, of TAO and our own."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dino_trainer.model import Dino, load_checkpoint_weights, read_state
from dino_trainer.model.weights import our_name
from tests.model.golden import HERE
from tests.model.golden_case import GoldenFolder
from tests.model.small import a_detector


def published_state() -> dict[str, Tensor]:
    """A state in the published layout, and the case that it belongs to."""
    return GoldenFolder(HERE / "golden" / "four_scale").state()


def published_model() -> Dino:
    case = GoldenFolder(HERE / "golden" / "four_scale")
    return case.model()


def tao_state() -> dict[str, Tensor]:
    """The same tensors as TAO's Lightning checkpoint names them, with BatchNorm's counters."""
    state = {f"model.model.{name}": value for name, value in published_state().items()}
    counters = [
        n.replace("running_var", "num_batches_tracked") for n in state if "running_var" in n
    ]
    return state | dict.fromkeys(counters, torch.tensor(1))


def same(a: Dino, b: Dino) -> bool:
    """Whether two models hold the same tensors."""
    states = a.state_dict(), b.state_dict()
    return all(value.equal(states[1][name]) for name, value in states[0].items())


def test_three_layouts_give_the_same_model() -> None:
    model = published_model()
    for state in (tao_state(), {"state_dict": tao_state(), "epoch": 3}, model.state_dict()):
        other = published_model()
        torch.nn.init.zeros_(other.decoder.norm.weight)
        report = load_checkpoint_weights(other, state, strict=True)
        assert (report.skipped, report.missing) == ((), ())
        assert set(report.loaded) == set(model.state_dict())
        assert same(model, other)


def test_official_checkpoints_hold_a_namespace(tmp_path: Path) -> None:
    """They are read without executing anything that they contain."""
    content = {"model": published_state(), "args": argparse.Namespace(lr=1e-4), "epoch": 11}
    torch.save(content, tmp_path / "checkpoint0011_4scale.pth")
    state = read_state(tmp_path / "checkpoint0011_4scale.pth")
    assert set(state) == set(published_state())


class Evil:
    """Runs a command when unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/should-not-exist",)


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    torch.save({"model": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="is not a readable checkpoint"):
        read_state(tmp_path / "evil.pth")


@pytest.mark.parametrize(
    "content, message",
    [(b"no checkpoint", "not a readable checkpoint"), (b"", "not a readable checkpoint")],
)
def test_files_that_are_no_checkpoint(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_state(path)
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_state(tmp_path / "x.safetensors")


def test_a_truncated_or_empty_checkpoint(tmp_path: Path) -> None:
    torch.save({"model": {}}, tmp_path / "empty.pth")
    with pytest.raises(ValueError, match="holds no tensors"):
        read_state(tmp_path / "empty.pth")
    torch.save(a_detector().state_dict(), tmp_path / "whole.pth")
    half = (tmp_path / "whole.pth").read_bytes()[:100_000]
    (tmp_path / "half.pth").write_bytes(half)
    with pytest.raises(ValueError, match="is not a readable checkpoint"):
        read_state(tmp_path / "half.pth")
    with pytest.raises(ValueError, match="There is no file"):
        read_state(tmp_path / "none.pth")


def test_other_classes_keep_a_random_head() -> None:
    source, target = a_detector(seed=1, classes=91), a_detector(seed=2, classes=4)
    before = target.decoder.class_head[0].weight.clone()
    report = load_checkpoint_weights(target, source.state_dict(), strict=False)
    skipped = dict(report.skipped)
    assert skipped["decoder.class_head.0.weight"] == "its shape is [91, 64], the model's [4, 64]"
    assert (
        set(skipped)
        == set(report.missing)
        == {
            "decoder.class_head.0.weight",
            "decoder.class_head.0.bias",
            "proposals.class_head.weight",
            "proposals.class_head.bias",
            "label_embed.weight",
        }
    )
    assert target.decoder.class_head[0].weight.equal(before)
    assert target.decoder.norm.weight.equal(source.decoder.norm.weight)


def test_strict_says_what_does_not_fit() -> None:
    source, target = a_detector(classes=91), a_detector(classes=4)
    with pytest.raises(ValueError, match=r"5 tensors cannot be .* 5 are missing .*\[91, 64\]"):
        load_checkpoint_weights(target, source.state_dict(), strict=True)


def test_a_foreign_checkpoint_is_refused() -> None:
    with pytest.raises(ValueError, match=r"nothing that fits .* x \(the model has no such"):
        load_checkpoint_weights(a_detector(), {"x": torch.zeros(1)}, strict=False)
    with pytest.raises(ValueError, match="it has no tensors"):
        load_checkpoint_weights(a_detector(), {"state_dict": {}}, strict=False)


def test_heads_of_a_checkpoint_that_does_not_share_them() -> None:
    """Layers' own heads cannot all become the shared one: the first stays, the rest is named."""
    own = {"dec_pred_class_embed_share": False, "dec_pred_bbox_embed_share": False}
    source, target = a_detector(seed=1, **own), a_detector(seed=2)
    torch.nn.init.normal_(source.decoder.class_head[1].weight)
    report = load_checkpoint_weights(target, source.state_dict(), strict=False)
    why = dict(report.skipped)["decoder.class_head.1.weight"]
    assert why == (
        "it differs from another tensor for decoder.class_head.0.weight, which the model shares"
    )
    assert target.decoder.class_head[0].weight.equal(source.decoder.class_head[0].weight)


@pytest.mark.parametrize(
    "published, ours",
    [
        (
            "transformer.decoder.layers.3.self_attn.in_proj_weight",
            "decoder.layers.3.self_attention.in_proj.weight",
        ),
        (
            "module.transformer.encoder.layers.0.self_attn.value_proj.bias",
            "encoder.layers.0.attention.value_proj.bias",
        ),
        (
            "model.model.backbone.0.body.layer1.0.conv1.weight",
            "backbone.body.layer1.0.conv1.weight",
        ),
        ("model.model.backbone.0.body.model.stem.weight", "backbone.body.net.stem.weight"),
        ("bbox_embed.5.layers.2.bias", "decoder.box_head.5.layers.2.bias"),
        ("input_proj.3.1.weight", "input_proj.3.1.weight"),
    ],
)
def test_names(published: str, ours: str) -> None:
    assert our_name(published) == ours
    assert our_name(ours) == ours
