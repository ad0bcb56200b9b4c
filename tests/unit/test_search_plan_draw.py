"""The next trial is a pure function of seed, number and finished trials, and worth training."""

from __future__ import annotations

import math
import random
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dino_api.resources.dinoautoml import Algorithm, KnownTrial
from dino_operator.plan.search.samplers import grid, tpe
from dino_operator.plan.search.samplers.draw import draw
from dino_operator.plan.search.samplers.observations import Space, defaults, observations_of
from dino_operator.plan.search.samplers.prior import FAVOUR, Dimension, choice_at
from dino_operator.plan.search.trials.trial import Trial
from tests.unit.search_builders import (
    DROPOUT,
    LR,
    MOMENTUM,
    OPTIMIZER,
    QUERIES,
    a_space,
    a_trial,
)

SPACE = a_space(LR, DROPOUT, QUERIES)
TREE = a_space(MOMENTUM, OPTIMIZER, LR)
"""The conditional one stands before the one that decides."""
NAMES = ["tpe", "random", "cmaes"]


def value(drawn: dict) -> float:
    """A training that likes twice the default rate and some dropout."""
    away = math.log(drawn.get("train.optim.lr", 2e-4) / 4e-4)
    return 0.7 * math.exp(-(away**2) - (drawn.get("model.dropout_ratio", 0) - 0.05) ** 2)


def ran(space: Space, algorithm: Algorithm, count: int) -> list[Trial]:
    """Trials one after the other."""
    found: list[Trial] = []
    for number in range(count):
        drawn = draw(space, algorithm, number, found)
        assert drawn is not None
        found.append(a_trial(number, value(drawn), parameters=drawn))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_draw_depends_on_seed_number_and_finished_trials_alone(name: str) -> None:
    algorithm = Algorithm(name=name, seed=3, startup_trials=4)
    history = ran(SPACE, algorithm, 9)
    again = random.Random(0).sample(history, len(history))
    assert draw(SPACE, algorithm, 9, again) == draw(SPACE, algorithm, 9, history)
    assert draw(SPACE, algorithm, 9, history) != draw(SPACE, algorithm, 10, history)
    other = algorithm.model_copy(update={"seed": 4})
    assert draw(SPACE, other, 9, history) != draw(SPACE, algorithm, 9, history)


@pytest.mark.parametrize("name", [*NAMES, "grid"])
def test_trial_0_has_the_defaults(name: str) -> None:
    assert draw(SPACE, Algorithm(name=name), 0, [a_trial(5, 0.3)]) == {}


def test_startup_looks_at_nothing_that_happened() -> None:
    algorithm = Algorithm(startup_trials=3)
    drawn = draw(SPACE, algorithm, 7, [])
    few = [a_trial(0, 0.5), a_trial(1, 0.9, parameters=draw(SPACE, algorithm, 1, []))]
    assert draw(SPACE, algorithm, 7, few) == drawn
    enough = [*few, a_trial(2, 0.1, parameters=draw(SPACE, algorithm, 2, []))]
    assert draw(SPACE, algorithm, 7, enough) != drawn


def test_startup_spreads_over_every_parameter() -> None:
    """A Latin hypercube: each eighth of the prior once in eight trials."""
    algorithm = Algorithm(startup_trials=8, seed=11)
    for first in (1, 9):
        drawn = [draw(SPACE, algorithm, number, []) for number in range(first, first + 8)]
        for one in SPACE[:2]:
            shares = sorted(Dimension(one).share(each[one.path]) for each in drawn)
            assert [int(share * 8 - 1e-3) for share in shares] == list(range(8))


def test_most_startup_trials_stay_near_the_defaults() -> None:
    """A rate within a factor of three of the default, as training takes it."""
    algorithm = Algorithm(startup_trials=8)
    rates = [draw(SPACE, algorithm, number, [])["train.optim.lr"] for number in range(1, 41)]
    assert sum(2e-4 / 3 <= rate <= 2e-4 * 3 for rate in rates) >= 36


def test_tpe_learns() -> None:
    found = ran(a_space(LR, DROPOUT), Algorithm(startup_trials=8, seed=1), 24)
    assert mean(each.mAP50 for each in found[16:]) > mean(each.mAP50 for each in found[1:9])


def test_cmaes_learns_generation_by_generation() -> None:
    found = ran(a_space(LR, DROPOUT), Algorithm(name="cmaes", seed=1), 25)
    assert mean(each.mAP50 for each in found[19:]) > mean(each.mAP50 for each in found[1:7])


def test_cmaes_waits_for_a_whole_generation() -> None:
    algorithm = Algorithm(name="cmaes")
    space = a_space(LR, DROPOUT)
    found = ran(space, algorithm, 7)  # the baseline and six, a generation in two dimensions
    assert draw(space, algorithm, 6, found[:2]) is not None
    assert draw(space, algorithm, 7, found[:6]) is None
    assert draw(space, algorithm, 7, found) is not None
    best = max(found[1:], key=lambda each: each.mAP50)
    failed = a_trial(best.number, state="Failed", reason="Crashed")
    lost = [failed if each is best else each for each in found]
    assert draw(space, algorithm, 7, lost) != draw(space, algorithm, 7, found)


def test_cmaes_starts_from_the_best_known_trial() -> None:
    space = a_space(LR, DROPOUT)
    far = KnownTrial(parameters={"train.optim.lr": 1.5e-5, "model.dropout_ratio": 0.2}, mAP50=0.9)
    near = KnownTrial(parameters={"train.optim.lr": 4e-4}, mAP50=0.1)
    drawn = [draw(space, Algorithm(name="cmaes"), n, [], [near, far]) for n in range(1, 7)]
    assert mean(each["model.dropout_ratio"] for each in drawn) > 0.05
    assert all(each["train.optim.lr"] < 2e-4 for each in drawn)


def test_known_trials_end_the_startup() -> None:
    known = [
        KnownTrial(parameters={"train.optim.lr": 1e-5 * n, "foreign.key": 1}, mAP50=0.1 * n)
        for n in range(1, 9)
    ]
    algorithm = Algorithm(startup_trials=8)
    assert draw(SPACE, algorithm, 1, [], known) != draw(SPACE, algorithm, 1, [])
    assert draw(SPACE, algorithm, 1, [], known[:7]) == draw(SPACE, algorithm, 1, [])


def test_grid_tries_each_combination_once_beside_the_defaults() -> None:
    space = a_space(OPTIMIZER, {**DROPOUT, "step": 0.1}, {**MOMENTUM, "step": 0.19})
    drawn = [draw(space, Algorithm(name="grid", seed=5), number, []) for number in range(1, 12)]
    found = [tuple(sorted(each.items())) for each in drawn]
    assert len(set(found)) == 11  # 4 with AdamW, 4 x 2 with SGD, without the default one
    assert defaults(space) not in drawn
    assert sorted(each["model.dropout_ratio"] for each in drawn)[-1] == 0.3
    with pytest.raises(IndexError):
        draw(space, Algorithm(name="grid"), 12, [])
    assert grid.cells(space) != drawn, "in an order of its own"


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_conditional_parameters_are_drawn_with_what_makes_them_count(name: str) -> None:
    found = ran(TREE, Algorithm(name=name, startup_trials=5, seed=2), 20)
    for each in found[1:]:
        wanted = each.parameters["train.optim.optimizer"] == "SGD"
        assert ("train.optim.momentum" in each.parameters) == wanted
    assert {each.parameters["train.optim.optimizer"] for each in found[1:]} == {"AdamW", "SGD"}


def test_what_a_sampler_is_told() -> None:
    drawn = {"train.optim.lr": 1e-4}
    trials = [
        a_trial(4, 0.3, "Pruned", epoch=2, parameters=drawn),
        a_trial(3, state="Failed", reason="Crashed", parameters=drawn),
        a_trial(2, 0.4, state="Failed", reason="Diverged", parameters=drawn),
        a_trial(1, 0.6, parameters=drawn),
        a_trial(0, 0.5),
    ]
    told = observations_of(
        SPACE, trials, [KnownTrial(parameters={"train.optim.lr": 1.0}, mAP50=0.9)]
    )
    assert [(each.number, each.mAP50, each.epoch) for each in told] == [
        (0, 0.5, None),
        (1, 0.6, None),
        (2, 0.0, None),
        (4, 0.3, 2),
    ]
    baseline = {"train.optim.lr": 2e-4, "model.dropout_ratio": 0.0, "model.num_queries": 300}
    assert told[0].parameters == baseline


def test_a_combination_that_was_tried_is_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same training again would teach nothing."""
    tried, other = {"model.dropout_ratio": 0.1}, {"model.dropout_ratio": 0.2}
    suggested = iter([tried, tried, other])
    seeds = []

    def suggest(_space: Space, _told: object, seed: int) -> dict:
        seeds.append(seed)
        return next(suggested)

    monkeypatch.setattr(tpe, "draw", suggest)
    history = [a_trial(1, 0.9, parameters=tried)]
    assert draw(a_space(DROPOUT), Algorithm(startup_trials=1), 2, history) == other
    assert len(set(seeds)) == 3


def test_random_looks_at_nothing_that_happened() -> None:
    algorithm = Algorithm(name="random")
    drawn = draw(SPACE, algorithm, 3, [])
    assert draw(SPACE, algorithm, 3, [a_trial(1, 0.9, parameters=drawn)]) == drawn


RANGES = st.sampled_from(
    [
        LR,
        DROPOUT,
        QUERIES,
        {"path": "train.optim.lr", "min": 1e-3, "max": 1e-2, "scale": "log"},
        {"path": "model.num_queries", "min": 1, "max": 1000, "scale": "log"},
        {"path": "model.enc_layers", "min": 2, "max": 2},
        {"path": "dataset.augmentation.horizontal_flip_prob", "min": 0.0, "max": 1.0, "step": 0.3},
    ]
)


@settings(max_examples=150, deadline=None)
@given(RANGES, st.floats(0, 1), st.booleans())
def test_a_place_in_the_prior_is_a_value_of_the_range(one: dict, share: float, even: bool) -> None:
    axis = Dimension(*a_space(one), even)
    found = axis.value(share)
    assert axis.low <= found <= axis.high
    assert isinstance(found, int) == (one["path"] in ("model.num_queries", "model.enc_layers"))
    if "step" in one:
        assert found in axis.values
    assert axis.value(axis.share(found)) == pytest.approx(found, rel=1e-3)


def test_both_ends_of_a_range_can_be_drawn() -> None:
    for one in (LR, DROPOUT, QUERIES):
        axis = Dimension(*a_space(one))
        assert (axis.value(0), axis.value(1)) == pytest.approx((axis.low, axis.high), rel=1e-3)


def test_the_default_choice_is_favoured_and_no_other_is_left_out() -> None:
    backbones = ["resnet_34", "resnet_50", "swin_tiny_224_1k"]
    (one,) = a_space({"path": "model.backbone", "choices": backbones})
    drawn = [choice_at(one, (place + 0.5) / 100) for place in range(100)]
    assert drawn.count("resnet_50") == round(100 * FAVOUR)
    assert set(drawn) == set(backbones)
    assert {choice_at(one, place / 3, even=True) for place in range(3)} == set(backbones)
