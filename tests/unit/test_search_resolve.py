"""What a DinoAutoML searches: every refusal by name, the smoke profile, the default space."""

from __future__ import annotations

from typing import Any

import pytest

from dino_api.problem import render
from dino_api.resources.dinoautoml import DinoAutoMLSpec, SmokeProfile
from dino_api.rules.catalogue import catalogue
from dino_api.rules.search import SEARCH_RULES
from dino_api.search import InvalidSearch, default_space, resolve_search, searchable
from dino_api.search.checks.algorithm import grid_size
from dino_api.search.knobs import BY_PATH
from tests.unit.search_cases import BAD, DOUBTFUL, FINE, PROFILE, among, spec


@pytest.mark.parametrize(("rule", "part", "given"), BAD.values(), ids=BAD.keys())
def test_a_bad_search_is_refused_by_name(rule: str, part: str, given: DinoAutoMLSpec) -> None:
    with pytest.raises(InvalidSearch) as caught:
        resolve_search(given, PROFILE)
    found = [one for one in caught.value.problems if one.severity == "error"]
    assert {one.id for one in found} == {rule}
    assert part in render(found[0])
    assert found[0].remedy.endswith((".", "?"))


@pytest.mark.parametrize(("rule", "given"), DOUBTFUL.values(), ids=DOUBTFUL.keys())
def test_a_doubtful_search_runs_with_a_warning(rule: str, given: DinoAutoMLSpec) -> None:
    assert [one.id for one in resolve_search(given, PROFILE).warnings] == [rule]


@pytest.mark.parametrize("given", FINE.values(), ids=FINE.keys())
def test_a_good_search_has_no_problem(given: DinoAutoMLSpec) -> None:
    warned = {one.id for one in resolve_search(given, PROFILE).warnings}
    assert not warned - {"never-learns"}


def test_every_rule_of_a_search_has_a_case_and_an_entry() -> None:
    shown = {rule for rule, *_ in (*BAD.values(), *DOUBTFUL.values())} | {"profile-unset"}
    rules = {one.id for one in SEARCH_RULES}
    assert rules - {"template-value"} == shown & rules
    entries = {one.id for one in catalogue() if "search" in one.where}
    assert entries == rules


def test_all_problems_are_told_at_once() -> None:
    given = spec(
        [{"path": "train.optim.lr", "min": 1, "max": 0.5}, {"path": "model.nheads"}],
        maxTrials=2,
        parallelTrials=3,
    )
    with pytest.raises(InvalidSearch) as caught:
        resolve_search(given, PROFILE)
    ids = {one.id for one in caught.value.problems}
    assert {"range-order", "range-or-choices", "parallel-in-max"} <= ids
    assert "spec.search[0].min: min of train.optim.lr" in str(caught.value)


def test_what_is_wrong_fits_into_a_condition() -> None:
    """Errors alone, and a count of those that there is no room for."""
    bare = {"datasets": {"train": [{"uri": "s3://b/train"}]}}
    bad = [{"path": f"train.optim.no_such_key_{number}"} for number in range(32)]
    with pytest.raises(InvalidSearch) as caught:
        resolve_search(spec(bad, template=bare), PROFILE)
    text = str(caught.value)
    assert len(text) < 1000
    assert "warning" not in text
    assert text.endswith(" more.")
    told = text.count("there is no such key")
    assert told + int(text.split()[-2]) == len(bad)


def test_the_same_spec_is_resolved_once() -> None:
    assert resolve_search(spec(), PROFILE) is resolve_search(spec(), PROFILE)


def test_the_template_gets_the_objective_as_its_monitor() -> None:
    given = spec(template={"experiment": {"train": {"num_epochs": 3}}})
    found = resolve_search(given, PROFILE)
    assert found.template.experiment["train"]["checkpointer"] == {"monitor": "val_mAP50"}
    assert given.template.experiment["train"] == {"num_epochs": 3}
    assert (found.profile_applied, found.max_trials, found.parallel_trials) == (False, 20, 2)


@pytest.mark.parametrize("named", [{}, {"profile": "smoke"}], ids=["by itself", "named"])
def test_the_profile_is_used_as_a_whole(named: dict[str, str]) -> None:
    found = resolve_search(spec(template={"datasets": None}, **named), PROFILE)
    assert found.profile_applied
    data = found.template.datasets
    assert data is not None
    assert [one.uri for one in (*data.train, *data.validation)] == [
        "s3://smoke/train",
        "s3://smoke/val",
    ]
    train = found.template.experiment["train"]
    kept = ("num_epochs", "checkpoint_interval", "validation_interval")
    assert [train[key] for key in kept] == [10, 10, 1]
    assert (found.template.num_classes, found.template.resources.gpus) == (5, 1)
    assert (found.max_trials, found.parallel_trials) == (10, 2)


def test_the_profiles_own_values_may_be_given() -> None:
    given = spec(template={"datasets": None, "resources": {"gpus": 1}}, maxTrials=10)
    assert resolve_search(given, PROFILE).profile_applied


def test_a_profile_that_the_installation_lacks_is_named() -> None:
    with pytest.raises(InvalidSearch, match=r"automl\.profile\.validationUri"):
        resolve_search(spec(template={"datasets": None}), SmokeProfile(train_uri="s3://a/b"))


def test_few_trials_need_no_parallel_trials() -> None:
    assert resolve_search(spec(maxTrials=1), PROFILE).parallel_trials == 1


WEIGHTS = "model.pretrained_backbone_path"


@pytest.mark.parametrize(
    ("search", "path", "warned"),
    [
        (None, None, True),
        (None, "s3://b/r50.pth", False),
        ([among(WEIGHTS, "s3://b/a.pth", "s3://b/b.pth")], None, False),
    ],
    ids=["no weights", "weights", "weights that are searched"],
)
def test_trials_that_all_start_from_random_numbers_are_warned_of(
    search: list[Any] | None, path: str | None, warned: bool
) -> None:
    given = spec(search)
    given.template.experiment["model"] = {"pretrained_backbone_path": path} if path else {}
    told = [one for one in resolve_search(given, PROFILE).warnings if one.id == "backbone-random"]
    assert [one.path for one in told] == ([f"spec.template.experiment.{WEIGHTS}"] if warned else [])


def test_the_default_space_is_what_suits_dino() -> None:
    space = {one.path: one for one in default_space({})}
    assert list(space) == [
        "train.optim.lr",
        "train.optim.lr_backbone",
        "train.optim.weight_decay",
        "model.num_queries",
        "model.dropout_ratio",
    ]
    assert all(space[path].scale == "log" for path in list(space)[:3])
    assert set(space) <= set(searchable())


@pytest.mark.parametrize(
    ("experiment", "gone"),
    [
        ({"train": {"optim": {"lr": 1e-4}}}, {"train.optim.lr"}),
        ({"model": {"train_backbone": False}}, {"train.optim.lr_backbone"}),
        ({"model": {"backbone": "vit_large_dinov2"}}, {"train.optim.lr_backbone"}),
        ({"model": {"num_select": 1000}}, {"model.num_queries"}),
    ],
)
def test_the_default_space_leaves_out_what_the_template_decides(
    experiment: dict[str, dict[str, object]], gone: set[str]
) -> None:
    paths = {one.path for one in default_space(experiment)}
    assert {one.path for one in default_space({})} - paths == gone
    assert resolve_search(spec(template={"experiment": experiment, "numClasses": 4}), PROFILE).space


def test_queries_start_above_what_is_kept() -> None:
    lows = {
        classes: next(
            one.min
            for one in default_space({"model": {"num_select": 300}}, classes)
            if one.path == "model.num_queries"
        )
        for classes in (None, 2, 4)
    }
    assert lows == {None: 350, 2: 200, 4: 100}


@pytest.mark.parametrize(
    ("augmentation", "high"),
    [
        ({}, 900),
        ({"fixed_size": [256, 256]}, 900),
        ({"fixed_size": [160, 160]}, 500),
        ({"fixed_size": [64, 96]}, None),
        ({"fixed_random_crop": 96}, 150),
        ({"fixed_size": ["a"]}, 900),
    ],
)
def test_queries_end_where_images_have_no_more_tokens(
    augmentation: dict[str, object], high: int | None
) -> None:
    """Trials beyond it fail by their first batch, on a GPU."""
    found = default_space({"dataset": {"augmentation": augmentation}})
    highs = [one.max for one in found if one.path == "model.num_queries"]
    assert highs == ([] if high is None else [high])


def test_a_grid_counts_what_counts() -> None:
    """Momentum is no dimension where AdamW is drawn; the defaults are trial 0."""
    optimizer = {"path": "train.optim.optimizer", "choices": ["AdamW", "SGD"]}
    when = {"path": "train.optim.optimizer", "values": ["SGD"]}
    momentum = {"path": "train.optim.momentum", "choices": [0.8, 0.9], "when": when}
    assert grid_size(spec([optimizer, momentum]).search) == 2
    fine = {"path": "train.optim.lr", "min": 0.0, "max": 1.0, "step": 1e-9}
    assert grid_size(spec([optimizer, fine]).search) >= 2 * 10**9


def test_knobs_are_keys_that_can_be_searched() -> None:
    assert set(BY_PATH) <= set(searchable())
