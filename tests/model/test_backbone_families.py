"""Backbones under TAO's names: any image size, timm's numbers, padding, weights."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn

from dino_api.rules.experiment.model import BACKBONE, MODEL_RULES, NOT_BUILT
from dino_trainer.errors import failure_of
from dino_trainer.model import check_backbone, load_backbone_weights, pretrained
from dino_trainer.model.backbone import Backbone, build_backbone
from dino_trainer.model.backbone_names import RESNETS, TAO, recipe_of
from dino_trainer.model.pretrained import _convert
from dino_trainer.model.windows import _attend, neighbours
from tests.model.small import a_detector, images, small

VIT = "timm/vit_tiny_patch16_224"
FAMILIES = ("swin_tiny_224_1k", "gc_vit_xxtiny", "efficientvit_b0", VIT)
ALL_STAGES = (0, 1, 2, 3)
TAO_NAMES = [
    *(f"fan_{size}" for size in ("tiny", "small", "base", "large")),
    *(f"gc_vit_{size}" for size in ("xxtiny", "xtiny", "tiny", "small", "base")),
    *("gc_vit_large", "gc_vit_large_384", "vit_large_nvdinov2", "vit_large_dinov2"),
    *("swin_tiny_224_1k", "swin_base_224_22k", "swin_base_384_22k"),
    *("swin_large_224_22k", "swin_large_384_22k", "resnet_34", "resnet_50"),
    *(f"efficientvit_b{i}" for i in range(4)),
]


TABLE = (Path(__file__).parents[2] / "docs" / "backbones.md").read_text(encoding="utf-8")
# name -> million parameters, empty where it is not built
DOCUMENTED = dict(re.findall(r"^\| `(\w+)`[^|]*\|[^|]*\|[^|]*\| ([\d.]*) ?\|", TABLE, re.MULTILINE))


def a_backbone(name: str, seed: int = 0, **changes: Any) -> Backbone:
    torch.manual_seed(seed)
    return build_backbone(small(backbone=name, return_interm_indices=ALL_STAGES, **changes))


def spread(net: nn.Module) -> None:
    """Weights far from their start, where many are zero or one."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)


def a_file_of(network: str) -> dict[str, Tensor]:
    """Random weights under timm's names and in its shapes."""
    with torch.device("meta"):
        state = timm.create_model(network, pretrained=False).state_dict()
    return {name: torch.randn(value.shape) for name, value in state.items()}


def test_each_of_taos_names_is_built_or_refused_with_its_nearest() -> None:
    assert len(TAO_NAMES) == 24
    assert DOCUMENTED.keys() == {*TAO_NAMES, *RESNETS}
    refused = [name for name in TAO_NAMES if re.fullmatch(NOT_BUILT, name)]
    assert sorted(set(TAO_NAMES) - set(refused) - set(RESNETS)) == sorted(TAO)
    assert len(refused) == 6
    remedy = next(rule.remedy for rule in MODEL_RULES if rule.id == "backbone-built")
    for name in refused:
        nearest = re.search(rf"(\w+) for {name}[,.]", remedy)
        assert nearest is not None
        assert nearest[1] in TAO
        assert DOCUMENTED[name] == ""
        assert re.search(rf"`{name}` \| no \|.*nearest `{nearest[1]}`", TABLE)


@pytest.mark.parametrize("name", [*RESNETS, *TAO])
def test_every_name_gives_maps_of_four_strides_for_any_size(name: str) -> None:
    """On the meta device: shapes without numbers, whatever the size of the network."""
    with torch.device("meta"):
        backbone = a_backbone(name)
        maps = backbone(torch.empty(2, 3, 225, 331))
    assert re.fullmatch(BACKBONE, name)
    millions = sum(p.numel() for p in backbone.body.parameters()) / 1e6
    assert DOCUMENTED[name] == f"{millions:.1f}"
    assert [tuple(m.shape[1:]) for m in maps] == [
        (channels, -(-225 // stride), -(-331 // stride))
        for channels, stride in zip(backbone.channels, (4, 8, 16, 32), strict=True)
    ]


@pytest.mark.parametrize("name", FAMILIES)
def test_everything_that_trains_gets_a_gradient(name: str) -> None:
    backbone = a_backbone(name).train()
    maps = backbone(torch.randn(1, 3, 45, 70), torch.zeros(1, 45, 70, dtype=torch.bool))
    sum(m.square().mean() for m in maps).backward()
    without = [n for n, p in backbone.named_parameters() if p.requires_grad and p.grad is None]
    assert not without
    assert all(p.grad.isfinite().all() for p in backbone.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", FAMILIES)
def test_layer_norms_train_and_batch_norms_do_not(name: str) -> None:
    backbone = a_backbone(name)
    norms = [m for m in backbone.modules() if isinstance(m, nn.LayerNorm)]
    assert all(p.requires_grad for norm in norms for p in norm.parameters())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in backbone.modules())
    assert norms or name == "efficientvit_b0"


def test_a_frozen_body_leaves_what_is_new_to_train() -> None:
    backbone = a_backbone(VIT, train_backbone=False)
    training = {n.split(".")[0] for n, p in backbone.named_parameters() if p.requires_grad}
    assert training == {"neck"}


@pytest.mark.parametrize("name", ["swin_tiny_224_1k", "gc_vit_xxtiny", VIT])
def test_at_the_size_of_the_pretraining_the_numbers_are_timms(name: str) -> None:
    net = timm.create_model(recipe_of(name).timm, pretrained=False).eval()
    spread(net)
    body = a_backbone(name).eval().body
    missing = body.net.load_state_dict(net.state_dict(), strict=False).missing_keys
    assert not missing
    x = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        want = net.forward_intermediates(x, intermediates_only=True, norm=name == VIT)
        got = body(x)
    for mine, theirs in zip(reversed(got), reversed(want), strict=False):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def attention_by_hand(block: SwinTransformerBlock, x: Tensor, shift: tuple[int, int]) -> Tensor:
    """Window attention token by token: no padding, no rolling, no mask."""
    _, h, w, c = x.shape
    side, heads = block.window_size[0], block.attn.num_heads
    cells = [divmod(i, w) for i in range(h * w)]
    homes = [tuple((v - s) // side for v, s in zip(cell, shift, strict=True)) for cell in cells]
    q, k, v = block.attn.qkv(x).reshape(h * w, 3, heads, c // heads).unbind(1)
    out = torch.zeros(h * w, heads, c // heads)
    for i, (row, column) in enumerate(cells):
        seen = [j for j in range(h * w) if homes[j] == homes[i]]
        places = [
            (row - cells[j][0] + side - 1) * (2 * side - 1) + column - cells[j][1] + side - 1
            for j in seen
        ]
        scores = (q[i] * k[seen]).sum(-1) * (c // heads) ** -0.5
        weights = (scores + block.attn.relative_position_bias_table[places]).softmax(0)
        out[i] = (weights[..., None] * v[seen]).sum(0)
    return block.attn.proj(out.flatten(1)).reshape(x.shape)


@pytest.mark.parametrize("shift", [(0, 0), (1, 1), (0, 1)])
@pytest.mark.parametrize("size", [(6, 6), (7, 5), (4, 8)])
def test_a_token_attends_to_its_neighbours_alone(
    size: tuple[int, int], shift: tuple[int, int]
) -> None:
    """Neither padding nor the opposite edge of the image takes part."""
    torch.manual_seed(1)
    block = SwinTransformerBlock(8, (6, 6), num_heads=2, window_size=3, shift_size=1).eval()
    spread(block)
    x = torch.randn(1, *size, 8)
    with torch.inference_mode():
        got = _attend(block, x, shift, neighbours(x, 3, shift))
        torch.testing.assert_close(got, attention_by_hand(block, x, shift))


def test_what_is_all_neighbours_needs_no_mask() -> None:
    assert neighbours(torch.zeros(1, 6, 9, 1), 3, (0, 0)) is None


def test_padding_does_not_reach_a_plain_vits_image() -> None:
    """Attention spans the image: an image's features are the same with padding and without."""
    backbone = a_backbone(VIT).eval()
    nn.init.zeros_(backbone.body.net.pos_embed)  # it is resampled to the batch, padding included
    batch, mask = images((40, 64), (64, 96))
    with torch.inference_mode():
        (alone,) = backbone.body(batch[:1, :, :40, :64])
        (together,) = backbone.body(batch, mask)
        (unmasked,) = backbone.body(batch)
    torch.testing.assert_close(together[:1, :, :3, :4], alone, rtol=1e-4, atol=1e-4)
    assert not unmasked[:1, :, :3, :4].allclose(alone, atol=1e-2)


@pytest.mark.parametrize("name", ["swin_tiny_224_1k", VIT])
def test_a_detector_on_padded_images_in_half_precision(name: str) -> None:
    model = a_detector(backbone=name).train()
    batch, mask = images((70, 96), (64, 90))
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(batch, mask)
    outputs.logits.float().mean().backward()
    assert outputs.logits.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.backbone.parameters() if p.grad is not None)


def test_the_gated_vit_of_nvidia() -> None:
    with torch.device("meta"):
        backbone = a_backbone("vit_large_nvdinov2")
    state = backbone.body.net.state_dict()
    assert state["blocks.23.mlp.fc1.weight"].shape == (5472, 1024)
    assert state["blocks.23.mlp.fc2.weight"].shape == (1024, 2736)
    assert state["patch_embed.proj.weight"].shape == (1024, 3, 16, 16)
    assert state["pos_embed"].shape == (1, 1 + 37 * 37, 1024)


def test_how_far_a_vits_layers_are_from_its_output() -> None:
    backbone = a_backbone(VIT)
    distances = backbone.distances()
    assert distances.keys() == {f"body.{name}" for name, _ in backbone.body.named_parameters()}
    assert distances["body.net.norm.weight"] == 0
    assert distances["body.net.blocks.11.mlp.fc1.weight"] == 1
    assert distances["body.net.blocks.0.mlp.fc1.weight"] == 12
    embeddings = ("pos_embed", "cls_token", "patch_embed.proj.weight")
    assert {distances[f"body.net.{name}"] for name in embeddings} == {13}
    assert a_backbone("resnet_18").distances() == {}


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_in_timms_format(name: str, tmp_path: Path) -> None:
    state = a_file_of(recipe_of(name).timm)
    torch.save({"state_dict": state}, tmp_path / "weights.pth")
    model = a_detector(backbone=name, return_interm_indices=(2, 3, 4), num_feature_levels=3)
    report = load_backbone_weights(model, tmp_path / "weights.pth")
    body = model.backbone.body
    assert len(report.loaded) == len(body.state_dict())
    behind = ("head", "norm.", "norm_", "final_conv", "classifier")
    assert all(tensor.startswith(behind) for tensor, _ in report.skipped), report.skipped
    theirs = {key.replace(".", "_"): value for key, value in state.items()}
    for key, value in body.net.state_dict().items():
        assert value.equal(theirs[key.replace(".", "_")]), key


def test_swins_own_layout_is_read() -> None:
    """Its authors end a stage with what timm begins the next with."""
    with torch.device("meta"):
        body = a_backbone("swin_tiny_224_1k").body
    known = body.net.state_dict()
    theirs = {
        re.sub(r"layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", k): v
        for k, v in known.items()
    }
    assert theirs.keys() != known.keys()
    read = _convert(theirs, body)
    assert read.keys() == known.keys()
    assert all(read[name].shape == value.shape for name, value in known.items())


def test_patches_of_another_size_are_resampled(tmp_path: Path) -> None:
    """A picture and its enlargement have the same embedding before and after."""
    torch.manual_seed(0)
    net = timm.create_model("vit_tiny_patch16_224", patch_size=14, pretrained=False)
    torch.save(net.state_dict(), tmp_path / "vit.pth")
    model = a_detector(backbone=VIT)
    load_backbone_weights(model, tmp_path / "vit.pth")
    mine = model.backbone.body.net
    assert mine.pos_embed.shape == (1, 1 + 14 * 14, 192)
    picture = torch.randn(1, 3, 14, 14)
    larger = nn.functional.interpolate(picture, size=16, mode="bicubic")
    want, got = net.patch_embed.proj(picture), mine.patch_embed.proj(larger)
    assert nn.functional.cosine_similarity(want, got, dim=1).item() > 0.99


def test_positions_that_cannot_be_resized_are_refused(tmp_path: Path) -> None:
    state = a_file_of("vit_tiny_patch16_224") | {"pos_embed": torch.ones(3)}
    torch.save(state, tmp_path / "vit.pth")
    refusal = r"cannot be brought to the size of model\.backbone \(.+\)\. Check the file"
    with pytest.raises(ValueError, match=refusal):
        load_backbone_weights(a_detector(backbone=VIT), tmp_path / "vit.pth")


NO_MEMORY = "[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: not enough memory: you"


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError(NO_MEMORY)], ids=["python", "torch"])
def test_too_little_memory_is_no_flaw_of_the_file(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(*_: object) -> None:
        raise error

    monkeypatch.setattr(pretrained, "convert_vit", convert)
    torch.save(a_file_of("vit_tiny_patch16_224"), tmp_path / "vit.pth")
    with pytest.raises(type(error)) as raised:
        load_backbone_weights(a_detector(backbone=VIT), tmp_path / "vit.pth")
    assert failure_of(raised.value).reason == "OutOfMemory"


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    model = a_detector(backbone=VIT)
    for network in ("vit_small_patch16_224", "gcvit_xxtiny"):
        torch.save(a_file_of(network), tmp_path / "other.pth")
        with pytest.raises(ValueError, match=f"does not fit the backbone {VIT}"):
            load_backbone_weights(model, tmp_path / "other.pth")


def test_taos_names_are_known_without_timm_being_asked() -> None:
    for name in TAO:
        check_backbone(name)
