"""Order and batches: functions of the seed, whoever loads them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dino_api.experiment import AugmentationConfig
from dino_trainer.data.loader import (
    Collate,
    Sample,
    eval_collate,
    normalise,
    train_collate,
    train_loader,
)
from dino_trainer.data.plan import Position, SampleKey, TrainPlan
from dino_trainer.data.random_streams import Draws
from dino_trainer.data.sampler import ORDER, generator_for, seed_of
from tests.unit.training_builders import a_dataset, a_spec, load_folder


def indices(steps: Iterable[list[list[SampleKey]]]) -> list[int]:
    return [key.index for step in steps for batch in step for key in batch]


def test_every_image_comes_once_an_epoch() -> None:
    plan = TrainPlan(images=12, batch_size=4, epochs=3, seed=5)
    steps = list(plan.batches())
    assert plan.steps == len(steps) == 9
    for epoch in range(3):
        own = steps[epoch * 3 : epoch * 3 + 3]
        assert {key.epoch for step in own for batch in step for key in batch} == {epoch}
        assert sorted(indices(own)) == list(range(12))
    assert plan.order(0) != plan.order(1)
    assert plan.order(0) != TrainPlan(12, 4, 3, seed=6).order(0)


def test_the_order_is_that_of_stored_runs() -> None:
    plan = TrainPlan(images=11, batch_size=4, epochs=2, seed=3)
    for epoch in range(2):
        generator = generator_for(ORDER, 3, epoch)
        assert plan.order(epoch) == torch.randperm(11, generator=generator).tolist()
        steps = list(plan.batches())[2 * epoch : 2 * epoch + 2]
        assert [len(step) for step in steps] == [1, 1]
        assert indices(steps) == plan.order(epoch)[:8]
    assert plan.order(0) == [3, 7, 4, 0, 9, 6, 8, 1, 5, 2, 10]


def test_draws_are_those_of_torch() -> None:
    draws = Draws()
    for key in range(100):
        generator, same = generator_for(2, 77, key), draws.turn(2, 77, key)
        for high in (0, 1, 10, 1332):
            assert same.uniform() == torch.rand((), generator=generator).item()
            assert same.integer(0, high) == torch.randint(high + 1, (), generator=generator).item()
    copied = pickle.loads(pickle.dumps(draws))
    assert copied.turn(1, 2).uniform() == draws.turn(1, 2).uniform()


def test_an_incomplete_step_is_left_out() -> None:
    plan = TrainPlan(images=11, batch_size=4, epochs=1, seed=0)
    assert [[len(batch) for batch in step] for step in plan.batches()] == [[4], [4]]


@pytest.mark.parametrize("first", [0, 1, 3, 4, 8, 9])
def test_a_plan_continues_where_it_was_left(first: int) -> None:
    plan = TrainPlan(images=12, batch_size=4, epochs=3, seed=5)
    whole = list(plan.batches())
    assert list(plan.batches(first_step=first)) == whole[first:]
    later = plan.resumed(Position.read(plan.position(first).plain()))
    assert later.first_step == first
    assert list(later.batches()) == whole[first:]


FEW = {
    "one process": ((3, 4), r"3 image\(s\), fewer than one batch of 4: lower dataset.batch_size"),
    "accumulating": (
        (7, 4, 1, 0, 2),
        r"7 image\(s\), fewer than the 8 of one step \(4 a batch, 2 batches a step\)",
    ),
    "many": ((7, 4, 1, 0, 1, 2), r"fewer than the 8 of one step \(4 a batch, 2 processes\)"),
}


@pytest.mark.parametrize("given, message", FEW.values(), ids=FEW)
def test_too_few_images_are_refused_with_the_numbers(given, message: str) -> None:
    images, batch_size, *rest = given
    with pytest.raises(ValueError, match=message):
        TrainPlan(images, batch_size, *(rest or (1, 0)))


class RandomSizes:
    """Sizes without a data set behind them."""

    def __init__(self, images: int) -> None:
        self.images = images

    def of(self, epoch: int) -> np.ndarray:
        return np.random.default_rng(epoch).integers(32, 1333, (self.images, 2))


@st.composite
def plans(draw: st.DrawFn) -> TrainPlan:
    batch_size, accumulate = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    world = draw(st.integers(1, 4))
    images = draw(st.integers(batch_size * accumulate * world, 150))
    sizes = RandomSizes(images) if draw(st.booleans()) else None
    seed, micro = draw(st.integers(0, 99)), draw(st.none() | st.integers(1, 6))
    start = Position()
    return TrainPlan(images, batch_size, 2, seed, accumulate, world, start, sizes, micro)


def together(plan: TrainPlan) -> list[list[int]]:
    """The images of each step, of all processes."""
    ranks = [list(plan.batches(rank)) for rank in range(plan.world)]
    return [indices(step) for step in zip(*ranks, strict=True)]


@settings(max_examples=60, deadline=None)
@given(plans())
def test_processes_share_every_step(plan: TrainPlan) -> None:
    alone = replace(plan, batch_size=plan.global_batch, accumulate=1, world=1, micro_batch=None)
    steps = together(plan)
    other = together(alone)
    assert [sorted(step) for step in steps] == [sorted(step) for step in other]
    assert plan.sizes is not None or steps == other
    assert len(steps) == plan.steps
    for epoch in range(2):
        own = steps[epoch * plan.steps_per_epoch : (epoch + 1) * plan.steps_per_epoch]
        seen = [index for step in own for index in step]
        assert len(set(seen)) == len(seen) == plan.steps_per_epoch * plan.global_batch
        assert set(seen) <= set(range(plan.images))


@settings(max_examples=60, deadline=None)
@given(plans())
def test_micro_batches_cut_a_share(plan: TrainPlan) -> None:
    for step in plan.batches(plan.world - 1):
        assert len(step) == plan.passes
        assert sum(map(len, step)) == plan.share
        assert max(map(len, step)) == plan.forward_batch <= plan.batch_size
        assert 0 < len(step[-1]) <= plan.forward_batch


@settings(max_examples=100, deadline=None)
@given(plans(), st.lists(st.tuples(st.integers(1, 4), st.integers(0, 9)), max_size=4))
def test_no_image_is_repeated_or_skipped_when_processes_come_and_go(
    plan: TrainPlan, stays: list[tuple[int, int]]
) -> None:
    """Each stay: so many processes for so many steps, within the first epoch."""
    seen: list[int] = []
    for world, steps in stays:
        if plan.images < plan.share * world:
            continue
        plan = replace(plan, world=world)
        assert plan.position(plan.first_step) in (plan.start, Position(1))
        steps = min(steps, plan.steps_per_epoch - plan.first_step - 1)
        if steps <= 0:
            continue
        taken = together(plan)[:steps]
        seen += [index for step in taken for index in step]
        position = plan.position(plan.first_step + steps)
        assert position.seen == len(seen)
        assert plan.progress(position) <= 0.5
        plan = plan.resumed(Position.read(json.loads(json.dumps(position.plain()))))
    own = together(plan)[: plan.steps_per_epoch - plan.first_step]
    seen += [index for step in own for index in step]
    assert len(set(seen)) == len(seen)
    assert plan.images - len(seen) < plan.global_batch


@settings(max_examples=40, deadline=None)
@given(plans(), st.data())
def test_a_resumed_plan_is_the_plan(plan: TrainPlan, data: st.DataObject) -> None:
    whole = list(plan.batches(plan.world - 1))
    assert whole == list(plan.batches(plan.world - 1))
    first, second = sorted(data.draw(st.tuples(*[st.integers(0, plan.steps)] * 2)))
    once = plan.resumed(plan.position(first))
    twice = once.resumed(once.position(second))
    assert twice.first_step == second
    assert list(twice.batches(plan.world - 1)) == whole[second:]
    assert plan.progress(plan.position(second)) == pytest.approx(second / plan.steps)


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
        train_loader(data, alone, plan.resumed(plan.position(1))),
        islice(train_loader(data, many, plan), 1, None),
        strict=True,
    )
    count = 0
    for (here,), (there,) in pairs:
        assert here.indices == there.indices
        assert torch.equal(here.images, there.images)
        assert torch.equal(here.targets.boxes, there.targets.boxes)
        assert here.targets.counts == there.targets.counts
        assert there.images.is_contiguous(memory_format=torch.channels_last)
        assert there.images.is_shared()  # made where it is read: nothing copies it
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
    moved = batch.to(torch.device("cpu"))
    assert torch.equal(moved.mask, batch.mask)
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
    collate = eval_collate(config)
    assert collate == Collate((48, 80))
    assert tuple(collate([a_sample(0, 32, 40)]).images.shape) == (1, 3, 48, 80)
    assert tuple(collate([a_sample(0, 40, 32)]).images.shape) == (1, 3, 80, 48)
    both = collate([a_sample(0, 40, 32), a_sample(1, 32, 40)])
    assert tuple(both.images.shape) == (2, 3, 80, 80)


TAO_PADDING = Collate((800, 1333))
HOW_PADDED = {  # configuration: in training, in validation
    "as TAO does": ({}, TAO_PADDING, TAO_PADDING),
    "to the largest of a batch": ({"fixed_padding": False}, Collate(), Collate()),
    "one size": ({"fixed_size": [64, 64], "planned_sizes": True}, Collate(), Collate()),
    "planned": ({"planned_sizes": True}, Collate(multiple=32), TAO_PADDING),
    "jitter": ({"fixed_random_crop": 512}, Collate((512, 512)), TAO_PADDING),
}


@pytest.mark.parametrize("keys, training, validation", HOW_PADDED.values(), ids=HOW_PADDED)
def test_how_batches_are_padded(keys, training: Collate, validation: Collate) -> None:
    config = AugmentationConfig(**keys)
    assert train_collate(config) == training
    assert eval_collate(config) == validation


def test_sides_are_padded_to_multiples() -> None:
    batch = Collate(multiple=32)([a_sample(0, 20, 33), a_sample(1, 64, 10)])
    assert tuple(batch.images.shape) == (2, 3, 64, 64)
    assert batch.mask.sum(dim=(1, 2)).tolist() == [64 * 64 - 20 * 33, 64 * 64 - 640]


def test_crowd_boxes_are_not_trained_on(tmp_path: Path) -> None:
    folder = a_dataset(tmp_path / "train", images=4)
    document = json.loads((folder / "annotations.json").read_text())
    for annotation in document["annotations"]:
        annotation["iscrowd"] = int(annotation["image_id"] == 2)
    (folder / "annotations.json").write_text(json.dumps(document))
    data = load_folder(folder)
    plan = TrainPlan(4, 4, 1, seed=0)
    (batch,) = next(iter(train_loader(data, a_spec(folder, folder).dataset, plan)))
    counts = dict(zip(batch.indices, batch.targets.counts, strict=True))
    assert counts[1] == 0
    assert all(counts[index] for index in (0, 2, 3))


def test_keys_are_values() -> None:
    assert SampleKey(1, 2) == SampleKey(1, 2)
