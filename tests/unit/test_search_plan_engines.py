"""Which engine runs a search, and what is known before it starts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dino_operator.plan.search import warm_start
from dino_operator.plan.search.engines import choice
from tests.unit.search_builders import LR, a_search
from tests.unit.search_world import SearchWorld


@pytest.mark.parametrize(
    "spec, served, engine, words",
    [
        ({"engine": "Embedded"}, True, "Embedded", "spec.engine is Embedded"),
        ({"engine": "Auto"}, False, "Embedded", "Katib is not installed"),
        ({"engine": "Auto"}, True, "Katib", "Katib is installed and can run it"),
        ({"engine": "Katib"}, True, "Katib", "spec.engine is Katib"),
        ({"engine": "Auto", "pruning": {"name": "median"}}, True, "Embedded", "cannot run it"),
        ({"engine": "Auto", "algorithm": {"name": "cmaes"}}, True, "Embedded", "cannot run it"),
    ],
)
def test_choice(spec: dict[str, Any], served: bool, engine: str, words: str) -> None:
    world = SearchWorld(**spec)
    world.katib_served = served
    world.reconcile()
    assert world.automl["status"]["engine"] == engine
    assert world.says("EngineReady")[:2] == ("True", engine)
    assert words in world.says("EngineReady")[2]
    assert list(world.dinojobs) == ["x-trial-0"], "the baseline is a DinoJob on both"


def test_katib_is_waited_for_by_who_asked_for_it() -> None:
    world = SearchWorld(engine="Katib")
    plan = world.reconcile()
    assert plan.requeue_after == world.settings.recheck
    assert world.says("EngineReady")[:2] == ("False", "KatibMissing")
    assert "spec.engine: Embedded" in world.says("EngineReady")[2]
    assert not world.dinojobs
    assert "engine" not in world.automl["status"]
    world.katib_served = True
    world.reconcile()
    assert world.says("EngineReady")[:2] == ("True", "Katib")


def test_a_search_that_began_keeps_its_engine() -> None:
    world = SearchWorld(engine="Auto")
    world.baseline()
    before = world.says("EngineReady")
    world.katib_served = True
    world.complete("x-trial-1", 0.4)
    world.settle()
    assert world.says("EngineReady") == before
    assert "x-trial-3" in world.dinojobs


def test_what_an_engine_must_have() -> None:
    for module in (choice.embedded, choice.katib):
        assert callable(module.step)
        assert callable(module.refusal)


# ---- warmStartFrom

REFERENCE = {"warmStartFrom": [{"name": "old"}], "search": [LR]}


def ended() -> dict[str, Any]:
    """A search that has ended."""
    other = a_search("old")
    rows = [
        {"number": 0, "name": "b", "state": "Succeeded", "mAP50": 0.5},
        {"number": 1, "name": "t", "state": "Pruned", "mAP50": 0.2, "parameters": {"a.b": 1}},
        {"number": 2, "name": "t", "state": "Failed", "reason": "Diverged"},
        {"number": 3, "name": "t", "state": "Failed", "reason": "Crashed"},
        {"number": 4, "name": "t", "state": "Stopped"},
    ]
    done = [{"type": "Complete", "status": "True", "reason": "SearchCompleted"}]
    other["status"] = {"history": rows, "search": [LR], "conditions": done}
    return other


def test_another_search_is_waited_for() -> None:
    world = SearchWorld(**REFERENCE)
    world.settle()
    assert world.says("Running")[1] == "WaitingForSearch"
    assert "old of spec.warmStartFrom does not exist" in world.says("Running")[2]
    world.others = {("DinoAutoML", "old"): a_search("old")}
    world.settle()
    assert "has not ended yet" in world.says("Running")[2]
    assert not world.dinojobs


def test_what_another_search_found_is_known_from_the_start() -> None:
    world = SearchWorld(**REFERENCE)
    world.others = {("DinoAutoML", "old"): ended()}
    world.settle()
    known = [
        {"parameters": {"train.optim.lr": 2e-4}, "mAP50": 0.5},
        {"parameters": {"a.b": 1}, "mAP50": 0.2},
        {"parameters": {}, "mAP50": 0.0},
    ]
    assert world.automl["status"]["known"] == known
    world.others = {}
    world.check()
    world.settle()
    assert world.automl["status"]["known"] == known, "it stays when the other one is deleted"
    assert "x-trial-1" in world.dinojobs


def test_what_is_known_does_not_outgrow_what_an_object_may_have() -> None:
    other = ended()
    parameters = {f"train.{number:030}": 0.00012345678901234567 for number in range(32)}
    row = {"name": "t", "state": "Succeeded", "mAP50": 0.5, "parameters": parameters}
    other["status"]["history"] = [{**row, "number": number} for number in range(1, 501)]
    world = SearchWorld(**REFERENCE)
    world.others = {("DinoAutoML", "old"): other}
    world.settle()
    known = world.automl["status"]["known"]
    assert 100 < len(known) < 500
    assert len(json.dumps(known)) <= 1.01 * warm_start.LARGEST
