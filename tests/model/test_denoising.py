"""Contrastive denoising against a plain loop over boxes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dino_trainer.model.boxes import cxcywh_to_xyxy, inverse_sigmoid
from dino_trainer.model.denoising import allow_attention, count_groups, make_denoising
from tests.model.small import a_detector, images, small, targets

EMBED = nn.Embedding(6, 8)
COUNTS = {"mixed": (3, 1), "even": (7, 7), "one empty": (1, 0), "many": (12, 5, 0, 3)}


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS.keys())
def test_without_noise_every_slot_is_its_box(counts: tuple[int, ...]) -> None:
    batch = targets(*counts)
    cfg = small(dn_number=60, dn_box_noise_scale=0.0, dn_label_noise_ratio=0.0)
    made = make_denoising(batch, EMBED, 5, cfg, None)
    content, boxes = _by_loop(batch.labels, batch.boxes, counts, made.groups)
    assert made.content.equal(content)
    assert made.boxes.equal(boxes)


def _by_loop(
    labels: Tensor, boxes: Tensor, counts: tuple[int, ...], groups: int
) -> tuple[Tensor, Tensor]:
    """Place box after box: group, then positive and negative half, then the image's boxes."""
    most = max(counts)
    content = torch.zeros(len(counts), groups * 2 * most, 8)
    logits = torch.zeros(len(counts), groups * 2 * most, 4)
    for half in range(groups * 2):
        flat = 0
        for image, count in enumerate(counts):
            for slot in range(count):
                place = half * most + slot
                content[image, place] = EMBED.weight[labels[flat]]
                logits[image, place] = inverse_sigmoid(boxes[flat])
                flat += 1
    return content.detach(), logits


def test_noise_stays_in_its_band() -> None:
    """Corners of positives move by less than half a side, those of negatives by up to one."""
    torch.manual_seed(0)
    batch = targets(4, 2)
    made = make_denoising(batch, EMBED, 5, small(dn_number=400, dn_box_noise_scale=1.0), None)
    corners = cxcywh_to_xyxy(made.boxes.sigmoid()).unflatten(1, (made.groups, 2, 4))
    true = batch.padded.boxes
    moved = (corners - cxcywh_to_xyxy(true)[:, None, None]).abs()
    part = moved / (true[..., 2:].repeat(1, 1, 2)[:, None, None] / 2).clamp(min=1e-6)
    inside = (corners > 0.01) & (corners < 0.99) & batch.padded.valid[:, None, None, :, None]
    sizes = corners[..., 2:] - corners[..., :2]
    inside &= (sizes > 0.01).all(-1, keepdim=True)  # corners that crossed say nothing
    positive, negative = (part[:, :, half][inside[:, :, half]] for half in (0, 1))
    assert positive.max() <= 1.001
    assert positive.max() > 0.9
    assert negative.min() >= 0.999
    assert negative.max() <= 2.001
    assert negative.max() > 1.9


def test_label_noise_replaces_half_of_the_ratio() -> None:
    torch.manual_seed(0)
    batch = targets(20, 20)
    embed = nn.Embedding(6, 1)
    with torch.no_grad():
        embed.weight.copy_(torch.arange(6.0)[:, None])
    made = make_denoising(batch, embed, 5, small(dn_number=2000, dn_label_noise_ratio=0.5), None)
    shown = made.content.unflatten(1, (-1, 20)).squeeze(-1)
    changed = (shown != batch.padded.labels[:, None]).float().mean()
    assert abs(float(changed) - 0.25 * 4 / 5) < 0.02  # a fifth of the draws is the old class
    assert shown.max() <= 4


def test_noise_follows_its_generator() -> None:
    batch, cfg = targets(3, 2), small()
    made = [
        make_denoising(batch, EMBED, 5, cfg, torch.Generator().manual_seed(seed)).boxes
        for seed in (1, 1, 2)
    ]
    assert made[0].equal(made[1])
    assert not made[0].equal(made[2])


def test_no_boxes_no_denoising() -> None:
    assert make_denoising(targets(0, 0), EMBED, 5, small(), None) is None


@pytest.mark.parametrize(
    "dn_number, most, limit, groups",
    [
        (100, 1, None, 100),
        (100, 7, None, 14),
        (100, 150, None, 1),  # never none
        (50, 3, None, 16),  # 100 // 6
        (49, 3, None, 98),  # below 50, published code counts groups
        (6, 45, 1000, 11),  # 12 groups would be 1080 queries
        (6, 600, 1000, 1),
    ],
)
def test_number_of_groups(dn_number: int, most: int, limit: int | None, groups: int) -> None:
    assert count_groups(dn_number, most, limit) == groups


def test_crowded_images_show_a_part_of_their_boxes() -> None:
    torch.manual_seed(0)
    batch = targets(30, 3)
    made = make_denoising(batch, EMBED, 5, small(dn_query_limit=20, dn_box_noise_scale=0.0), None)
    assert (made.groups, made.queries) == (1, 20)
    assert made.targets.valid.sum(1).tolist() == [10, 3]
    shown = made.targets.boxes[0]
    distances = (shown[:, None] - batch.boxes[None, :30]).abs().amax(-1)
    assert distances.amin(1).max() == 0
    assert len(set(distances.argmin(1).tolist())) == 10
    assert made.targets.boxes[1, :3].equal(batch.boxes[30:])


def test_who_sees_whom() -> None:
    """Two groups of two, then three matching queries."""
    rows = ["1100111", "1100111", "0011111", "0011111", "0000111", "0000111", "0000111"]
    sight = allow_attention(2, 4, 3, torch.device("cpu"))
    assert sight.rows == 4
    assert [["01"[int(x)] for x in row] for row in sight.allowed] == [list(row) for row in rows]


def test_matching_predictions_do_not_depend_on_denoising() -> None:
    torch.manual_seed(0)
    model = a_detector().train()
    batch, mask = images((96, 128), (64, 100))
    with_boxes, without = (model(batch, mask, t) for t in (targets(3, 2), None))
    assert with_boxes.denoising is not None
    assert without.denoising is None
    assert with_boxes.boxes.allclose(without.boxes, atol=1e-5)
