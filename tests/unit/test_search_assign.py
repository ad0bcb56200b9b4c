"""From a draw to the experiment of a trial, for every path that can be searched."""

from __future__ import annotations

from typing import Any

import pytest

from dino_api.experiment.paths import is_set, value_at
from dino_api.loading import load
from dino_api.problem import SpecErrors
from dino_api.resources.dinoautoml import SearchParameter
from dino_api.rules.experiment import RULES
from dino_api.search import active, assign, default_space, in_lines, kind_of, searchable, typed
from dino_api.search.limits import refusal, schema_of

RULE_IDS = {rule.id for rule in RULES}


def parameter(path: str, *choices: Any, when: Any = None) -> SearchParameter:
    return SearchParameter.model_validate({"path": path, "choices": list(choices), "when": when})


SPACE = (
    parameter("model.num_queries", 100, 900),
    parameter("train.optim.optimizer", "AdamW", "SGD"),
    parameter(
        "train.optim.momentum", 0.8, when={"path": "train.optim.optimizer", "values": ["SGD"]}
    ),
    parameter("train.ema.enabled", True, when={"path": "train.optim.momentum", "values": [0.8]}),
)


def extremes(path: str) -> list[Any]:
    """Every value of an enum or a flag; else the ends of the key's range, or two names."""
    schema = schema_of(path)
    if "enum" in schema:
        return list(schema["enum"])
    if kind_of(path) == "flag":
        return [True, False]
    if kind_of(path) == "text":
        return ["resnet_18", "no such thing"] if path == "model.backbone" else ["", "s3://b/x.pth"]
    inside = 1e-6 if kind_of(path) == "float" else 1
    low = schema["minimum"] + inside * bool(schema.get("exclusiveMinimum"))
    return [low, schema["maximum"] - inside * bool(schema.get("exclusiveMaximum"))]


@pytest.mark.parametrize("path", searchable())
def test_both_ends_of_every_key_load_or_are_refused_by_a_rule(path: str) -> None:
    for value in extremes(path):
        assert refusal(path, value) == ""
        trial = assign([parameter(path, value)], {path: value}, {})
        try:
            spec, _ = load(trial)
        except SpecErrors as error:
            errors = [one for one in error.problems if one.severity == "error"]
            assert {one.id for one in errors} <= RULE_IDS
        else:
            assert value_at(spec.model_dump(), path) == value


@pytest.mark.parametrize("path", searchable())
def test_values_have_the_type_of_their_key_whatever_they_come_as(path: str) -> None:
    for value in extremes(path):
        told = typed(path, str(value))
        assert told == value
        assert (
            type(told)
            is {"flag": bool, "int": int, "float": float, "text": str}[kind_of(path) or ""]
        )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.num_queries", 300.5),
        ("model.num_queries", True),
        ("model.num_queries", "many"),
        ("model.num_queries", "inf"),
        ("train.optim.lr", "nan"),
        ("model.use_dn", 1),
        ("model.use_dn", "yes"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(path: str, value: Any) -> None:
    with pytest.raises(ValueError, match=path):
        typed(path, value)


def test_an_empty_draw_is_the_template() -> None:
    template = {"model": {"num_queries": 900}}
    trial = assign(SPACE, {}, template)
    assert trial == template
    trial["model"]["num_queries"] = 1
    assert template == {"model": {"num_queries": 900}}


def test_a_draw_is_set_beside_what_the_template_says() -> None:
    trial = assign(SPACE, {"model.num_queries": 900.0}, {"model": {"nheads": 4}, "train": None})
    assert trial["model"] == {"nheads": 4, "num_queries": 900, "num_select": 300}
    assert isinstance(trial["model"]["num_queries"], int)
    trial = assign(SPACE, {"train.optim.optimizer": "SGD"}, {"train": None})
    assert trial == {"train": {"optim": {"optimizer": "SGD"}}}


def test_what_does_not_count_is_left_out() -> None:
    drawn = {
        "train.optim.optimizer": "AdamW",
        "train.optim.momentum": 0.8,
        "train.ema.enabled": True,
    }
    assert active(SPACE, drawn) == {"train.optim.optimizer": "AdamW"}
    assert active(SPACE, drawn | {"train.optim.optimizer": "SGD"}) == drawn | {
        "train.optim.optimizer": "SGD"
    }
    assert active(SPACE, {"train.optim.momentum": 0.8}) == {}


def test_a_circle_of_whens_ends() -> None:
    circle = [
        parameter("model.use_dn", True, when={"path": "model.aux_loss", "values": [True]}),
        parameter("model.aux_loss", True, when={"path": "model.use_dn", "values": [True]}),
    ]
    assert active(circle, {"model.use_dn": True, "model.aux_loss": True}) == {}


@pytest.mark.parametrize(
    ("drawn", "experiment", "select"),
    [
        (100, {}, 100),
        (900, {}, 300),
        (100, {"num_select": 50}, 50),
        (900, {"num_select": 500}, 500),
    ],
)
def test_num_select_follows_num_queries_unless_it_is_set(
    drawn: int, experiment: dict[str, int], select: int
) -> None:
    trial = assign(SPACE, {"model.num_queries": drawn}, {"model": experiment})
    assert trial["model"]["num_select"] == select


def test_num_select_that_is_drawn_stays() -> None:
    space = (*SPACE, parameter("model.num_select", 70))
    trial = assign(space, {"model.num_queries": 100, "model.num_select": 70}, {})
    assert trial["model"] == {"num_queries": 100, "num_select": 70}


def test_num_select_stays_where_num_queries_is_not_drawn() -> None:
    assert not is_set(assign(SPACE, {"train.optim.optimizer": "SGD"}, {}), "model.num_select")


def test_a_path_outside_of_the_search_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"model\.nheads: not in the search space"):
        assign(SPACE, {"model.nheads": 4}, {})


def test_a_space_reads_as_lines() -> None:
    lines = in_lines(default_space({}))
    assert lines[0] == "train.optim.lr: 0.00001 to 0.0005, log"
    assert lines[3] == "model.num_queries: 100 to 900 in steps of 50"
    assert in_lines(SPACE)[2] == "train.optim.momentum: 0.8 (when train.optim.optimizer is SGD)"
