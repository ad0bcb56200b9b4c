"""Shapes, sizes and switches of the detector."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dino_trainer.model import Criterion, Targets, build_dino, postprocess
from tests.model.small import a_detector, images, published, small, targets

SIZES = ((96, 128), (64, 100))


def test_the_published_model_has_46_893_182_parameters() -> None:
    model = build_dino(published(), 91)
    trainable = [p for p in model.parameters() if p.requires_grad]
    assert sum(p.numel() for p in model.parameters()) == 46_893_182
    assert sum(p.numel() for p in trainable) == 46_670_782
    assert len(trainable) == 315


def test_it_starts_as_the_published_model() -> None:
    torch.manual_seed(0)
    model = build_dino(small(), 5)
    assert model.decoder.class_head[0].bias.allclose(torch.tensor(-4.59512))
    assert model.proposals.class_head.bias.allclose(torch.tensor(-4.59512))
    assert model.decoder.box_head[0].layers[-1].weight.abs().max() == 0
    assert model.encoder.layers[0].attention.sampling_offsets.weight.abs().max() == 0
    # Heads 0..3 look right, down, left, up, one to four cells away.
    compass = model.encoder.layers[0].attention.sampling_offsets.bias.view(4, 4, 4, 2)
    expected = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    assert compass[:, 0, 0].allclose(expected, atol=1e-6)
    assert compass[:, 2, 3].allclose(4 * expected, atol=1e-6)
    assert model.label_embed.weight.std() > 0.8  # normal, while
    assert model.query_embed.weight.std() < 0.4  # Xavier overwrites the published normal start


def test_shapes() -> None:
    batch, mask = images(*SIZES)
    model = a_detector().train()
    outputs = model(batch, mask, targets(3, 1))
    assert outputs.layers.logits.shape == (2, 2, 20, 5)
    assert outputs.layers.boxes.shape == (2, 2, 20, 4)
    assert outputs.proposals.logits.shape == (2, 20, 5)
    # 8 -> 16 groups of 3 positive and 3 negative boxes
    assert outputs.denoising.layers.boxes.shape == (2, 2, 96, 4)
    assert outputs.logits.shape == (2, 20, 5)
    detections = postprocess(model.eval()(batch, mask), torch.tensor(SIZES), 10)
    assert [d.boxes.shape for d in detections] == [(10, 4)] * 2
    assert all(d.scores.diff().le(0).all() for d in detections)


def test_postprocessing_picks_query_and_class_and_scales_to_pixels() -> None:
    batch, mask = images((64, 64))
    outputs = a_detector(num_queries=6).eval()(batch, mask)
    outputs.layers.logits[-1].fill_(-9)
    outputs.layers.logits[-1][0, 4, 3] = 2
    outputs.layers.boxes[-1][0, 4] = torch.tensor([0.5, 0.25, 0.2, 0.1])
    best = postprocess(outputs, torch.tensor([[200, 100]]), 1)[0]
    assert best.labels.tolist() == [3]
    assert best.boxes[0].allclose(torch.tensor([40.0, 40.0, 60.0, 60.0]), atol=1e-4)
    assert best.scores[0].isclose(torch.tensor(2.0).sigmoid())


def test_no_mask_is_a_mask_without_padding() -> None:
    batch, mask = images((96, 128), (96, 128))
    model = a_detector().eval()
    assert not mask.any()
    assert model(batch).boxes.allclose(model(batch, mask).boxes, atol=1e-6)


SWITCHES: dict[str, dict[str, Any]] = {
    "five levels": {"return_interm_indices": (0, 1, 2, 3, 4), "num_feature_levels": 5},
    "C4, C5 and one extra": {"return_interm_indices": (2, 3, 4), "num_feature_levels": 3},
    "C5 and two extra": {
        "return_interm_indices": (3, 4, 5),
        "num_feature_levels": 3,
        "num_queries": 4,
    },
    "one level": {"return_interm_indices": (3,), "num_feature_levels": 1, "num_queries": 4},
    "C3 alone": {"return_interm_indices": (1,), "num_feature_levels": 1},
    "heads per layer": {"dec_pred_class_embed_share": False, "dec_pred_bbox_embed_share": False},
    "one head for all": {"two_stage_class_embed_share": True, "two_stage_bbox_embed_share": True},
    "queries from tokens": {"embed_init_tgt": False},
    "learned boxes": {"two_stage_type": "no"},
    "image-based self-attention": {"decoder_sa_type": "ca_content"},
    "norm after the encoder": {"pre_norm": True},
    "gelu": {"transformer_activation": "gelu"},
    "no denoising": {"use_dn": False},
    "no auxiliary losses": {"aux_loss": False},
    "dropout": {"dropout_ratio": 0.1},
    "dilation": {"dilation": True, "backbone": "resnet_50"},
}


@pytest.mark.parametrize("changes", SWITCHES.values(), ids=SWITCHES.keys())
def test_every_switch_trains(changes: dict[str, Any]) -> None:
    model = a_detector(**changes).train()
    batch, mask = images(*SIZES)
    batch_targets = targets(2, 1)
    losses = Criterion(model.cfg)(model(batch, mask, batch_targets), batch_targets)
    losses.total.backward()
    assert losses.total.isfinite()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "levels disagree": ({"num_feature_levels": 3}, "has 4 entries .*num_feature_levels is 3"),
    "order": ({"return_interm_indices": (2, 1, 3, 4)}, "rising order"),
    "gap among extra levels": ({"return_interm_indices": (1, 2, 3, 5)}, "then 4, 5"),
    "no backbone level": ({"return_interm_indices": (4, 5, 6, 7)}, "Name backbone stages"),
    "heads": ({"nheads": 3}, "multiple of nheads"),
    "hidden size": ({"hidden_dim": 72, "nheads": 4}, "multiple of 32"),
    "no decoder": ({"dec_layers": 0}, "dec_layers is 0"),
    "no denoising number": ({"dn_number": 0}, "use_dn false"),
    "self-attention": ({"decoder_sa_type": "ca_label"}, "Supported: sa, ca_content"),
    "two stages": ({"two_stage_type": "early"}, "Supported: standard, no"),
    "activation": ({"transformer_activation": "prelu"}, "Supported: relu, gelu"),
    "loss": ({"loss_types": ("labels", "masks")}, "masks"),
    "sharing": (
        {"two_stage_class_embed_share": True, "dec_pred_class_embed_share": False},
        "need dec_pred_class_embed_share",
    ),
}


@pytest.mark.parametrize("changes, message", REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_built_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_too_small_images_are_refused() -> None:
    batch, _ = images((32, 32))
    with pytest.raises(ValueError, match=r"22 tokens, fewer than model\.num_queries = 50"):
        a_detector(num_queries=50).eval()(batch)


def test_no_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="num_classes is 0"):
        build_dino(small(), 0)


def test_targets_must_fit_their_counts() -> None:
    with pytest.raises(ValueError, match="announce 3 boxes"):
        Targets(torch.zeros(2, dtype=torch.long), torch.zeros(2, 4), (1, 2))


def test_targets_are_padded_per_image() -> None:
    flat = Targets(torch.tensor([7, 8, 9]), torch.rand(3, 4), (2, 0, 1))
    padded = flat.padded
    assert padded.labels.tolist() == [[7, 8], [0, 0], [9, 0]]
    assert padded.valid.tolist() == [[True, True], [False, False], [True, False]]
    assert padded.boxes[2, 0].equal(flat.boxes[2])
    assert padded.boxes[1].abs().max() == 0
