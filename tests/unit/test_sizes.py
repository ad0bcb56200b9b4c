"""Planned sizes: batches of like size, from sizes that are known before a picture is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dino_api.experiment import AugmentationConfig
from dino_trainer.data.loader import Batch, train_loader
from dino_trainer.data.plan import TrainPlan
from dino_trainer.data.random_streams import AUGMENT, Draws
from dino_trainer.data.sizes import by_size, padding, planned
from dino_trainer.data.transforms import draw_train
from tests.bench.padding import a_plan, both
from tests.unit.training_builders import a_dataset, a_spec, load_folder


def test_padding_on_a_coco_like_mix() -> None:
    ours, as_they_come = both(images=4096, batch=8)
    assert ours.share <= 0.07
    assert 0.38 < as_they_come.share < 0.50
    assert ours.shapes <= 300
    many, _ = both(images=4096, batch=8, world=6)
    assert many.share <= 0.07


def test_all_of_a_step_is_of_like_size() -> None:
    plan = a_plan(images=2048, batch=4, world=4)
    sizes, order = plan.sizes.of(0), np.array(plan.order(0))
    own, steps = padding(sizes[order], plan.batch_size), padding(sizes[order], plan.global_batch)
    assert own.share < 0.06
    assert own.share < steps.share < 0.12
    unplanned = np.array(replace(plan, sizes=None).order(0))
    assert padding(sizes[unplanned], plan.global_batch).share > 0.5


def test_steps_are_shuffled_and_differ_by_epoch() -> None:
    plan = replace(a_plan(images=512, batch=4), epochs=2)
    orders = [plan.order(epoch) for epoch in range(2)]
    assert orders[0] != orders[1]
    for epoch, order in enumerate(orders):
        pixels = plan.sizes.of(epoch)[order].prod(axis=1).reshape(-1, 4).mean(axis=1)
        assert abs(np.corrcoef(pixels[1:], pixels[:-1])[0, 1]) < 0.3


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 200), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_an_order_by_size_is_an_order(images: int, group: int, part: int, seed: int) -> None:
    sizes = np.random.default_rng(seed).integers(1, 1333, (images, 2))
    order = by_size(sizes, group * part, part)
    assert sorted(order.tolist()) == list(range(images))


def test_two_kinds_are_never_mixed_where_they_need_not_be() -> None:
    sizes = np.array([[800, 1066], [1066, 800]] * 16)
    groups = sizes[by_size(sizes, 8)].reshape(-1, 8, 2)
    assert (groups == groups[:, :1]).all()


PADDED = np.array([[64, 96], [32, 32], [33, 60], [31, 64], [500, 500]])


def test_padding_counts_full_batches() -> None:
    found = padding(PADDED, 2)
    assert found.share == pytest.approx(
        1 - (64 * 96 + 32 * 32 + 33 * 60 + 31 * 64) / (2 * (64 * 96 + 64 * 64))
    )
    assert found.shapes == 2


PLAIN = {
    "off": AugmentationConfig(),
    "one size": AugmentationConfig(planned_sizes=True, fixed_size=[64, 64]),
    "jitter": AugmentationConfig(planned_sizes=True, fixed_random_crop=64),
}


@pytest.mark.parametrize("config", PLAIN.values(), ids=PLAIN)
def test_nothing_is_planned_where_there_is_nothing_to_plan(config: AugmentationConfig) -> None:
    assert planned([], config, 0) is None


SMALL = (
    "dataset.augmentation.fixed_size=null",
    "dataset.augmentation.zoom_crop=null",
    "dataset.augmentation.scales=[64,80,96]",
    "dataset.augmentation.train_random_resize=[70,90]",
    "dataset.augmentation.train_random_crop_min=48",
    "dataset.augmentation.train_random_crop_max=80",
    "dataset.augmentation.random_resize_max_size=160",
)


def test_pictures_come_as_they_were_planned(tmp_path: Path) -> None:
    folder = a_dataset(tmp_path / "train")
    data = load_folder(folder)
    spec = a_spec(folder, folder, *SMALL, "dataset.augmentation.planned_sizes=true")
    config = spec.dataset.augmentation
    plan = TrainPlan(8, 2, 3, seed=4, sizes=planned(data.images, config, 4))
    seen = 0
    for step, (batch,) in enumerate(train_loader(data, spec.dataset, plan)):
        assert_as_planned(batch, plan, step // plan.steps_per_epoch)
        seen += 1
    assert seen == plan.steps


def assert_as_planned(batch: Batch, plan: TrainPlan, epoch: int) -> None:
    sizes = plan.sizes.of(epoch)[list(batch.indices)]
    assert batch.images.shape[2:] == tuple(-(-sizes.max(axis=0) // 32) * 32)
    shown = ~batch.mask if batch.mask is not None else np.ones((2, *batch.images.shape[2:]))
    for picture, (height, width) in zip(shown, sizes.tolist(), strict=True):
        assert int(picture.sum()) == height * width
        assert picture[:height, :width].all()


def test_a_picture_is_drawn_the_same_with_and_without_a_plan() -> None:
    plan = a_plan(images=64, batch=4)
    draws, config = Draws(), AugmentationConfig()
    for epoch in range(2):
        sizes = plan.sizes.of(epoch)
        for index, size in enumerate(plan.sizes.images):
            geometry = draw_train(config, size, draws.turn(AUGMENT, 0, epoch, index))
            assert geometry.size == tuple(sizes[index])
