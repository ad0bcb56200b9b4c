"""The objects that operations change: the least of each action, and those that have everything."""

from __future__ import annotations

from typing import Any

from dino_api import names as api
from dino_api.actions import ACTIONS
from dino_api.experiment.paths import Loc
from dino_api.names import AUTOML_KIND, KIND, Action
from dino_operator.plan.model import Object
from tests.api.admission_cases import VALID, of
from tests.api.test_admission_search import SEARCH as SEARCH_OF_CELLS
from tests.builders import SOUND
from tests.unit.plan_actions import DATA, FILES
from tests.unit.plan_store import copied
from tests.unit.search_builders import LR, MOMENTUM, OPTIMIZER, QUERIES

SOURCE = {
    "uri": "s3://bucket/train",
    "format": "coco_raw",
    "images": "pictures",
    "annotations": "boxes.json",
}
POD: Object = {
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [
        {
            "key": "gpu",
            "operator": "Equal",
            "value": "yes",
            "effect": "NoExecute",
            "tolerationSeconds": 60,
        }
    ],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "gpu", "operator": "In", "values": ["a100"]}]}
                ]
            }
        }
    },
    "env": [{"name": "NCCL_DEBUG", "value": "INFO"}],
    "imagePullSecrets": [{"name": "pull"}],
    "runtimeClassName": "nvidia",
    "labels": {"team": "red"},
    "annotations": {"note": "some"},
}
POLICY: Object = {
    "suspend": False,
    "maxRetries": 2,
    "activeDeadlineSeconds": 3600,
    "stop": False,
    "ttlSecondsAfterFinished": 600,
}
TRAINING: Object = {
    "datasets": {"train": [SOURCE], "validation": [{**SOURCE, "uri": "s3://bucket/val"}]},
    "numClasses": 4,
    "experiment": SOUND,
    "output": {"uri": "s3://bucket/out"},
    "storage": {
        "endpoint": "http://minio:9000",
        "region": "eu-central-1",
        "pathStyle": True,
        "secretName": "keys",
    },
    "cache": {"claimName": "data"},
    "resources": {"gpus": 0, "nodes": 2, "processes": 2, "cpu": "8", "memory": "32Gi"},
    "runPolicy": POLICY,
    "priorityClassName": "high",
    "podTemplate": POD,
}
"""Every part of a training but a queue: Kueue would hold it."""
FOLLOWED: Object = {
    "datasets": {
        **TRAINING["datasets"],
        "test": [{"uri": "s3://bucket/test"}],
        "calibration": [{"uri": "s3://bucket/ranges"}],
    },
    "runPolicy": {key: POLICY[key] for key in POLICY if key not in ("suspend", "stop")},
}
SEARCHED: Object = {
    "template": {**TRAINING, **FOLLOWED, "experiment": {"model": SOUND["model"]}},
    "engine": "Embedded",
    "algorithm": {"name": "tpe", "seed": 7, "startupTrials": 2},
    "search": [LR, QUERIES, OPTIMIZER, MOMENTUM],
    "objective": {"metric": "mAP50", "goal": 0.9},
    "pruning": {"name": "median", "startEpoch": 1, "minTrials": 1},
    "maxTrials": 8,
    "parallelTrials": 2,
    "maxFailedTrials": 1,
    "then": [
        {"action": "train", "epochs": 20},
        *({"action": each} for each in ("evaluate", "export", "quantize", "gen_trt_engine")),
    ],
    "suspend": False,
}
"""Every part of a search but warmStartFrom, which waits for others, and the profile."""


def a_job(name: str = "x", **spec: Any) -> Object:
    """A DinoJob as people apply it."""
    made = {"apiVersion": api.API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}
    return copied(made)


def a_search(name: str = "x", **spec: Any) -> Object:
    """A DinoAutoML as people apply it."""
    return {**a_job(name, **spec), "kind": AUTOML_KIND}


def _to(action: Action) -> Object:
    """The least of an action, that goes on from a file where it goes on from a model."""
    takes = next(iter(ACTIONS[action].takes))
    given = {} if action is Action.TRAIN else {"parent": {"uri": FILES[takes]["uri"]}}
    data = {"datasets": DATA[action]} if DATA[action] else {}
    gpus = int(action is Action.GEN_TRT_ENGINE)
    output = {"uri": f"s3://bucket/{action}"}
    return a_job(action=action.value, output=output, resources={"gpus": gpus}, **data, **given)


BASES: dict[str, Object] = {
    **{f"to {action}": _to(action) for action in Action if action is not Action.TRAIN},
    "to train": a_job(
        action="train",
        automlPolicy="Disabled",
        datasets=DATA["train"],
        output={"uri": "s3://bucket/out"},
        experiment=SOUND,
    ),
    "a training with everything": a_job(action="train", automlPolicy="Disabled", **TRAINING),
    "a job that is searched for": a_job(
        action="train", datasets=DATA["train"], output={"uri": "s3://bucket/out"}
    ),
    "a search": a_search(
        template={"datasets": DATA["train"], "output": {"uri": "s3://bucket/out"}}
    ),
    "a smoke search": a_search(template={"output": {"uri": "s3://bucket/out"}}),
    "a search with everything": a_search(**SEARCHED),
    "a search by halving": a_search(
        **{**SEARCHED, "pruning": {"name": "successiveHalving", "startEpoch": 1}}
    ),
    "cells": VALID,
    "a search of cells": SEARCH_OF_CELLS,
    **{f"cells, to {action}": of(action) for action in Action},
}
"""By name. Those of cells are what the tables of admission change."""
_READERS = {"test": Action.EVALUATE, "calibration": Action.QUANTIZE, "inference": Action.INFERENCE}
"""Of data, an action that reads it."""
EVERYTHING = "a training with everything"


def bases_of(kind: str, at: Loc) -> tuple[str, ...]:
    """The objects on which a change of that property is worth trying."""
    return _of_search(at) if kind == AUTOML_KIND else _of_job(at)


def _of_job(at: Loc) -> tuple[str, ...]:
    first, second = (*at, "")[:2]
    if first == "experiment":
        known = second in {*Action} and second != Action.TRAIN
        return (f"to {second}",) if known else ("to train",)
    if first == "datasets" and second in _READERS:
        return (f"to {_READERS[str(second)]}",)
    if first == "parent":
        return ("to train", "to export", "to evaluate")
    if first in ("action", "automlPolicy", "datasets", "numClasses", "output"):
        return (EVERYTHING, "a job that is searched for", "to train")
    return (EVERYTHING, "to train")


def _of_search(at: Loc) -> tuple[str, ...]:
    first, second, third = (*at, "", "")[:3]
    if (first, second) == ("template", "experiment"):
        follows = third in {*Action} and third != Action.TRAIN
        return ("a search with everything",) if follows else ("a search",)
    if first == "objective":
        return ("a search",)
    if first == "pruning":
        return ("a search with everything", "a search by halving")
    if first in ("template", "search"):
        return ("a search with everything",)
    if first in ("profile", "maxTrials"):
        return ("a search with everything", "a smoke search")
    return ("a search with everything", "a search")
