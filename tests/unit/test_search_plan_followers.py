"""What follows a search besides trainings: data, section, and the model to go on from."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from dino_api.loading import load
from dino_api.names import Action, Label
from dino_api.resources.dinojob import DinoJob, resolve
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.observed.children import Refusal
from dino_operator.plan.search import decide
from tests.builders import Object
from tests.unit.search_world import SearchWorld
from tests.unit.test_search_plan_ends import searched

HERE: Object = {name: [{"uri": f"s3://data/{name}"}] for name in ("train", "validation", "test")}
DATA: Object = {**HERE, "calibration": [{"uri": "s3://data/calibration"}]}
EXPERIMENT: Object = {
    "model": {"num_feature_levels": 4},
    "train": {"num_epochs": 10, "optim": {"lr_scheduler": "Cosine"}},
    "export": {"opset_version": 18},
    "quantize": {"algorithm": "minmax"},
    "gen_trt_engine": {"tensorrt": {"data_type": "FP16"}},
}
THEN = ("evaluate", "export", "quantize", "gen_trt_engine")
SEARCH = {"kind": "DinoAutoML", "name": "x"}


def ended(*then: str, experiment: Object = EXPERIMENT, **template: Any) -> SearchWorld:
    made = {
        "datasets": DATA,
        "experiment": experiment,
        "output": {"uri": "s3://results/x"},
        "numClasses": 4,
        **template,
    }
    world = searched(template=made, then=[{"action": each} for each in then])
    world.report()
    world.settle()
    return world


@cache
def the_four() -> list[Object]:
    """What follows where everything does."""
    return all_followers(*THEN)


def all_followers(*then: str, **spec: Any) -> list[Object]:
    """The DinoJobs; each ends well and lets the next begin."""
    world = ended(*then, **spec)
    for index in range(1, len(then) + 1):
        world.complete(f"x-then-{index}", 0.8)
        world.settle()
    assert world.says("Complete")[0] == "True"
    return [world.dinojobs[f"x-then-{index}"] for index in range(1, len(then) + 1)]


def test_each_reads_its_own_data_and_its_own_section() -> None:
    evaluate, export, quantize, engine = (each["spec"] for each in the_four())
    read = [set(each["datasets"]) for each in (evaluate, export, quantize, engine)]
    assert read == [{"test"}, {"test"}, {"calibration", "test"}, {"test"}]
    assert [each["action"] for each in (evaluate, export, quantize, engine)] == list(THEN)
    sections = [set(each["experiment"]) for each in (evaluate, export, quantize, engine)]
    assert sections == [{"model"}, *({"model", own} for own in THEN[1:])]
    assert export["experiment"]["export"] == {"opset_version": 18}


def test_all_that_score_count_as_many_detections() -> None:
    """Of `evaluate` those with a gate get what they read, and no more."""
    scored = {"evaluate": {"max_detections": 300, "batch_size": 2}}
    evaluate, *gates = all_followers(*THEN, experiment=EXPERIMENT | scored)
    assert evaluate["spec"]["experiment"]["evaluate"] == scored["evaluate"]
    for job in gates:
        assert job["spec"]["experiment"]["evaluate"] == {"max_detections": 300}


def test_each_can_be_run_without_a_warning() -> None:
    for job in the_four():
        mapping = resolve(DinoJob.model_validate(job))
        _, problems = load(mapping, action=Action(job["spec"]["action"]))
        assert problems == []
        assert "numClasses" not in job["spec"], "the model knows"
        assert Annotation.DATA_CHECKED_BY.value not in job["metadata"].get("annotations", {})
        assert Label.TRIAL.value not in job["metadata"]["labels"]


def test_trials_read_neither_the_data_nor_the_sections_of_what_follows() -> None:
    world = ended("quantize")
    spec = world.job(1)["spec"]
    assert set(spec["datasets"]) == {"train", "validation"}
    assert set(spec["experiment"]) == {"model", "train"}
    assert set(world.automl["status"]["best"]["specification"]) == {"model", "train"}


@pytest.mark.parametrize(
    "then, parents",
    [
        (("export", "quantize", "gen_trt_engine"), ["x", "x-then-1", "x-then-2"]),
        (("export", "gen_trt_engine", "quantize"), ["x", "x-then-1", "x-then-1"]),
        (("export", "train", "evaluate", "quantize"), ["x", "x", "x", "x-then-1"]),
        (("export", "export", "gen_trt_engine"), ["x", "x", "x-then-2"]),
    ],
)
def test_files_come_from_the_latest_that_left_one(then: Any, parents: list[str]) -> None:
    found = [each["spec"]["parent"] for each in all_followers(*then)]
    assert [each["name"] for each in found] == parents
    assert all((each == SEARCH) == (each["name"] == "x") for each in found)


@pytest.mark.parametrize(
    "action, trained, gets",
    [
        ("evaluate", {"gpus": 4, "nodes": 2}, {"gpus": 4, "nodes": 1, "processes": 1}),
        ("evaluate", {"gpus": 0, "processes": 2}, {"gpus": 0, "nodes": 1, "processes": 2}),
        ("export", {"gpus": 4, "nodes": 2}, {"gpus": 1, "nodes": 1, "processes": 1}),
        ("export", {"gpus": 0, "processes": 2}, {"gpus": 0, "nodes": 1, "processes": 1}),
        ("gen_trt_engine", {"gpus": 0}, {"gpus": 1, "nodes": 1, "processes": 1}),
        ("gen_trt_engine", {"gpus": 8}, {"gpus": 1, "nodes": 1, "processes": 1}),
    ],
)
def test_one_pod_and_several_gpus_only_to_evaluate(
    action: str, trained: Object, gets: Object
) -> None:
    then = ("export", action) if action == "gen_trt_engine" else (action,)
    made = all_followers(*then, resources={**trained, "memory": "8Gi"})[-1]
    assert made["spec"]["resources"] == {**gets, "memory": "8Gi"}


def test_only_int8_engines_take_value_ranges() -> None:
    int8 = {**EXPERIMENT, "gen_trt_engine": {"tensorrt": {"data_type": "INT8"}}}
    made = all_followers("export", "gen_trt_engine", experiment=int8)[-1]
    assert set(made["spec"]["datasets"]) == {"calibration", "test"}


def test_an_export_needs_no_data() -> None:
    without = {key: DATA[key] for key in ("train", "validation")}
    assert "datasets" not in all_followers("export", datasets=without)[0]["spec"]


def test_a_file_that_somebody_deletes_before_it_is_used_is_made_again() -> None:
    """Else what goes on from it would wait for ever."""
    world = ended("export", "evaluate", "quantize")
    world.complete("x-then-1", 0.8)
    world.settle()
    world.delete("x-then-1")
    world.settle()
    assert "x-then-1" in world.dinojobs
    assert "x-then-3" not in world.dinojobs
    for name in ("x-then-1", "x-then-2"):
        world.complete(name, 0.8)
    world.settle()
    world.complete("x-then-3", 0.8)
    world.settle()
    world.delete("x-then-1")
    world.settle()
    assert world.says("Complete")[0] == "True"
    assert "x-then-1" not in world.dinojobs, "nobody needs it any more"


def test_one_that_the_api_server_refuses_has_failed() -> None:
    world = searched(
        template={"datasets": DATA, "output": {"uri": "s3://results/x"}},
        then=[{"action": "evaluate"}],
    )
    world.report()
    resource, children = world.look()
    said = "spec.tolerations: Invalid value"
    refusal = Refusal("create", "DinoJob", "x-then-1", 422, "Invalid", said)
    refused = replace(children, refusal=refusal)
    done = decide.plan(resource, refused, world.now, world.settings)
    assert not done.creates
    assert done.status is not None
    assert [each["phase"] for each in done.status["then"]] == ["Failed"]
    said = [each.message for each in done.events if each.reason == "FollowerFailed"]
    assert said == [
        "x-then-1 failed; the winner stands: "
        "the API server refuses DinoJob x-then-1: spec.tolerations: Invalid value"
    ]
