"""The search space in Katib's words, and what Katib cannot do."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from dino_operator.plan.search.engines.katib import space
from tests.unit.katib_cases import LR, QUERIES, a_search, a_view

Object = dict[str, Any]
FEW = {"path": "model.num_queries", "choices": [100, 300, 500, 900]}


@pytest.mark.parametrize(
    "one, kind, feasible",
    [
        # Katib rounds to multiples of step: from 10 in steps of 7 it would draw 7, 14, 21.
        (
            {"path": "model.num_queries", "min": 10, "max": 32, "step": 7},
            "categorical",
            {"list": ["10", "17", "24", "31"]},
        ),
        # The nearest multiple to 0.5 is 0.6.
        (
            {"path": "model.dropout_ratio", "min": 0, "max": 0.5, "step": 0.2},
            "double",
            {"min": "0.0", "max": "0.4", "step": "0.2", "distribution": "uniform"},
        ),
        (
            {"path": "model.dropout_ratio", "min": 0.05, "max": 0.35, "step": 0.1},
            "categorical",
            {"list": ["0.05", "0.15", "0.25", "0.35"]},
        ),
        ({"path": "train.precision", "choices": ["fp32"]}, "categorical", {"list": ["fp32"]}),
        (
            {"path": "train.ema.enabled", "choices": [True, False]},
            "categorical",
            {"list": ["true", "false"]},
        ),
        (
            {"path": "train.optim.lr", "choices": [1e-05, 0.0002]},
            "categorical",
            {"list": ["0.00001", "0.0002"]},
        ),
    ],
)
def test_what_katib_would_draw_is_what_is_searched(
    one: Object, kind: str, feasible: Object
) -> None:
    view = a_view(a_search(search=[one]))
    assert space.feasible(view.search.space[0]) == (kind, feasible)


def test_the_values_of_a_fine_step_are_not_made() -> None:
    """Of 300,001 values: the plan runs in the process that all searches share."""
    one = {"path": "model.dropout_ratio", "min": 0, "max": 0.3, "step": 1e-6}
    view = a_view(a_search(search=[one]))
    tracemalloc.start()
    try:
        refused, made = space.refusal(view), space.feasible(view.search.space[0])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    fine = {"min": "0.0", "max": "0.3", "step": "0.000001", "distribution": "uniform"}
    assert (refused, made) == ("", ("double", fine))
    assert most < 100_000, "bytes; the values alone have 10,000,000"


@pytest.mark.parametrize(
    "spec, said",
    [
        ({"algorithm": {"name": "grid"}, "search": [FEW]}, "grid knows no log scale"),
        ({"algorithm": {"name": "cmaes"}, "search": [LR, QUERIES]}, "cmaes knows no log scale"),
        ({"algorithm": {"startupTrials": 3}}, "startupTrials"),
        ({"pruning": {"name": "median"}}, "not pruned by median"),
        ({"warmStartFrom": [{"name": "old"}]}, "warmStartFrom"),
        ({"maxTrials": 1}, "no trial beside"),
        ({"template": {"output": {"uri": "s3://r/$(HOME)"}}}, "spec.template.output.uri"),
        (
            {"search": [{"path": "model.pretrained_backbone_path", "choices": ["it's"]}]},
            "cannot hand on the choice",
        ),
        (
            {"search": [{"path": "model.num_queries", "min": 101, "max": 900, "step": 2}]},
            "rounds to multiples of step",
        ),
    ],
)
def test_what_katib_cannot_do_is_refused_by_name(spec: Object, said: str) -> None:
    assert said in space.refusal(a_view(a_search(**spec)))


def test_what_katib_can_do_is_not_refused() -> None:
    assert space.refusal(a_view()) == ""
    assert space.refusal(a_view(a_search(pruning={"name": "none"}))) == ""
