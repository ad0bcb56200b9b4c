"""What a real API server refuses, keeps and prints of searches, and of jobs beside them."""

from __future__ import annotations

import copy
from typing import Any

import kubernetes
import pytest
from kubernetes.client import ApiException

from dino_api.names import LONGEST_SEARCHED_OUTPUT
from dino_api.rules.resource.dinoautoml import EDITABLE, immutables
from dino_api.search import searchable
from tests.api.admission_cases import (
    GONE,
    SOURCE,
    VALID,
    Changes,
    causes,
    changed,
    is_refused,
    merge,
)
from tests.api.clients import DinoJobs

LR = {"path": "train.optim.lr", "min": 0.00001, "max": 0.001, "scale": "log"}
DROPOUT = {"path": "model.dropout_ratio", "min": 0, "max": 0.3}
OPTIMIZER = {"path": "train.optim.optimizer", "choices": ["AdamW", "SGD"]}
SEARCH: dict[str, Any] = {
    "apiVersion": "dino-operator.io/v1alpha1",
    "kind": "DinoAutoML",
    "metadata": {"name": "cells"},
    "spec": {
        "template": {
            "datasets": {"train": SOURCE, "validation": [{"uri": "s3://bucket/val"}]},
            "output": {"uri": "s3://bucket/results"},
        },
        "search": [LR, DROPOUT],
    },
}
EXPERIMENT = "spec.template.experiment"

# sentence: (changes, field named by the refusal, part of its message)
BAD: dict[str, tuple[Changes, str, str]] = {
    "an output that leaves no room for trials": (
        (("spec.template.output.uri", f"s3://bucket/{'x' * (LONGEST_SEARCHED_OUTPUT - 11)}"),),
        "spec.template.output.uri",
        "must have at most 960 characters",
    ),
    "a search of no name to start from": (
        (("spec.warmStartFrom", [{"name": ""}]),),
        "spec.warmStartFrom[0].name",
        "at least 1 chars long",
    ),
    "a reversed range": (
        (("spec.search", [LR | {"min": 0.1, "max": 0.01}]),),
        "spec.search[0].min",
        "must be less than max",
    ),
    "the logarithm of zero": (
        (("spec.search", [DROPOUT | {"scale": "log"}]),),
        "spec.search[0].min",
        "must be greater than 0 where scale is log",
    ),
    "an unknown path": (
        (("spec.search", [LR | {"path": "train.optim.learning_rate"}]),),
        "spec.search[0].path",
        '"train.optim.lr"',
    ),
    "a knob of TAO's that does nothing": (
        (("spec.search", [LR | {"path": "train.optim.lr_linear_proj_mult"}]),),
        "spec.search[0].path",
        "Unsupported value",
    ),
    "more parallel than max trials": (
        (("spec.maxTrials", 4), ("spec.parallelTrials", 5)),
        "spec.parallelTrials",
        "must not exceed maxTrials",
    ),
    "more parallel than max trials by default": (
        (("spec.parallelTrials", 21),),
        "spec.parallelTrials",
        "must not exceed maxTrials",
    ),
    "a value that is searched and also fixed": (
        ((f"{EXPERIMENT}.train.optim.lr", 0.0001),),
        "spec.search",
        "leave it out of one of the two (train.optim.*)",
    ),
    "neither range nor choices": (
        (("spec.search", [{"path": "train.optim.lr"}]),),
        "spec.search[0].min",
        "Required value",
    ),
    "a lowest value without a highest": (
        (("spec.search", [{"path": "train.optim.lr", "min": 0.1}]),),
        "spec.search[0].max",
        "Required value",
    ),
    "half a range beside choices": (
        (("spec.search", [OPTIMIZER | {"min": 0.1}]),),
        "spec.search[0]",
        "min and max together",
    ),
    "a range beside choices": (
        (("spec.search", [LR | {"choices": [0.1]}]),),
        "spec.search[0]",
        "one and only one",
    ),
    "a step with log": (
        (("spec.search", [LR | {"step": 0.1}]),),
        "spec.search[0].step",
        "scale log",
    ),
    "a step of zero": (
        (("spec.search", [DROPOUT | {"step": 0}]),),
        "spec.search[0].step",
        "than 0",
    ),
    "a path twice": ((("spec.search", [LR, LR]),), "spec.search", "name a path twice"),
    "a when on what is not searched": (
        (("spec.search", [LR | {"when": {"path": "train.optim.optimizer", "values": ["SGD"]}}]),),
        "spec.search",
        "every path that a when names",
    ),
    "a when on itself": (
        (("spec.search", [LR | {"when": {"path": "train.optim.lr", "values": [1]}}]),),
        "spec.search[0].when.path",
        "another path than its own",
    ),
    "no choice": (
        (("spec.search", [OPTIMIZER | {"choices": []}]),),
        "spec.search[0].choices",
        "at least 1 items",
    ),
    "pruning on Katib": (
        (("spec.engine", "Katib"), ("spec.pruning", {"name": "median"})),
        "spec.pruning",
        "use engine: Embedded",
    ),
    "known results on Katib": (
        (("spec.engine", "Katib"), ("spec.warmStartFrom", [{"name": "earlier"}])),
        "spec.warmStartFrom",
        "use engine: Embedded",
    ),
    "a grid on Katib": (
        (("spec.engine", "Katib"), ("spec.algorithm", {"name": "grid"})),
        "spec.algorithm",
        "must be tpe or random",
    ),
    "a warm start from itself": (
        (("spec.warmStartFrom", [{"name": "cells"}]),),
        "spec.warmStartFrom",
        "other searches than this one",
    ),
    "the profile beside data": (
        (("spec.profile", "smoke"),),
        "spec.profile",
        "whole or not at all",
    ),
    "classes without data": (
        (("spec.template.datasets", GONE), ("spec.template.numClasses", 4)),
        "spec.template.numClasses",
        "spec.template.datasets",
    ),
    "a suspended template": (
        (("spec.template.runPolicy", {"suspend": True}),),
        "spec.template.runPolicy.suspend",
        "use spec.suspend",
    ),
    "a stopped template": (
        (("spec.template.runPolicy", {"stop": True}),),
        "spec.template.runPolicy.stop",
        "set spec.suspend",
    ),
    "a name that leaves no room for trials": (
        (("metadata.name", "x" * 41),),
        "metadata.name",
        "at most 40",
    ),
    "no trial": ((("spec.maxTrials", 0),), "spec.maxTrials", "equal to 1"),
    "another metric": (
        (("spec.objective", {"metric": "loss"}),),
        "spec.objective.metric",
        '"mAP50"',
    ),
    "a goal above one": ((("spec.objective", {"goal": 50}),), "spec.objective.goal", "equal to 1"),
    **{
        f"{action} on the winner": (
            (("spec.then", [{"action": action}]),),
            "spec.then[0].action",
            '"train", "evaluate", "export", "gen_trt_engine", "quantize"',
        )
        for action in ("distill", "inference")
    },
    "epochs of an export": (
        (("spec.then", [{"action": "export", "epochs": 3}]),),
        "spec.then[0].epochs",
        "is for train",
    ),
    "an evaluation without test data": (
        (("spec.then", [{"action": "evaluate"}]),),
        "spec.template.datasets.test",
        "must be given where then has evaluate",
    ),
    "test data for nobody": (
        (("spec.template.datasets.test", SOURCE), ("spec.then", [{"action": "train"}])),
        "spec.template.datasets.test",
        "add one of them to spec.then",
    ),
    "a quantization without calibration data": (
        (("spec.then", [{"action": "export"}, {"action": "quantize"}]),),
        "spec.template.datasets.calibration",
        "must be given where then has quantize",
    ),
    "an INT8 engine without calibration data": (
        (
            ("spec.then", [{"action": "export"}, {"action": "gen_trt_engine"}]),
            (f"{EXPERIMENT}.gen_trt_engine.tensorrt.data_type", "INT8"),
        ),
        "spec.template.datasets.calibration",
        "gen_trt_engine with data_type INT8",
    ),
    "calibration data for nobody": (
        (("spec.template.datasets.calibration", SOURCE), ("spec.then", [{"action": "export"}])),
        "spec.template.datasets.calibration",
        "add one of them to spec.then",
    ),
    "a quantization before its export": (
        (
            ("spec.template.datasets.calibration", SOURCE),
            ("spec.then", [{"action": "quantize"}, {"action": "export"}]),
        ),
        "spec.then",
        "must have an export before quantize",
    ),
    "an engine without an export": (
        (("spec.then", [{"action": "gen_trt_engine"}]),),
        "spec.then",
        "must have an export before gen_trt_engine",
    ),
    "a search without validation data": (
        (("spec.template.datasets.validation", GONE),),
        "spec.template.datasets.validation",
        "must be given: name images that are not trained on",
    ),
    "a search with images without annotations": (
        (("spec.template.datasets.inference", {"uri": "s3://b/x", "classmap": "c.txt"}),),
        "spec.template.datasets.inference",
        "is not read by a search",
    ),
    "a section that no follower reads": (
        ((f"{EXPERIMENT}.inference", {}),),
        f"{EXPERIMENT}.inference",
        "unknown field",
    ),
    "the model of a follower": (
        ((f"{EXPERIMENT}.evaluate.checkpoint", "x.pth"),),
        f"{EXPERIMENT}.evaluate.checkpoint",
        "it is the winner of the search",
    ),
    "a misspelt key of the experiment": (
        ((f"{EXPERIMENT}.model.num_querys", 9),),
        f"{EXPERIMENT}.model.num_querys",
        "unknown field",
    ),
    "a rule of the experiment": (
        ((f"{EXPERIMENT}.model.nheads", 7),),
        f"{EXPERIMENT}.model.hidden_dim",
        "must be a multiple of nheads",
    ),
    "classes inside the experiment": (
        ((f"{EXPERIMENT}.dataset.num_classes", 4),),
        f"{EXPERIMENT}.dataset.num_classes",
        "use spec.template.numClasses",
    ),
    "an action in the template": (
        (("spec.template.action", "train"),),
        "spec.template.action",
        "unknown",
    ),
}


def searched(*changes: tuple[str, Any]) -> dict[str, Any]:
    """The valid search with changes."""
    return changed(*changes, start=SEARCH)


@pytest.fixture
def searches(api_client: Any, namespace: str) -> DinoJobs:
    """DinoAutoMLs of the test's namespace."""
    return DinoJobs(kubernetes.client.CustomObjectsApi(api_client), namespace, "dinoautomls")


@pytest.mark.parametrize(("changes", "field", "part"), BAD.values(), ids=BAD.keys())
def test_a_bad_search_is_refused_by_a_message_that_names_the_field(
    searches: DinoJobs, changes: Changes, field: str, part: str
) -> None:
    is_refused(searches, searched(*changes), field, part)


def test_every_kind_of_good_search_is_accepted_and_kept_as_written(searches: DinoJobs) -> None:
    when = {"path": "train.optim.optimizer", "values": ["SGD"]}
    momentum = {"path": "train.optim.momentum", "choices": [0.5, 0.9], "when": when}
    flags = {"path": "model.use_dn", "choices": [True, False]}
    layers = {"path": "model.enc_layers", "choices": [2, 6]}
    manifest = searched(
        ("spec.search", [LR, DROPOUT, OPTIMIZER, momentum, flags, layers]),
        ("spec.engine", "Katib"),
        ("spec.pruning", {"name": "none"}),
        ("spec.algorithm", {"name": "random", "seed": 3}),
        ("spec.objective", {"goal": 0.9}),
        (f"{EXPERIMENT}.train", {"num_epochs": 3, "optim": {"weight_decay": 0.001}}),
        ("spec.then", [{"action": "train", "epochs": 50}]),
        ("spec.maxTrials", 1),
    )
    assert searches.create(manifest)["spec"] == manifest["spec"]


def test_a_whole_chain_may_follow_the_winner(searches: DinoJobs) -> None:
    chain = ["evaluate", "export", "quantize", "evaluate", "gen_trt_engine", "train"]
    manifest = searched(
        ("spec.then", [{"action": action} for action in chain]),
        ("spec.template.datasets.test", SOURCE),
        ("spec.template.datasets.calibration", SOURCE),
        (f"{EXPERIMENT}.quantize", {"gate": {"max_loss": 0.01}}),
        (f"{EXPERIMENT}.export", {"input_width": 640, "input_height": 480}),
    )
    assert searches.create(manifest)["spec"] == manifest["spec"]


def test_a_search_that_says_only_where_results_go_is_accepted(searches: DinoJobs) -> None:
    """Data, classes and numbers are those of the smoke profile; nothing is written into it."""
    manifest = searched(("spec.search", GONE), ("spec.template.datasets", GONE))
    assert searches.create(manifest)["spec"] == {
        "template": {"output": {"uri": "s3://bucket/results"}}
    }


def test_every_path_that_can_be_searched_is_known(searches: DinoJobs) -> None:
    paths = searchable()
    for start in range(0, len(paths), 32):
        some = [{"path": path, "choices": [1]} for path in paths[start : start + 32]]
        searches.create(searched(("metadata.name", f"from-{start}"), ("spec.search", some)))


EDITS: dict[str, tuple[str, Any]] = {
    "template": ("spec.template", {"numClasses": 9}),
    "profile": ("spec.profile", "smoke"),
    "engine": ("spec.engine", "Embedded"),
    "algorithm": ("spec.algorithm", {"seed": 1}),
    "search": ("spec.search", [LR, OPTIMIZER | {"choices": ["AdamW"]}]),
    "objective": ("spec.objective", {"goal": 0.5}),
    "pruning": ("spec.pruning", {"name": "none"}),
    "warmStartFrom": ("spec.warmStartFrom", [{"name": "other"}]),
    "then": ("spec.then", [{"action": "train"}]),
}


@pytest.mark.parametrize(("path", "value"), EDITS.values(), ids=EDITS.keys())
def test_what_was_searched_cannot_be_edited(searches: DinoJobs, path: str, value: Any) -> None:
    searches.create(searched(("spec.search", [LR, OPTIMIZER])))
    with pytest.raises(ApiException) as caught:
        searches.patch("cells", merge(path, value))
    assert any(
        where == path and "is immutable" in message for where, message in causes(caught.value)
    )


def test_every_field_but_the_editable_ones_is_asked_for() -> None:
    assert {one.path for one in immutables()} == set(EDITS)
    assert not set(EDITABLE) & set(EDITS)


def test_trials_can_be_added_and_the_search_held(searches: DinoJobs) -> None:
    searches.create(searched(("spec.maxTrials", 4)))
    for change in (
        {"maxTrials": 8},
        {"parallelTrials": 3, "maxFailedTrials": 0},
        {"suspend": True},
    ):
        searches.patch("cells", {"spec": change})
    with pytest.raises(ApiException, match="can be raised, not lowered"):
        searches.patch("cells", {"spec": {"maxTrials": 7}})
    with pytest.raises(ApiException, match="must not exceed maxTrials"):
        searches.patch("cells", {"spec": {"parallelTrials": 9}})
    # Absent is the default, 20.
    assert searches.patch("cells", {"spec": {"maxTrials": None}})["spec"].get("maxTrials") is None
    with pytest.raises(ApiException, match="can be raised, not lowered"):
        searches.patch("cells", {"spec": {"maxTrials": 19}})


def test_trials_of_the_profile_stay_its_own(searches: DinoJobs) -> None:
    searches.create(searched(("spec.template.datasets", GONE)))
    with pytest.raises(ApiException, match=r"create another DinoAutoML with template\.datasets"):
        searches.patch("cells", {"spec": {"maxTrials": 30}})


def test_a_job_may_name_a_parent_and_leave_its_data_to_a_search(dinojobs: DinoJobs) -> None:
    parent = {"kind": "DinoAutoML", "name": "cells"}
    dinojobs.create(changed(("spec.parent", parent)))
    for name, policy in (("by-default", GONE), ("auto", "Auto")):
        dinojobs.create(
            changed(("metadata.name", name), ("spec.automlPolicy", policy), ("spec.datasets", GONE))
        )


def test_a_parent_excludes_weights_of_the_jobs_own(dinojobs: DinoJobs) -> None:
    weights = ("spec.experiment.train.pretrained_model_path", "s3://b/model.pth")
    manifest = changed(("spec.parent", {"name": "base"}), weights)
    is_refused(dinojobs, manifest, "spec.parent", "leave one of them out")


def test_classes_need_data(dinojobs: DinoJobs) -> None:
    manifest = changed(("spec.automlPolicy", GONE), ("spec.datasets", GONE), ("spec.numClasses", 4))
    is_refused(dinojobs, manifest, "spec.numClasses", "add spec.datasets")


@pytest.mark.parametrize(
    "taken_back",
    [{"runPolicy": {"stop": False}}, {"runPolicy": {"stop": None}}, {"runPolicy": None}],
    ids=["false", "left out", "without a policy"],
)
def test_a_stop_cannot_be_taken_back(dinojobs: DinoJobs, taken_back: dict[str, Any]) -> None:
    dinojobs.create(changed(("spec.runPolicy", {"maxRetries": 1})))
    dinojobs.patch("cells", {"spec": {"runPolicy": {"stop": True}}})
    dinojobs.patch("cells", {"spec": {"runPolicy": {"maxRetries": 2}}})
    with pytest.raises(ApiException) as caught:
        dinojobs.patch("cells", {"spec": taken_back})
    [(where, message)] = causes(caught.value)
    assert where == "spec.runPolicy.stop"
    assert "cannot be taken back" in message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.automlPolicy", "Auto"),
        ("spec.parent", {"name": "base"}),
        ("spec.action", None),
    ],
)
def test_the_new_fields_of_a_job_are_immutable(dinojobs: DinoJobs, path: str, value: Any) -> None:
    dinojobs.create(VALID)
    with pytest.raises(ApiException, match=r"is immutable|Required value"):
        dinojobs.patch("cells", merge(path, value))


def test_get_shows_how_a_search_is_going(searches: DinoJobs, kubectl: Any) -> None:
    searches.create(SEARCH)
    best = {"trial": "cells-trial-3", "number": 3, "mAP50": 0.61, "checkpoint": {"uri": "s3://b/c"}}
    searching = {
        "type": "Running",
        "status": "True",
        "reason": "Searching",
        "message": "",
        "lastTransitionTime": "2026-01-01T12:00:00Z",
    }
    status = {
        "phase": "Running",
        "conditions": [searching],
        "engine": "Embedded",
        "trials": {"total": 4, "failed": 1, "display": "3/20"},
        "best": best | {"parameters": {"train.optim.lr": 0.0003}},
    }
    kept = searches.patch_status("cells", copy.deepcopy(status))["status"]
    assert kept["best"]["parameters"] == {"train.optim.lr": 0.0003}
    head, row = kubectl("get", "daml").stdout.splitlines()
    assert head.split() == ["NAME", "PHASE", "REASON", "TRIALS", "MAP50", "BEST", "TRIAL", "AGE"]
    assert row.split()[:6] == ["cells", "Running", "Searching", "3/20", "0.61", "cells-trial-3"]
    wide = kubectl("get", "daml", "-o", "wide").stdout
    for word in ("ENGINE", "FAILED", "FAILURE", "CHECKPOINT", "Embedded", "s3://b/c"):
        assert word in wide


def test_explain_teaches_the_search(cluster_kubectl: Any) -> None:
    told = cluster_kubectl("explain", "dinoautoml.spec.search.scale").stdout
    assert "each power of ten" in " ".join(told.split())
    told = cluster_kubectl("explain", "dinoautoml.spec.template.experiment.train.optim.lr").stdout
    assert "Default: 0.0002" in " ".join(told.split())
    told = cluster_kubectl("explain", "dinoautoml.spec.template.runPolicy.suspend").stdout
    assert "Use spec.suspend" in " ".join(told.split()), "not what it does in a DinoJob"
