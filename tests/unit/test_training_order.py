"""Order and batches: functions of the seed, whoever loads them."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from training_builders import a_dataset, a_spec, load_folder

from dino_api.experiment import AugmentationConfig
from dino_trainer.data.loader import Collate, Sample, collate_for, normalise, train_loader
from dino_trainer.data.sampler import SampleKey, TrainPlan, seed_of


def test_every_image_comes_once_an_epoch() -> None:
    plan = TrainPlan(images=12, batch_size=4, epochs=3, seed=5)
    batches = list(plan.batches())
    assert plan.steps == len(batches) == 9
    for epoch in range(3):
        keys = [key for batch in batches[epoch * 3 : epoch * 3 + 3] for key in batch]
        assert {key.epoch for key in keys} == {epoch}
        assert sorted(key.index for key in keys) == list(range(12))
    assert plan.order(0) != plan.order(1)
    assert plan.order(0) != TrainPlan(12, 4, 3, seed=6).order(0)


def test_an_incomplete_batch_is_left_out() -> None:
    plan = TrainPlan(images=11, batch_size=4, epochs=1, seed=0)
    assert [len(batch) for batch in plan.batches()] == [4, 4]


@pytest.mark.parametrize("first", [0, 1, 3, 4, 8, 9])
def test_a_plan_continues_where_it_was_left(first: int) -> None:
    plan = TrainPlan(images=12, batch_size=4, epochs=3, seed=5)
    assert list(plan.batches(first)) == list(plan.batches())[first:]


def test_too_few_images_are_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match=r"3 image\(s\), fewer than one batch of 4"):
        TrainPlan(images=3, batch_size=4, epochs=1, seed=0)


def test_seeds_of_close_keys_differ() -> None:
    seeds = {seed_of(purpose, 1, n) for purpose in range(3) for n in range(1000)}
    assert len(seeds) == 3000
    assert seed_of(1, 23) != seed_of(12, 3)
    assert seed_of(2, 1234, 0) == 5428528528654435671  # stored runs depend on it


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_a_batch(tmp_path: Path, workers: int) -> None:
    folder = a_dataset(tmp_path / "train")
    data = load_folder(folder)
    plan = TrainPlan(len(data.images), 2, 2, seed=3)
    alone = a_spec(folder, folder).dataset
    many = a_spec(folder, folder, f"dataset.workers={workers}").dataset
    pairs = zip(
        train_loader(data, alone, plan, 1, pin=False),
        islice(train_loader(data, many, plan, 0, pin=False), 1, None),
        strict=True,
    )
    count = 0
    for here, there in pairs:
        assert here.indices == there.indices
        assert torch.equal(here.images, there.images)
        assert torch.equal(here.targets.boxes, there.targets.boxes)
        assert here.targets.counts == there.targets.counts
        count += 1
    assert count == plan.steps - 1


def a_sample(index: int, height: int, width: int) -> Sample:
    image = torch.full((3, height, width), 10 + index, dtype=torch.uint8)
    return Sample(index, image, torch.rand(index, 4), torch.ones(index, dtype=torch.int64))


def test_smaller_pictures_are_padded_right_and_below() -> None:
    batch = Collate()([a_sample(0, 20, 30), a_sample(2, 25, 10)])
    assert tuple(batch.images.shape) == (2, 3, 25, 30)
    assert batch.mask.sum(dim=(1, 2)).tolist() == [25 * 30 - 20 * 30, 25 * 30 - 25 * 10]
    assert not batch.mask[0, :20, :30].any()
    assert batch.targets.counts == (0, 2)
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
    pixels = normalise(batch.images, batch.mask, mean, std)
    assert pixels[1, :, :, 10:].eq(0).all()
    want = (10 / 255 - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(pixels[0, :, 0, 0], want, rtol=1e-5)


def test_pictures_of_one_size_need_no_mask() -> None:
    assert Collate()([a_sample(0, 20, 30), a_sample(1, 20, 30)]).mask is None


def test_fixed_padding_follows_the_orientation() -> None:
    config = AugmentationConfig(
        scales=[32, 48], test_random_resize=40, random_resize_max_size=80, fixed_padding=True
    )
    collate = collate_for(config)
    assert collate == Collate((48, 80))
    assert tuple(collate([a_sample(0, 32, 40)]).images.shape) == (1, 3, 48, 80)
    assert tuple(collate([a_sample(0, 40, 32)]).images.shape) == (1, 3, 80, 48)
    both = collate([a_sample(0, 40, 32), a_sample(1, 32, 40)])
    assert tuple(both.images.shape) == (2, 3, 80, 80)


def test_a_fixed_size_needs_no_padding() -> None:
    assert collate_for(AugmentationConfig(fixed_size=[64, 64])) == Collate()
    assert collate_for(AugmentationConfig(fixed_padding=False)) == Collate()


def test_crowd_boxes_are_not_trained_on(tmp_path: Path) -> None:
    folder = a_dataset(tmp_path / "train", images=4)
    document = json.loads((folder / "annotations.json").read_text())
    for annotation in document["annotations"]:
        annotation["iscrowd"] = int(annotation["image_id"] == 2)
    (folder / "annotations.json").write_text(json.dumps(document))
    data = load_folder(folder)
    plan = TrainPlan(4, 4, 1, seed=0)
    batch = next(iter(train_loader(data, a_spec(folder, folder).dataset, plan, 0, pin=False)))
    counts = dict(zip(batch.indices, batch.targets.counts, strict=True))
    assert counts[1] == 0
    assert all(counts[index] for index in (0, 2, 3))


def test_keys_are_values() -> None:
    assert SampleKey(1, 2) == SampleKey(1, 2)
