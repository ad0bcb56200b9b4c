"""DinoAutoMLs, spaces and trials, so that a test shows only its point."""

from __future__ import annotations

import copy
from typing import Any

from dino_api import names as api
from dino_api.resources.dinoautoml import SearchParameter
from dino_operator.plan.model import Object
from dino_operator.plan.search.trials.trial import Point, Trial, TrialState
from tests.builders import SOUND, at

LR = {"path": "train.optim.lr", "min": 1e-5, "max": 5e-4, "scale": "log"}
DROPOUT = {"path": "model.dropout_ratio", "min": 0.0, "max": 0.3}
QUERIES = {"path": "model.num_queries", "min": 100, "max": 900, "step": 50}
OPTIMIZER = {"path": "train.optim.optimizer", "choices": ["AdamW", "SGD"]}
MOMENTUM = {
    "path": "train.optim.momentum",
    "min": 0.8,
    "max": 0.99,
    "when": {"path": "train.optim.optimizer", "values": ["SGD"]},
}


def a_space(*parameters: Object) -> tuple[SearchParameter, ...]:
    """A space of those parameters."""
    return tuple(map(SearchParameter.model_validate, parameters))


def a_search(name: str = "x", **spec: Any) -> Object:
    """A valid DinoAutoML, created at noon, that nobody has looked at yet."""
    made: Object = {
        "template": {
            "datasets": {
                "train": [{"uri": "s3://data/train"}],
                "validation": [{"uri": "s3://data/val"}],
            },
            "experiment": {"train": {"num_epochs": 10}, "model": copy.deepcopy(SOUND["model"])},
            "output": {"uri": f"s3://results/{name}"},
        },
        "engine": "Embedded",
        "algorithm": {"name": "random", "seed": 7},
        "search": [LR, DROPOUT],
        "maxTrials": 4,
        "parallelTrials": 2,
        "maxFailedTrials": 1,
        "pruning": {"name": "none"},
    }
    return {
        "apiVersion": api.API_VERSION,
        "kind": api.AUTOML_KIND,
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": f"uid-{name}",
            "generation": 1,
            "resourceVersion": "1",
            "creationTimestamp": at(0),
        },
        "spec": {**made, **copy.deepcopy(spec)},
    }


def a_trial(
    number: int,
    score: float | None = None,
    state: TrialState = "Succeeded",
    curve: tuple[float, ...] = (),
    **more: Any,
) -> Trial:
    """A trial; its curve has a value for each epoch."""
    points = tuple(Point(epoch, value) for epoch, value in enumerate(curve, start=1))
    return Trial(number, f"x-trial-{number}", state, mAP50=score, curve=points, **more)
